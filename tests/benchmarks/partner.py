"""What stands at the router's other end, and how many events have come there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from router_clevertap.sandbox import SandboxServer


class Arrived(NamedTuple):
    """All that has come so far."""

    events: int
    profiles: int
    last_at: float
    """Unix seconds."""


class Partner(ABC):
    """One end; lives for one scenario."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    @property
    @abstractmethod
    def output(self) -> Mapping[str, Any]:
        """The output in the router's configuration."""

    @abstractmethod
    def arrived(self) -> Arrived:
        """Exact at any time."""

    @property
    def pids(self) -> Mapping[str, int]:
        """Processes of its own."""
        return {}

    def refuse(self, refusing: bool) -> None:
        """Answer every call 503 from now on, or no longer."""
        raise NotImplementedError


class CleverTap(Partner):
    """The CleverTap sandbox in fast mode, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._server = SandboxServer(fast=True, process=True)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__(None, None, None)

    @property
    def output(self) -> Mapping[str, Any]:
        return {
            "destination": "clevertap",
            "settings": {
                "account_id": self._server.account_id,
                "passcode": self._server.passcode,
                "base_url": self._server.url,
            },
        }

    def arrived(self) -> Arrived:
        stats = self._server.stats()
        return Arrived(stats["records"]["event"], stats["records"]["profile"], stats["last_arrival"] or 0.0)

    @property
    def pids(self) -> Mapping[str, int]:
        assert self._server.pid is not None
        return {"sandbox": self._server.pid}

    def refuse(self, refusing: bool) -> None:
        if refusing:
            self._server.fault(status=503, times="forever")
        else:
            self._server.clear_faults()


class File(Partner):
    """The built-in destination `file`: a line for each record, profile updates included."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "delivered.ndjson"
        self._read_to = 0
        self._events = 0
        self._profiles = 0

    @property
    def output(self) -> Mapping[str, Any]:
        return {"destination": "file", "settings": {"path": str(self._path)}}

    def arrived(self) -> Arrived:
        if not self._path.exists():
            return Arrived(0, 0, 0.0)
        with self._path.open("rb") as file:
            file.seek(self._read_to)
            while lines := file.readlines(16 * 2**20):
                if not lines[-1].endswith(b"\n"):
                    lines.pop()
                if not lines:
                    break
                profiles = sum(b'"event_type":"profile_update"' in line for line in lines)
                self._profiles += profiles
                self._events += len(lines) - profiles
                self._read_to += sum(map(len, lines))
                file.seek(self._read_to)
        return Arrived(self._events, self._profiles, self._path.stat().st_mtime)


PARTNERS: Mapping[str, type[CleverTap | File]] = {"clevertap": CleverTap, "file": File}
