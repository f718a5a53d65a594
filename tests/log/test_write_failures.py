"""Writes and syncs that fail: nothing of the group is kept or acknowledged, and what comes later is never lost."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from router_core.errors import LogFull
from router_core.log.embedded import EmbeddedLog
from router_core.log.port import PARTITIONS, Lease
from router_core.testing.log_contract import append_when_there_is_room, bodies, new_batch, read_all
from tests.log.embedded import accept, appender_of, crash_image, everything, opened, segments

ALL = range(PARTITIONS)
EIO = OSError(errno.EIO, "Input/output error")
ENOSPC = OSError(errno.ENOSPC, "No space left on device")


class Disk:
    """Calls of the system that fail for the log's newest file while they are named here."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.log: EmbeddedLog | None = None
        self.before_failure: Callable[[], object] = lambda: None

    def fail(self, call: str, error: OSError, *, after: Callable[..., object] | None = None, times: int = 1) -> None:
        """Let the next `times` calls fail; `after` does first what part of the call was done."""
        real = getattr(os, call)
        left = [times]

        def failing(file: Any, *arguments: Any) -> Any:
            if self.log is None or file != appender_of(self.log).writer._file or left[0] == 0:
                return real(file, *arguments)
            left[0] -= 1
            if after is not None:
                after(real, file, *arguments)
            self.before_failure()
            raise error

        self._patch.setattr(os, call, failing)


