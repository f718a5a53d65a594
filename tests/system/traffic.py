"""Senders that keep an account of what was acknowledged, and the comparison with what arrived."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import orjson

from .daemon import Daemon

_TRY_AGAIN_AFTER = 0.05


class Sender(threading.Thread):
    """One client for some users: events count up per user, and what was not acknowledged is sent again as it was."""

    def __init__(self, daemon: Daemon, name: str, *, users: int, pause: float) -> None:
        super().__init__(name=name, daemon=True)
        self._url = f"{daemon.url}/v2/bulkevents"
        self._users = [f"{name}-{number}" for number in range(users)]
        self._pause = pause
        self._halt = threading.Event()
        self.acknowledged: dict[str, int] = dict.fromkeys(self._users, 0)
        """User to the last counter that was acknowledged; all lower ones were, too."""
        self.repeated = 0
        self.unexpected: Counter[int] = Counter()

    def run(self) -> None:
        with httpx.Client(trust_env=False, timeout=10, auth=("key", "secret")) as client:
            for turn in itertools.cycle(range(len(self._users))):
                # Two events of one user and one of another in each request.
                first, second = self._users[turn], self._users[turn - 1]
                counts = [(first, self.acknowledged[first] + 1), (first, self.acknowledged[first] + 2)]
                counts += [(second, self.acknowledged[second] + 1)] if second != first else []
                if not self._deliver(client, orjson.dumps([_batch(user, n) for user, n in counts])):
                    return
                self.acknowledged |= dict(counts)
                if self._halt.wait(self._pause):
                    return

    def _deliver(self, client: httpx.Client, body: bytes) -> bool:
        """Send until it is acknowledged; False if there is no time left for that."""
        while True:
            try:
                status = client.post(self._url, content=body).status_code
            except httpx.TransportError:
                status = 0
            if status == 202:
                return True
            if status not in (0, 503):
                self.unexpected[status] += 1
            self.repeated += 1
            if self._halt.wait(_TRY_AGAIN_AFTER):
                return False

    def halt(self) -> None:
        """Send nothing more."""
        self._halt.set()
        self.join(15)
        assert not self.is_alive()


def _batch(user: str, number: int) -> dict[str, Any]:
    data = {"event_name": "Count", "custom_event_type": "other", "custom_attributes": {"n": number}}
    return {
        "source_request_id": uuid4().hex,
        "user_identities": {"customer_id": user},
        "events": [{"event_type": "custom_event", "data": data}],
    }


@dataclass
class Traffic:
    """Several senders."""

    senders: Sequence[Sender]
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def start(cls, daemon: Daemon, *, senders: int = 3, users: int = 12, pause: float = 0.005) -> Traffic:
        """Send from now on."""
        made = [Sender(daemon, f"s{number}", users=users, pause=pause) for number in range(senders)]
        for sender in made:
            sender.start()
        return cls(made)

    def halt(self) -> None:
        """Send nothing more; what is not acknowledged by now never will be."""
        for sender in self.senders:
            sender.halt()
        assert not sum((sender.unexpected for sender in self.senders), Counter())

    @property
    def acknowledged(self) -> Mapping[str, int]:
        """User to the last acknowledged counter."""
        return {user: number for sender in self.senders for user, number in sender.acknowledged.items()}

    @property
    def repeated(self) -> int:
        """Requests that had to be sent again."""
        return sum(sender.repeated for sender in self.senders)


@dataclass(frozen=True)
class Account:
    """What arrived, compared with what was acknowledged."""

    acknowledged: int
    arrived: int
    lost: list[tuple[str, int]]
    duplicates: int
    inversions: int
    """First deliveries of a user that came before the first delivery of an earlier event."""

    @classmethod
    def of(cls, acknowledged: Mapping[str, int], arrived: Iterable[tuple[str, int]]) -> Account:
        """`arrived`: user and counter, in order of arrival."""
        seen: dict[str, set[int]] = {}
        highest: Counter[str] = Counter()
        total = inversions = 0
        for user, number in arrived:
            total += 1
            known = seen.setdefault(user, set())
            if number not in known:
                inversions += number < highest[user]
                highest[user] = max(highest[user], number)
                known.add(number)
        lost = [
            (user, number)
            for user, last in acknowledged.items()
            for number in range(1, last + 1)
            if number not in seen.get(user, ())
        ]
        unique = sum(map(len, seen.values()))
        return cls(sum(acknowledged.values()), total, lost, total - unique, inversions)


def arrived_at_clevertap(lines: Iterable[bytes]) -> list[tuple[str, int]]:
    """User and counter of the events in a sandbox's record file."""
    entries = [orjson.loads(line)["record"] for line in lines]
    return [(entry["identity"], entry["evtData"]["n"]) for entry in entries if entry["type"] == "event"]
