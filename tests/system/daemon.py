"""`router run` as a user starts it: a process group of its own, its files in one folder, its log lines in one file."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
import orjson

from router_core.log.port import StoredBatch, partition_of
from router_core.log.segments import Segments

T = TypeVar("T")
ROUTER = Path(sys.executable).parent / "router"
BASIC = b"Basic " + b64encode(b"key:secret")
FAULTS_OF_OURS = frozenset({"lane_failed", "source_failed", "report_failed", "observer_failed", "settings_not_applied"})
"""Log events that no run may show, whatever the partner or a sender does."""


def until(
    what: str,
    ready: Callable[[], T | None],
    within: float = 15.0,
    *,
    every: float = 0.02,
    told: Callable[[], str] = lambda: "",
) -> T:
    """Poll until `ready` gives neither None nor False; return that. Fails after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        found = ready()
        if found is not None and found is not False:
            return found
        assert time.monotonic() < deadline, f"within {within:g} seconds not: {what}\n{told()[-4000:]}"
        time.sleep(every)


def free_port() -> int:
    """A port below those that the system gives to outgoing connections, so that it stays free for a restart."""
    while True:
        port = random.randrange(12_000, 30_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


def rows(file: Path, query: str, *arguments: object) -> list[Any]:
    """What a query finds in one of the router's files, which it may be writing."""
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as connection:
        return connection.execute(query, arguments).fetchall()


class Daemon:
    """One configuration and data folder, and the `router run` that uses them, which may come and go."""

    def __init__(self, folder: Path, config: Mapping[str, Any], env: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.data = folder / "data"
        self.file = folder / "router.yaml"
        self.port, self.admin_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._env = {**os.environ, **(env or {})}
        self._env.pop("COLUMNS", None)
        self._config = dict(config)
        self._output = folder / "output.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._admin = httpx.Client(base_url=f"http://127.0.0.1:{self.admin_port}", trust_env=False, timeout=10)
        self.client = httpx.Client(base_url=self.url, trust_env=False, timeout=40)
        self._letters_passed = 0
        self.groups: list[int] = []
        """Process groups started so far."""
        self.configure()

    def configure(self, **sections: Any) -> None:
        """Write the YAML file, which may be JSON; `sections` replace those of before."""
        self._config |= sections
        whole = {
            "listen": {"port": self.port},
            "admin": {"port": self.admin_port},
            "telemetry": {"log_format": "json"},
            **self._config,
        }
        self.file.write_text(json.dumps(whole, indent=2))

    def authorize(self, token: str) -> None:
        """Send this token to the admin pages."""
        self._admin.headers["authorization"] = f"Bearer {token}"

    # --- life ---

    def launch(self, *options: str) -> None:
        """Start the process and return at once."""
        assert not self.is_alive()
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [ROUTER, "run", "-c", self.file, *options],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self._env,
                cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        self.groups.append(self._process.pid)

    def start(self, *options: str, within: float = 20.0) -> Daemon:
        """Start the process, and return when it says that it is ready."""
        self.launch(*options)
        self.wait_ready(within)
        return self

    def wait_ready(self, within: float = 20.0) -> None:
        """Return when both workers have reported."""

        def ready() -> bool:
            assert self.is_alive(), f"the router ended with status {self.status}:\n{self.output()[-4000:]}"
            return self.readiness()[0] == 200

        until("ready", ready, within, told=self.output)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def status(self) -> int | None:
        """Exit status of the last process; None while it runs."""
        return self.process.poll()

    def ended(self, within: float = 15.0) -> int:
        """Wait for the end; returns the exit status."""
        return self.process.wait(within)

    def stop(self, within: float = 15.0) -> int:
        """SIGTERM to the supervisor; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended(within)

    def signal_group(self, number: int) -> None:
        """A signal to the supervisor and its workers at once, as Ctrl-C and service managers send it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill_supervisor(self) -> None:
        """kill -9 of the supervisor alone; its workers are to notice."""
        self.process.kill()
        self.process.wait(10)

    def kill_all(self) -> None:
        """kill -9 of the supervisor and its workers at one instant."""
        self.signal_group(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(10)

    def kill_worker(self, role: str) -> bool:
        """kill -9 of one worker; returns whether there was one."""
        pid = self.worker_pid(role)
        if pid is None or os.getpgid(pid) != self.process.pid:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return True

    def worker_pid(self, role: str) -> int | None:
        """Of the worker that runs now, as the system sees it and not as it was last reported."""
        for pid in self.pids():
            with contextlib.suppress(OSError):
                if f"router_core.worker\0{role}\0".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        return None

    def pids(self) -> list[int]:
        """All processes of the group that runs now."""
        if self._process is None:
            return []
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if os.getpgid(int(entry.name)) == self._process.pid:
                        found.append(int(entry.name))
        return found

    def resident_kb(self, role: str) -> int:
        """Memory of one worker."""
        for line in Path(f"/proc/{self.worker_pid(role)}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")

    def close(self) -> None:
        """End what is left of it."""
        for group in self.groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        if self._process is not None:
            self._process.wait(10)
        self._admin.close()
        self.client.close()

    # --- what it says ---

    def readiness(self, *, verbose: bool = False) -> tuple[int, str]:
        """Status and text of `/readyz`; (0, "") where nobody listens."""
        try:
            answer = self._admin.get("/readyz", params={"verbose": ""} if verbose else {})
        except httpx.TransportError:
            return 0, ""
        return answer.status_code, answer.text

    def state(self) -> dict[str, Any]:
        """`/status`; empty where nobody listens."""
        try:
            found: dict[str, Any] = self._admin.get("/status").json()
        except (httpx.TransportError, ValueError):
            return {}
        return found

    def connection(self, name: str = "main") -> dict[str, Any]:
        """One connection of `/status`; empty before its worker has reported."""
        entries: list[dict[str, Any]] = self.state().get("connections", [])
        return next((entry for entry in entries if entry["name"] == name), {})

    def metrics(self) -> str:
        """The text of `/metrics`."""
        return self._admin.get("/metrics").text

    def metric(self, name: str, **labels: str) -> float:
        """One sample of `/metrics`; 0 if it is not there."""
        total = 0.0
        for line in self.metrics().splitlines():
            if line.startswith((f"{name}{{", f"{name} ")) and all(f'{k}="{v}"' in line for k, v in labels.items()):
                total += float(line.rpartition(" ")[2])
        return total

    def settled(self, name: str = "main", within: float = 20.0) -> None:
        """Wait until the data folder says that a connection is done with all that was accepted."""
        until(f"connection {name} settled", lambda: not self.waiting(name), within, every=0.05)

    def waiting(self, name: str = "main") -> int:
        """Partitions in which something is not settled, plus held records; as it stands on file."""
        head: dict[int, int] = {}
        for batch in self._batches():
            head[partition_of(batch.user)] = batch.seq
        cursors = dict(rows(self.data / "cursors.db", "SELECT partition, seq FROM cursors WHERE connection = ?", name))
        behind = sum(1 for partition, seq in head.items() if cursors.get(partition, 0) < seq)
        return behind + self.held(name)

    def held(self, name: str = "main") -> int:
        """Records that wait for another try, or for their turn behind one; as it stands on file."""
        return int(rows(self.data / "cursors.db", "SELECT count(*) FROM held WHERE connection = ?", name)[0][0])

    def output(self) -> str:
        """Everything that its processes wrote."""
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """The log lines, or those of one event."""
        found = []
        for line in self.output().splitlines():
            with contextlib.suppress(orjson.JSONDecodeError):
                parsed = orjson.loads(line)
                if isinstance(parsed, dict) and event in (None, parsed.get("event")):
                    found.append(parsed)
        return found

    def stored(self) -> list[bytes]:
        """The bodies in the event log, in order."""
        return [batch.body for batch in self._batches()]

    def kept(self) -> int:
        """The number of batches in the event log."""
        return len(self._batches())

    def _batches(self) -> list[StoredBatch]:
        segments = Segments(self.data / "log", self.data / "quarantine")
        segments.refresh()
        try:
            return [batch for some in segments.after(0) for batch in some if batch.input]
        finally:
            segments.close()

    def letters(self) -> list[tuple[str, str, str]]:
        """The dead letters on file that were not passed over: type of event, code, message."""
        query = "SELECT event_type, code, message FROM letters ORDER BY number"
        return rows(self.data / "dead_letters.db", query)[self._letters_passed :]

    def pass_over_letters(self) -> None:
        """Speak no more of the dead letters that are there by now."""
        self._letters_passed += len(self.letters())

    def metric_reaches(self, name: str, value: float, within: float = 5.0, **labels: str) -> None:
        """Wait for a counter; the workers report once a second."""
        until(f"{name} {labels} reaches {value:g}", lambda: self.metric(name, **labels) >= value, within)

    # --- what is sent to it ---

    def post(
        self, body: Any, *, path: str = "/v2/events", auth: tuple[str, str] | None = ("key", "secret"), **headers: str
    ) -> httpx.Response:
        """POST JSON, or bytes as they are. Underscores in header names stand for dashes."""
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        basic = httpx.BasicAuth(*auth) if auth is not None else httpx.Auth()
        headers = {"content-type": "application/json", **given}
        return self.client.post(path, content=content, auth=basic, headers=headers)

    def send(self, *batches: Mapping[str, Any]) -> None:
        """Send batches in one request, which must be acknowledged."""
        answer = self.post(list(batches), path="/v2/bulkevents")
        assert answer.status_code == 202, answer.text


def require_no_fault_of_ours(daemon: Daemon) -> None:
    """No run ends with a traceback or an internal fault in its log."""
    output = daemon.output()
    assert "Traceback" not in output, output[max(output.index("Traceback") - 1000, 0) :][:6000]
    faults = [line for line in daemon.lines() if line.get("event") in FAULTS_OF_OURS]
    assert not faults, faults[:5]


@contextlib.contextmanager
def running(daemon: Daemon) -> Iterator[Daemon]:
    """The daemon, started; ended with the block."""
    try:
        yield daemon.start()
    finally:
        daemon.close()
    require_no_fault_of_ours(daemon)


class SlowBody(threading.Thread):
    """A request whose body never ends; it takes 30 seconds, so it runs while the other tests do."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self.answer = b""
        self.seconds = 0.0

    def run(self) -> None:
        started = time.monotonic()
        head = b"POST /v2/events HTTP/1.1\r\nHost: x\r\nAuthorization: %b\r\nContent-Length: 100\r\n\r\n{" % BASIC
        with socket.create_connection(("127.0.0.1", self._port), timeout=45) as connection:
            connection.sendall(head)
            self.answer = received(connection)
        self.seconds = time.monotonic() - started


def received(connection: socket.socket) -> bytes:
    """Everything until the other side closes, or has cut the connection."""
    chunks = []
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            chunks.append(chunk)
    return b"".join(chunks)


def batch(name: str, user: str = "user-1", **fields: Any) -> dict[str, Any]:
    """A batch of one custom event."""
    attributes = fields.pop("custom_attributes", {})
    event = {"event_type": "custom_event", "data": {
        "event_name": name, "custom_event_type": "other", "custom_attributes": attributes,
    }}  # fmt: skip
    return {"events": [event], "user_identities": {"customer_id": user}, **fields}


def names(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The event names of sandbox records, in order of arrival."""
    return [entry["record"]["evtName"] for entry in records if entry["kind"] == "event"]
