"""What a worker tells the supervisor once a second, and what the supervisor makes of it."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from router_core.connection import ConnectionStatus
from router_core.log.port import EventLog, LogStats
from router_core.telemetry import Sample, Telemetry

Role = Literal["ingest", "deliver", "router"]
_RATE_OVER = 10.0
_SILENT_AFTER = 15.0
"""Seconds without a report after which a worker counts as not running."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One worker's state."""

    role: Role
    pid: int
    at: float
    samples: list[Sample]
    log: LogStats
    connections: dict[str, ConnectionStatus] = {}
    rates: dict[str, float] = {}
    """Records delivered per second, over the last ten seconds, by connection."""


class Reporter:
    """Makes the reports of one process."""

    def __init__(self, role: Role, log: EventLog, telemetry: Telemetry) -> None:
        self._role = role
        self._log = log
        self._telemetry = telemetry
        self._history: deque[tuple[float, dict[str, int]]] = deque(maxlen=int(_RATE_OVER) + 1)

    async def report(self, connections: Mapping[str, ConnectionStatus]) -> Report:
        """The state as of now; also brings the gauges up to date."""
        stats = await self._log.stats()
        self._gauge(stats, connections)
        now = time.monotonic()
        self._history.append((now, {name: status.delivered for name, status in connections.items()}))
        then, before = self._history[0]
        seconds = max(now - then, 1e-9)
        rates = {
            name: (status.delivered - before.get(name, 0)) / seconds if len(self._history) > 1 else 0.0
            for name, status in connections.items()
        }
        return Report(
            role=self._role,
            pid=os.getpid(),
            at=time.time(),
            samples=self._telemetry.samples(),
            log=stats,
            connections=dict(connections),
            rates=rates,
        )

    def _gauge(self, stats: LogStats, connections: Mapping[str, ConnectionStatus]) -> None:
        gauge, now_ms = self._telemetry.gauge, time.time() * 1000
        gauge("process_resident_bytes", resident_bytes(), process=self._role)
        if self._role != "deliver":  # the process that appends knows best
            gauge("log_bytes", stats.bytes)
            gauge("log_full", float(stats.full))
            gauge("log_damaged_files", stats.damaged)
        for name in connections:
            if (at := stats.connections.get(name)) is None:
                continue
            gauge("connection_depth", at.depth, connection=name)
            age = 0.0 if at.oldest_ms is None else max(now_ms - at.oldest_ms, 0.0) / 1000
            gauge("connection_age_seconds", age, connection=name)
            gauge("connection_held", at.held, connection=name)
            gauge("dead_letters", at.letters, connection=name)


def resident_bytes() -> int:
    """Memory of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


class Overview:
    """The newest report of each worker; what the admin pages and `router status` show."""

    def __init__(self, connections: Mapping[str, tuple[str, str]]) -> None:
        self._connections = connections
        self._reports: dict[Role, Report] = {}
        self._down: set[Role] = set()
        self._started = time.time()

    def take(self, report: Report) -> None:
        """A worker has reported."""
        self._reports[report.role] = report
        self._down.discard(report.role)

    def worker_down(self, role: Role) -> None:
        """A worker has ended and is not back yet."""
        self._down.add(role)

    @property
    def samples(self) -> Sequence[Sample]:
        """The metrics of all workers."""
        return [sample for report in self._reports.values() for sample in report.samples]

    def checks(self) -> dict[str, tuple[bool, str]]:
        """Each check of readiness: whether it holds, and a sentence."""
        found: dict[str, tuple[bool, str]] = {}
        accepting = self._reports.get("ingest") or self._reports.get("router")
        for role in ("ingest", "deliver") if "router" not in self._reports else ("router",):
            up = self._is_up(role)
            found[role] = (up, "running" if up else "not running")
        if accepting is not None:
            full = accepting.log.full
            found["log"] = (not full, "full: deliveries are behind, or the disk is" if full else "has room")
        return found

    def _is_up(self, role: Role) -> bool:
        report = self._reports.get(role)
        return report is not None and role not in self._down and time.time() - report.at < _SILENT_AFTER

    @property
    def ready(self) -> bool:
        """Whether batches are accepted. A broken partner does not make the router unready."""
        return bool(self._reports) and all(holds for holds, _ in self.checks().values())

    def status(self) -> dict[str, Any]:
        """What `router status --json` prints; ages and times in seconds."""
        now = time.time()
        delivering = self._reports.get("deliver") or self._reports.get("router")
        accepting = self._reports.get("ingest") or self._reports.get("router")
        connections = []
        for name, (source, output) in self._connections.items():
            entry: dict[str, Any] = {"name": name, "input": source, "output": output}
            if delivering is not None and name in delivering.connections:
                status = delivering.connections[name]
                entry |= {
                    "state": status.state,
                    "delivered": status.delivered,
                    "skipped": status.skipped,
                    "records_per_second": round(delivering.rates.get(name, 0.0), 1),
                    "last_error": status.last_error or None,
                    "last_error_at": status.last_error_at,
                }
                if (at := delivering.log.connections.get(name)) is not None:
                    age = None if at.oldest_ms is None else round(max(now - at.oldest_ms / 1000, 0.0), 3)
                    entry |= {"depth": at.depth, "age_seconds": age, "held": at.held, "dead_letters": at.letters}
            else:
                entry["state"] = "starting"
            connections.append(entry)
        log = accepting.log if accepting is not None else None
        return {
            "ready": self.ready,
            "uptime_seconds": round(now - self._started, 1),
            "workers": {report.role: {"pid": report.pid, "up": self._is_up(report.role)}
                        for report in self._reports.values()},
            "log": None if log is None else {"head": log.head, "bytes": log.bytes, "full": log.full,
                                              "damaged_files": log.damaged},
            "connections": connections,
        }  # fmt: skip
