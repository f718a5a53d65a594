"""A sandbox for tests and benchmarks: `with SandboxServer() as sandbox: ...`."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import orjson

from router_clevertap.sandbox.faults import Fault
from router_clevertap.sandbox.serving import Serving, listening_socket, url_of
from router_clevertap.sandbox.settings import SandboxSettings

_SECONDS_TO_START = 15.0
_MOST_RECORDS = 100_000


class SandboxServer:
    """Runs a sandbox on a free port of this machine while the `with` block lasts.

    In a thread by default. `process=True` gives it a process of its own, so that it does not share the
    caller's interpreter; benchmarks want that. Arguments are those of `SandboxSettings`.
    """

    def __init__(
        self,
        *,
        fast: bool = False,
        process: bool = False,
        accounts: Mapping[str, str] | None = None,
        port: int = 0,
        **settings: Any,
    ) -> None:
        chosen: dict[str, Any] = {"fast": fast, **settings} | ({"accounts": dict(accounts)} if accounts else {})
        self.settings = SandboxSettings(**chosen)
        self.url = ""
        """Base URL without a slash at its end, known once the block is entered."""
        self._port = port
        self._run: _Thread | _Process = (_Process if process else _Thread)()

    def __enter__(self) -> Self:
        self.url = self._run.start(self.settings, self._port)
        self._client = httpx.Client(base_url=self.url, trust_env=False, timeout=30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        self._run.stop()

    @property
    def account_id(self) -> str:
        """The first account's ID."""
        return next(iter(self.settings.accounts))

    @property
    def passcode(self) -> str:
        """The first account's passcode."""
        return self.settings.accounts[self.account_id]

    @property
    def headers(self) -> dict[str, str]:
        """Headers of a good call for the first account."""
        return self._headers(self.account_id)

    @property
    def pid(self) -> int | None:
        """Process id with `process=True`, else None."""
        return self._run.pid

    def upload(self, *records: dict[str, Any], dry_run: bool = False, account: str | None = None) -> httpx.Response:
        """Upload records as a sender would. Raises httpx.TransportError if a fault cuts the connection."""
        query = {"dryRun": "1"} if dry_run else {}
        headers = self._headers(account or self.account_id)
        return self._client.post("/1/upload", params=query, headers=headers, content=orjson.dumps({"d": records}))

    def profile(
        self,
        *,
        identity: str | None = None,
        object_id: str | None = None,
        email: str | None = None,
        account: str | None = None,
    ) -> dict[str, Any] | None:
        """The `record` of `GET /1/profile.json`, or None if nobody has the id."""
        asked = {"identity": identity, "objectId": object_id, "email": email}
        response = self._client.get(
            "/1/profile.json",
            params={name: value for name, value in asked.items() if value is not None},
            headers=self._headers(account or self.account_id),
        )
        if response.status_code == 404:
            return None
        record: dict[str, Any] = self._content(response)["record"]
        return record

    def stats(self) -> dict[str, Any]:
        """Counts: see `GET /sandbox/stats`."""
        return self._content(self._client.get("/sandbox/stats"))

    def records(
        self,
        *,
        account: str | None = None,
        after: int = 0,
        limit: int = _MOST_RECORDS,
        identity: str | None = None,
        object_id: str | None = None,
    ) -> list[dict[str, Any]]:
        """Accepted records in arrival order: `{"n", "at", "call", "account", "kind", "record"}`."""
        query = {
            "account": account,
            "identity": identity,
            "objectId": object_id,
            "after": after,
            "limit": limit,
        }
        given = {name: value for name, value in query.items() if value is not None}
        records: list[dict[str, Any]] = self._content(self._client.get("/sandbox/records", params=given))["records"]
        return records

    def refusals(self) -> list[dict[str, Any]]:
        """The last refused records, oldest first."""
        refusals: list[dict[str, Any]] = self._content(self._client.get("/sandbox/refusals"))["refusals"]
        return refusals

    def damage(self, *, account: str | None = None, code: str | None = None) -> list[dict[str, Any]]:
        """The last 1000 faults of accepted records, oldest first; `stats()["damage"]` counts them all."""
        query = {name: value for name, value in (("account", account), ("code", code)) if value}
        damage: list[dict[str, Any]] = self._content(self._client.get("/sandbox/damage", params=query))["damage"]
        return damage

    def fault(self, **fault: Any) -> None:
        """Add a fault; arguments are the fields of `Fault`. Raises pydantic.ValidationError."""
        content = Fault(**fault).model_dump_json(exclude_defaults=True)
        self._content(self._client.post("/sandbox/faults", content=content))

    def faults(self) -> list[dict[str, Any]]:
        """The faults in force, with `fired` and `seen` counts."""
        faults: list[dict[str, Any]] = self._content(self._client.get("/sandbox/faults"))["faults"]
        return faults

    def clear_faults(self) -> None:
        self._content(self._client.delete("/sandbox/faults"))

    def reset(self) -> None:
        """Forget all records, people, counts and faults."""
        self._content(self._client.post("/sandbox/reset"))

    def wait_for(self, accepted: int, *, timeout: float = 10.0) -> dict[str, Any]:
        """Wait until at least that many records were accepted; answers the stats. Raises TimeoutError.

        `timeout` is in seconds.
        """
        deadline = time.monotonic() + timeout
        while (stats := self.stats())["accepted"] < accepted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{stats['accepted']} of {accepted} records arrived within {timeout:g} seconds")
            time.sleep(0.01)
        return stats

    def _headers(self, account: str) -> dict[str, str]:
        return {
            "x-clevertap-account-id": account,
            "x-clevertap-passcode": self.settings.accounts[account],
            "content-type": "application/json",
        }

    @staticmethod
    def _content(response: httpx.Response) -> dict[str, Any]:
        content: dict[str, Any] = response.json()
        if not response.is_success:
            raise ValueError(content.get("error", response.text))
        return content


