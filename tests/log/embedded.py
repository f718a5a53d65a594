"""Short ways to make an embedded log, to end it as a crash does, and to see all that it holds."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from router_core.log.appender import Appender
from router_core.log.embedded import EmbeddedLog
from router_core.log.port import PARTITIONS, Settlement, StoredBatch
from router_core.log.segment import SegmentName
from router_core.testing.log_contract import CONNECTIONS, new_batch, read_all

SMALL_SEGMENTS = {"segment_bytes": 64 * 1024}


@asynccontextmanager
async def opened(
    folder: Path, connections: Mapping[str, str] = CONNECTIONS, **options: Any
) -> AsyncIterator[EmbeddedLog]:
    log = EmbeddedLog(folder, **{**SMALL_SEGMENTS, **options})
    try:
        await log.open(sorted(set(connections.values())), connections)
        yield log
    finally:
        await log.close()


async def accept(log: EmbeddedLog, count: int, *, size: int = 400, each: int = 10) -> list[str]:
    """Append batches of some users, `each` at once. Returns their bodies."""
    accepted: list[str] = []
    for start in range(0, count, each):
        batches = [
            new_batch(number % 50, body=b'{"number":%d,"text":"%s"}' % (number, b"x" * size))
            for number in range(start, min(start + each, count))
        ]
        await log.append(batches)
        accepted += [batch.body.decode() for batch in batches]
    return accepted


def of_user(user: int) -> Callable[[bytes], bool]:
    """What `EventLog.erase` asks, for a user of `accept`."""

    def is_theirs(body: bytes) -> bool:
        number = re.match(rb'{"number":(\d+),', body)
        return number is not None and int(number[1]) % 50 == user

    return is_theirs


def with_mark(*marks: bytes) -> Callable[[bytes], bool]:
    """The same, for bodies that hold one of these."""
    return lambda body: any(mark in body for mark in marks)


async def everything(folder: Path, connection: str = "shop_to_a") -> list[StoredBatch]:
    """All that a router started now would deliver."""
    async with opened(folder) as log:
        return await read_all(log.lease(connection, range(PARTITIONS)))


async def settle_all(log: EmbeddedLog) -> None:
    for name in CONNECTIONS:
        lease = log.lease(name, range(PARTITIONS))
        await read_all(lease)
        await lease.settle(Settlement())


async def crash_image(log: EmbeddedLog, folder: Path, target: Path) -> Path:
    """A copy of what is on disk while the log is open: a start from it is a start after `kill -9`.

    Without the shared-memory indices, which do not survive their last process. Waits for the thread that writes
    behind, as a copy that takes a while is no picture of one moment.
    """
    await asyncio.get_running_loop().run_in_executor(log._seen._thread, lambda: None)
    return Path(shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*-shm")))


def segments(folder: Path) -> list[Path]:
    return sorted((folder / "log").glob("*.log"))


def appender_of(log: EmbeddedLog) -> Appender:
    """The half that appends, of a log to which something was appended."""
    assert log._appender is not None
    return log._appender


def first_of(path: Path) -> int:
    """The first position that may be in a file."""
    name = SegmentName.of(path)
    assert name is not None
    return name.first
