"""The memory engine keeps the contract of the event log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from router_core.log.memory import MemoryLog
from router_core.log.port import EventLog
from router_core.testing.log_contract import EventLogContract


class TestMemoryLog(EventLogContract):
    def make_log(self, folder: Path, *, max_bytes: int, now: Callable[[], float]) -> EventLog:
        return MemoryLog(max_bytes=max_bytes, now=now)

    async def reopen_log(self, log: EventLog, make: Callable[[], EventLog]) -> EventLog:
        await log.close()
        return log


async def test_request_keys_are_forgotten_when_their_time_is_over() -> None:
    from router_core.testing.log_contract import Clock, new_batch

    clock = Clock()
    log = MemoryLog(deduplicate_for=60, now=clock)
    await log.open(["shop"], {})
    assert list(await log.append([new_batch(1, key=b"k")])) == [True]
    clock.now += 59
    assert list(await log.append([new_batch(1, key=b"k")])) == [False]
    clock.now += 2
    assert list(await log.append([new_batch(1, key=b"k")])) == [True]
    await log.close()