class _Thread:
    pid: int | None = None

    def start(self, settings: SandboxSettings, port: int) -> str:
        started = threading.Event()
        bound = listening_socket("127.0.0.1", port)
        try:
            self._serving = Serving(settings, bound, started.set)
        except BaseException:
            bound.close()
            raise
        self._thread = threading.Thread(target=self._serving.run_to_end, name="clevertap-sandbox", daemon=True)
        self._thread.start()
        if not started.wait(_SECONDS_TO_START):
            raise TimeoutError("The sandbox did not start.")
        return url_of(bound)

    def stop(self) -> None:
        self._serving.stop()
        self._thread.join()


class _Process:
    pid: int | None = None

    def start(self, settings: SandboxSettings, port: int) -> str:
        # The package may not be installed: the child looks where this process found it.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        self._process = subprocess.Popen(  # noqa: S603 our own interpreter and module
            [sys.executable, "-m", "router_clevertap.sandbox", *_options(settings, port)],
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        greeting = self._process.stdout.readline()
        if " on http" not in greeting:
            self.stop()
            raise RuntimeError("The sandbox did not start.")
        return greeting.partition(" on ")[2].split()[0]

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def _options(settings: SandboxSettings, port: int) -> list[str]:
    """The command line that says the same as the settings."""
    options = [
        f"--port={port}",
        f"--max-events={settings.max_events}",
        f"--concurrency={settings.concurrency}",
    ]
    options += [f"--account={name}:{passcode}" for name, passcode in settings.accounts.items()]
    options += [f"--fault={fault.model_dump_json(exclude_defaults=True)}" for fault in settings.faults]
    options += [f"--device={object_id}" for object_id in sorted(settings.devices)]
    options += [f"--discard={name}" for name in sorted(settings.discarded_events)]
    if settings.fast:
        options.append("--fast")
    if settings.record_file:
        options.append(f"--record={Path(settings.record_file)}")
    return options