def half(write: Any, file: int, pieces: Any, offset: int) -> None:
    """As much as there was room for."""
    content = b"".join(pieces)
    os.pwrite(file, content[: len(content) * 2 // 3], offset)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    with monkeypatch.context() as patch:
        yield Disk(patch)


FAILURES: list[tuple[str, OSError, Any]] = [
    ("pwritev", ENOSPC, None),
    ("pwritev", ENOSPC, half),
    ("pwritev", OSError(errno.EDQUOT, "Disk quota exceeded"), half),
    ("fdatasync", EIO, None),
]


@pytest.mark.parametrize(("call", "error", "after"), FAILURES)
async def test_a_group_that_fails_is_not_kept_and_the_next_is(
    tmp_path: Path, disk: Disk, call: str, error: OSError, after: Any
) -> None:
    async with opened(tmp_path) as log:
        disk.log = log
        accepted = await accept(log, 20)
        disk.fail(call, error, after=after)
        results = await asyncio.gather(
            *(log.append([new_batch(n, key=b"%d" % n)]) for n in range(9)), return_exceptions=True
        )
        assert [type(result) for result in results] == [LogFull] * 9
        assert str(error.strerror) in str(results[0])
        for number in range(9):
            batch = new_batch(number, key=b"%d" % number)
            assert list(await append_when_there_is_room(log, batch)) == [True], "its key was not remembered"
            accepted.append(batch.body.decode())
        rows = await read_all(log.lease("shop_to_a", ALL))
        assert bodies(rows) == accepted
        assert rows[20].seq == 30, "the positions of what failed are not given again"
        assert (await log.stats()).damaged == 0
        assert len(segments(tmp_path)) == 2
    assert bodies(await everything(tmp_path)) == accepted


@pytest.mark.parametrize(("call", "error", "after"), FAILURES)
async def test_after_a_failure_and_a_kill_positions_are_not_given_again(
    tmp_path: Path, disk: Disk, call: str, error: OSError, after: Any
) -> None:
    async with opened(tmp_path / "data") as log:
        disk.log = log
        accepted = await accept(log, 20)
        disk.fail(call, error, after=after)
        with pytest.raises(LogFull):
            await log.append([new_batch(1), new_batch(2)])
        image = await crash_image(log, tmp_path / "data", tmp_path / "image")
    disk.log = None
    async with opened(image) as log:
        accepted += await accept(log, 1)
        rows = await read_all(log.lease("shop_to_a", ALL))
        assert bodies(rows) == accepted
        assert rows[-1].seq == 23
        assert (await log.stats()).damaged == 0


async def test_who_has_read_what_was_taken_back_reads_all_that_follows(tmp_path: Path, disk: Disk) -> None:
    """The delivering process follows the file by its size, and may be ahead of the sync."""
    has_read = threading.Event()
    disk.before_failure = lambda: has_read.wait(10)
    async with opened(tmp_path) as log, opened(tmp_path) as reader:
        disk.log = log
        lease = reader.lease("shop_to_a", ALL)
        accepted = await accept(log, 5)
        assert len(await _read(lease, 5)) == 5
        disk.fail("fdatasync", EIO)
        failing = asyncio.create_task(log.append([new_batch(3), new_batch(4)]))
        assert len(await _read(lease, 2)) == 2, "not acknowledged, but delivered: a repeat is a duplicate"
        has_read.set()
        with pytest.raises(LogFull):
            await failing
        later = []
        for _ in range(5):
            batch = new_batch(3)
            await append_when_there_is_room(log, batch)
            later.append(batch.body.decode())
        assert await _read(lease, 5) == later
        assert bodies(await read_all(log.lease("shop_to_b", ALL))) == accepted + later
        assert (await reader.stats()).damaged == 0


STEPS = ["pwritev", "ftruncate", "fdatasync"]
"""What is done to a file whose sync failed."""


@pytest.mark.parametrize(
    "left_out",
    [STEPS, STEPS[1:], STEPS[2:], [], ["pwritev"], ["ftruncate"], ["pwritev", "fdatasync"]],
    ids=lambda steps: "no-" + "-".join(steps),
)
async def test_a_running_delivery_gets_what_is_accepted_after_a_failed_sync_and_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_out: list[str]
) -> None:
    """The delivery has read the group that failed; the process that accepts dies, or its disk does, at any step then.

    Its successor must neither give those positions again nor write where the delivery has passed.
    """
    async with opened(tmp_path) as dead, opened(tmp_path) as reader:
        lease = reader.lease("shop_to_a", ALL)
        accepted = await accept(dead, 5)
        assert await _read(lease, 5) == accepted
        with monkeypatch.context() as patch:
            _fail_sync_and_then(patch, appender_of(dead).writer._file, left_out, reader._look)
            with pytest.raises(LogFull):
                await dead.append([new_batch(n, body=b'"not accepted"') for n in range(3)])
        appender_of(dead)._upkeep.cancel()
        half_read = await lease.read(1, 0.1)
        assert reader._head == 8
        async with opened(tmp_path) as log:
            late = await accept(log, 3)
            assert (await log.stats()).damaged <= 1
            read = bodies(half_read) + bodies(await lease.read(1000, 2.0)) + bodies(await lease.read(1000, 0.1))
            assert [body for body in read if body != '"not accepted"'] == late
            late += await accept(log, 2)
            assert await _read(lease, 2) == late[3:]
            rows = await read_all(log.lease("shop_to_b", ALL))
            assert [body for body in bodies(rows) if body != '"not accepted"'] == accepted + late
            assert rows[-1].seq > 8 + 2
            depth = (await log.stats()).connections["shop_to_a"].depth
            assert depth <= len(rows) + 3, "positions that were left out are not waiting"


def _fail_sync_and_then(patch: pytest.MonkeyPatch, file: int, left_out: list[str], seen: Callable[[], object]) -> None:
    """Let the next sync of a file fail after somebody has `seen` its rows, and the calls of `left_out` from then on."""
    is_sick = False

    def failing(call: str) -> Callable[..., Any]:
        real = getattr(os, call)

        def called(which: int, *arguments: Any) -> Any:
            nonlocal is_sick
            if which == file and is_sick and call in left_out:
                raise EIO
            if which == file and not is_sick and call == "fdatasync":
                is_sick = True
                seen()
                raise EIO
            return real(which, *arguments)

        return called

    for call in STEPS:
        patch.setattr(os, call, failing(call))


async def test_a_file_that_cannot_even_be_cut_back_is_left_for_a_new_one(tmp_path: Path, disk: Disk) -> None:
    async with opened(tmp_path) as log, opened(tmp_path) as reader:
        disk.log = log
        accepted = await accept(log, 5)
        disk.fail("pwritev", EIO, after=half)
        disk.fail("ftruncate", EIO)
        with pytest.raises(LogFull):
            await log.append([new_batch(3), new_batch(4), new_batch(5)])
        for _ in range(3):
            batch = new_batch(3)
            await append_when_there_is_room(log, batch)
            accepted.append(batch.body.decode())
        assert len(segments(tmp_path)) == 2
        assert set(accepted) <= set(await _read(reader.lease("shop_to_a", ALL), 8))
    assert set(accepted) <= set(bodies(await everything(tmp_path)))


async def test_a_disk_that_fails_again_and_again_leaves_no_trail_of_empty_files(tmp_path: Path, disk: Disk) -> None:
    async with opened(tmp_path) as log:
        disk.log = log
        accepted = await accept(log, 5)
        disk.fail("pwritev", ENOSPC, after=half, times=10)
        refused = 0
        while refused < 30:
            try:
                accepted += await accept(log, 1)
                break
            except LogFull:
                refused += 1
                await asyncio.sleep(0.05)
        assert refused >= 5
        assert len(segments(tmp_path)) <= 3
        assert bodies(await read_all(log.lease("shop_to_a", ALL))) == accepted


async def test_while_no_new_file_can_be_made_after_a_failure_senders_hear_of_it(tmp_path: Path, disk: Disk) -> None:
    async with opened(tmp_path) as log:
        disk.log = log
        accepted = await accept(log, 5)
        disk.fail("fdatasync", EIO)
        with pytest.raises(LogFull):
            await accept(log, 1)
        (log_folder := tmp_path / "log").rename(tmp_path / "elsewhere")
        for _ in range(3):
            await asyncio.sleep(0.3)
            with pytest.raises(LogFull):
                await accept(log, 1)
        (tmp_path / "elsewhere").rename(log_folder)
        late = new_batch(1)
        assert list(await append_when_there_is_room(log, late)) == [True]
        assert bodies(await read_all(log.lease("shop_to_a", ALL))) == [*accepted, late.body.decode()]


async def test_a_new_file_whose_name_is_not_durable_is_not_written_to(tmp_path: Path, disk: Disk) -> None:
    async with opened(tmp_path) as log:
        accepted = await accept(log, 5)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("router_core.log.writer.sync_folder", _fail)
            accepted += await accept(log, 400)
            assert len(segments(tmp_path)) == 1, "the older one takes more than its size"
        accepted += await accept(log, 20)
        assert len(segments(tmp_path)) == 2
    assert bodies(await everything(tmp_path)) == accepted


def _fail(_: Path) -> None:
    raise EIO


async def test_a_reader_sees_a_new_file_at_once_though_positions_were_left_out(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router_core.log.embedded._REFRESH_EVERY", 1e9)
    async with opened(tmp_path) as log, opened(tmp_path) as reader:
        disk.log = log
        lease = reader.lease("shop_to_a", ALL)
        for _ in range(4):
            accepted = await accept(log, 5)
            assert await _read(lease, 5) == accepted
            disk.fail("pwritev", ENOSPC)
            with pytest.raises(LogFull):
                await log.append([new_batch(1)])
            late = new_batch(1)
            await append_when_there_is_room(log, late)
            async with asyncio.timeout(0.5):
                assert await _read(lease, 1) == [late.body.decode()]


async def _read(lease: Lease, count: int) -> list[str]:
    rows: list[str] = []
    async with asyncio.timeout(10):
        while len(rows) < count:
            rows += bodies(await lease.read(1000, 0.2))
    return rows
