"""What a worker tells, and what the supervisor makes of it."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest

from router_core.connection import ConnectionStatus
from router_core.log.memory import MemoryLog
from router_core.log.port import ConnectionStats, LogStats
from router_core.reports import Overview, Report, Reporter, Role, resident_bytes
from router_core.telemetry import Sample, Telemetry
from router_core.testing import event_batch, new_batch

CONNECTIONS = {"shop_to_a": ("shop", "a")}


def status(state: str = "ok", delivered: int = 0, last_error: str = "") -> ConnectionStatus:
    return ConnectionStatus(
        state=state, last_error=last_error, last_error_at=5.0 if last_error else None, delivered=delivered
    )


def report(role: Role, *, full: bool = False, connection: ConnectionStatus | None = None, **more: Any) -> Report:
    stats = ConnectionStats(depth=7, oldest_ms=None, held=2, letters=1)
    return Report(
        role=role,
        pid=17,
        at=9e9,
        samples=[Sample("log_bytes", {}, 5.0)],
        log=LogStats(head=3, bytes=100, full=full, damaged=0, connections={"shop_to_a": stats}),
        connections={} if connection is None else {"shop_to_a": connection},
        **more,
    )


def overview(*reports: Report, down: Role | None = None) -> Overview:
    made = Overview(CONNECTIONS)
    for one in reports:
        made.take(one)
    if down is not None:
        made.worker_down(down)
    return made


@pytest.mark.parametrize(
    ("reports", "down", "ready"),
    [
        ([], None, False),
        ([report("ingest")], None, False),
        ([report("deliver")], None, False),
        ([report("ingest"), report("deliver")], None, True),
        ([report("ingest"), report("deliver")], "deliver", False),
        ([report("ingest", full=True), report("deliver")], None, False),
        ([report("ingest"), report("deliver", full=True)], None, True),
        ([report("router")], None, True),
        ([report("router")], "router", False),
        ([report("router", full=True)], None, False),
        ([report("router", connection=status("paused", last_error="bad passcode"))], None, True),
    ],
)
def test_the_router_is_ready_while_it_accepts(reports: list[Report], down: Role | None, ready: bool) -> None:
    assert overview(*reports, down=down).ready is ready


def test_a_worker_that_reports_again_is_up_again() -> None:
    made = overview(report("router"), down="router")
    assert made.checks()["router"] == (False, "not running")
    made.take(report("router"))
    assert made.checks() == {"router": (True, "running"), "log": (True, "has room")}


def test_a_full_log_is_named() -> None:
    holds, what = overview(report("ingest", full=True), report("deliver")).checks()["log"]
    assert not holds
    assert what.startswith("full")


def test_the_status_tells_of_a_connection_what_a_person_wants_to_know() -> None:
    made = overview(
        report("ingest"),
        report("deliver", connection=status("paused", 40, "bad passcode"), rates={"shop_to_a": 1.26}),
    )
    shown = made.status()
    assert shown["ready"] is True
    assert shown["workers"] == {"ingest": {"pid": 17, "up": True}, "deliver": {"pid": 17, "up": True}}
    assert shown["log"] == {"head": 3, "bytes": 100, "full": False, "damaged_files": 0}
    assert shown["connections"] == [
        {
            "name": "shop_to_a", "input": "shop", "output": "a", "state": "paused", "delivered": 40, "skipped": 0,
            "records_per_second": 1.3, "last_error": "bad passcode", "last_error_at": 5.0, "depth": 7,
            "age_seconds": None, "held": 2, "dead_letters": 1,
        }
    ]  # fmt: skip


@pytest.mark.parametrize("reports", [[], [report("ingest")], [report("router")]])
def test_a_connection_that_nobody_told_of_is_starting(reports: list[Report]) -> None:
    shown = overview(*reports).status()
    assert shown["connections"] == [{"name": "shop_to_a", "input": "shop", "output": "a", "state": "starting"}]


def test_the_samples_of_all_workers_are_there() -> None:
    assert len(overview(report("ingest"), report("deliver")).samples) == 2


@pytest.mark.parametrize("role", ["ingest", "deliver", "router"])
async def test_a_report_has_the_state_and_the_gauges(role: Role) -> None:
    log, telemetry = MemoryLog(now=lambda: 1000.0), Telemetry()
    await log.open(["shop"], {"shop_to_a": "shop"})
    await log.append([new_batch(event_batch(), user=1)])
    made = await Reporter(role, log, telemetry).report({"shop_to_a": status(delivered=5), "unknown": status()})
    assert (made.role, made.pid, made.log.head) == (role, os.getpid(), 1)
    assert made.rates == {"shop_to_a": 0.0, "unknown": 0.0}
    assert telemetry.value("connection_depth", connection="shop_to_a") == 1
    assert telemetry.value("connection_age_seconds", connection="shop_to_a") > 1_000_000
    assert telemetry.value("process_resident_bytes", process=role) == pytest.approx(resident_bytes(), rel=0.5)
    assert (telemetry.value("log_bytes") > 0) is (role != "deliver"), "the process that appends knows best"
    assert msgspec.json.decode(msgspec.json.encode(made), type=Report) == made, "it travels between processes"


async def test_the_rate_is_that_since_the_oldest_report_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("router_core.reports.time.monotonic", lambda: now)
    log = MemoryLog()
    await log.open(["shop"], {"shop_to_a": "shop"})
    reporter = Reporter("deliver", log, Telemetry())
    rates = []
    for second in range(30):
        now = 100.0 + second
        made = await reporter.report({"shop_to_a": status(delivered=50 * second if second < 15 else 700)})
        rates.append(made.rates["shop_to_a"])
    assert rates[:15] == [0.0] + [pytest.approx(50.0)] * 14
    assert rates[-1] == 0.0


def test_a_worker_that_has_not_reported_for_long_counts_as_not_running() -> None:
    silent = msgspec.structs.replace(report("router"), at=0.0)
    assert overview(silent).checks()["router"] == (False, "not running")
