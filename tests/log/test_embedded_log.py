"""The embedded engine keeps the contract of the event log, and what only it promises."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from router_core.errors import LogError, LogFull
from router_core.log import frames
from router_core.log import segment as segment_module
from router_core.log.embedded import EmbeddedLog
from router_core.log.files import open_database
from router_core.log.port import PARTITIONS, EventLog, Settlement, StoredBatch
from router_core.log.writer import SegmentWriter
from router_core.testing.log_contract import (
    EventLogContract,
    bodies,
    dead_letter,
    held_record,
    new_batch,
    read_all,
)
from tests.log.embedded import (
    accept,
    appender_of,
    crash_image,
    everything,
    first_of,
    of_user,
    opened,
    segments,
    settle_all,
    with_mark,
)

ALL = range(PARTITIONS)


class TestEmbeddedLog(EventLogContract):
    def make_log(self, folder: Path, *, max_bytes: int, now: Callable[[], float]) -> EventLog:
        return EmbeddedLog(folder / "data", max_bytes=max_bytes, now=now)


class TestEmbeddedLogOfManyFiles(EventLogContract):
    """The same, where every few appends begin a new file."""

    def make_log(self, folder: Path, *, max_bytes: int, now: Callable[[], float]) -> EventLog:
        return EmbeddedLog(folder / "data", max_bytes=max_bytes, segment_bytes=20 * 1024, now=now)


async def test_what_ended_is_written_down_whatever_text_an_error_has(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await accept(log, 2)
        lease = log.lease("shop_to_a", ALL)
        held, parked = await read_all(lease)
        odd = {"code": "odd\ud800", "message": "no such file: \udcff.csv " + "x" * 10_000}
        letter = msgspec.structs.replace(dead_letter(parked, "shop_to_a"), event_type="\udfff", **odd)
        await lease.settle(
            Settlement(held=[msgspec.structs.replace(held_record(held), **odd)], letters=[(letter, parked)])
        )
        (again,) = await lease.held()
        ((_, found),) = await log.letters()
        for one in (again, found):
            assert (one.code, one.message[:20], len(one.message)) == ("odd?", "no such file: ?.csv ", 2000)
        assert found.event_type == "?"


# --- processes ---


def test_every_append_that_returned_is_there_after_a_kill(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    returned: set[int] = set()
    appender = subprocess.Popen(
        [sys.executable, "-m", "tests.log.appender"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert appender.stdin is not None
    assert appender.stdout is not None
    with appender.stdin, appender.stdout:
        for round_number in range(20):
            appender.stdin.write(b"%s %d\n" % (os.fsencode(folder), round_number * 1_000_000))
            appender.stdin.flush()
            child, in_this_round = 0, 0
            while (line := appender.stdout.readline()) != b"end\n":
                if line.startswith(b"pid "):
                    child = int(line[4:])
                else:
                    returned.add(int(line))
                    in_this_round += 1
                if child and in_this_round > 40 + 17 * round_number:
                    os.kill(child, 9)
                    child = 0
            rows = asyncio.run(everything(folder))
            numbers = [int(row.body.split()[0]) for row in rows]
            assert returned <= set(numbers)
            assert len(numbers) == len(set(numbers))
            for sender in range(8):
                of_user = [number for number in numbers if number % 8 == sender]
                assert of_user == sorted(of_user)
    assert appender.wait() == 0
    assert len(segments(folder)) > 3, "rotation was under the kills, too"


async def test_one_process_appends_while_another_leases(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    appender = subprocess.Popen(
        [sys.executable, "-m", "tests.log.appender"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert appender.stdin is not None
    assert appender.stdout is not None
    with appender.stdin, appender.stdout:
        async with opened(folder) as log:
            lanes = [log.lease("shop_to_a", range(4)), log.lease("shop_to_a", range(4, 64))]
            appender.stdin.write(b"%s 0\n" % os.fsencode(folder))
            appender.stdin.flush()
            child = int((await asyncio.to_thread(appender.stdout.readline))[4:])
            seen: dict[int, list[int]] = {}
            while sum(map(len, seen.values())) < 1500:
                for lease in lanes:
                    for row in await lease.read(100, 0.02):
                        seen.setdefault(row.user, []).append(int(row.body.split()[0]))
                    await lease.settle(Settlement())
            os.kill(child, 9)
        appender.stdin.close()
        printed = [int(line) for line in appender.stdout.read().split() if line.isdigit()]
    appender.wait()
    left = [int(row.body.split()[0]) for row in await everything(folder)]
    assert seen.keys() == set(range(8))
    for user, numbers in seen.items():
        assert numbers == list(range(user, numbers[-1] + 1, 8)), "in order, none missing, none twice"
    read = [number for numbers in seen.values() for number in numbers]
    assert not set(read) & set(left)
    assert set(printed) <= {*read, *left}


async def test_an_onlooker_makes_no_cursors_and_moves_none(tmp_path: Path) -> None:
    onlooker = EmbeddedLog(tmp_path)
    await onlooker.open([], {})
    await onlooker.close()
    async with opened(tmp_path) as log:
        accepted = await accept(log, 3)
        onlooker = EmbeddedLog(tmp_path)
        await onlooker.open([], {})
        assert (await onlooker.stats()).head == 3
        await onlooker.close()
        assert bodies(await read_all(log.lease("shop_to_a", ALL))) == accepted


def test_two_processes_can_make_the_same_file_at_once(tmp_path: Path) -> None:
    failures: list[Exception] = []

    def make(path: Path, both: threading.Barrier) -> None:
        both.wait()
        try:
            open_database(path, "CREATE TABLE IF NOT EXISTS one (x); CREATE TABLE IF NOT EXISTS two (x);").close()
        except sqlite3.Error as error:
            failures.append(error)

    for number in range(40):
        both = threading.Barrier(2)
        threads = [threading.Thread(target=make, args=(tmp_path / f"{number}.db", both)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


# --- crashes ---


async def test_a_crash_at_any_moment_keeps_what_was_settled(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as log:
        accepted = await accept(log, 300)
        lease = log.lease("shop_to_a", ALL)
        done: list[str] = []
        for number in range(6):
            rows = await lease.read(40, 0.0)
            await lease.settle(
                Settlement(held=[held_record(rows[0])], letters=[(dead_letter(rows[1], "shop_to_a"), rows[1])])
            )
            done += bodies(rows)
            await lease.read(5, 0.0)
            image = await crash_image(log, tmp_path / "data", tmp_path / f"image{number}")
            async with opened(image) as after:
                assert bodies(await read_all(after.lease("shop_to_a", ALL))) == accepted[len(done) :]
                assert len(await after.lease("shop_to_a", ALL).held()) == number + 1
                assert len(await after.letters()) == number + 1
            lease = log.lease("shop_to_a", ALL)


async def test_keys_that_were_not_written_behind_yet_are_known_after_a_crash(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as log:
        await log.append([new_batch(1, key=b"%d" % number) for number in range(300)])
        await log.append([new_batch(1, key=b"last")])
        image = await crash_image(log, tmp_path / "data", tmp_path / "image")
    async with opened(image) as after:
        again = await after.append([new_batch(1, key=key) for key in (b"0", b"299", b"last", b"new")])
        assert list(again) == [False, False, False, True]


async def test_a_new_file_that_a_crash_left_half_made_does_no_harm(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        accepted = await accept(log, 20)
    draft = segments(tmp_path)[-1].with_name(f"{21:020d}-00000000.new")
    draft.write_bytes(b"half of a file")
    async with opened(tmp_path) as log:
        accepted += await accept(log, 20)
    assert not draft.exists()
    assert bodies(await everything(tmp_path)) == accepted


async def test_totals_go_on_when_the_newest_file_is_still_empty(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await accept(log, 10)
        appender_of(log).rotate()
        image = await crash_image(log, tmp_path, tmp_path.with_name("image"))
    async with opened(image) as log:
        await accept(log, 1)
        assert (await log.stats()).connections["shop_to_a"].depth == 11


async def test_a_position_is_never_given_twice_even_if_the_files_are_gone(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await accept(log, 10)
        lease = log.lease("shop_to_a", ALL)
        rows = await read_all(lease)
        await lease.settle(Settlement(letters=[(dead_letter(rows[-1], "shop_to_a"), rows[-1])]))
    shutil.rmtree(tmp_path / "log")
    async with opened(tmp_path) as log:
        (fresh,) = await accept(log, 1)
        (row,) = await read_all(log.lease("shop_to_a", ALL))
        assert (row.seq, row.body.decode()) == (11, fresh)
        ((number, _),) = await log.letters()
        found = await log.letter(number)
        assert found is not None
        assert found[1] == rows[-1]
        assert (await log.stats()).connections["shop_to_a"].depth == 1


# --- many rows ---


async def test_opening_does_not_read_the_rows_that_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    for count in (1_000, 100_000):
        folder = tmp_path / str(count)
        async with opened(folder, segment_bytes=1024 * 1024) as log:
            await accept(log, count, size=20, each=1000)
        with monkeypatch.context() as patch:
            work = _count_rows(patch)
            async with opened(folder, segment_bytes=1024 * 1024) as log:
                assert (await log.stats()).connections["shop_to_a"].depth == count
                log.lease("shop_to_a", ALL)
                log.lease("app_to_a", ALL)
                await log.append([new_batch(1, key=b"k")])
        steps.append(sum(work))
    few, many = steps
    assert few >= 1_000
    # The newest file, of one segment's size, is read some times; all others are not looked into.
    assert many < 100_000 / 2


def _count_rows(patch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each reading of a block gave."""
    work: list[int] = []
    read = frames.whole_rows

    def counting(*arguments: Any) -> tuple[list[StoredBatch], list[int], int]:
        found = read(*arguments)
        work.append(len(found[0]))
        return found

    patch.setattr(segment_module, "whole_rows", counting)
    return work


# --- files come and go ---


async def test_only_settled_files_are_deleted_when_their_retention_is_over(tmp_path: Path) -> None:
    async with opened(tmp_path, retention=0.0) as log:
        await accept(log, 300)
        before = segments(tmp_path)
        appender_of(log).delete_settled(0.0, 1000)
        assert segments(tmp_path) == before, "nothing is settled"
        lease = log.lease("shop_to_a", ALL)
        await read_all(lease)
        await lease.settle(Settlement())
        appender_of(log).delete_settled(0.0, 1000)
        assert segments(tmp_path) == before, "another connection still needs them"
        await settle_all(log)
        appender_of(log).delete_settled(3600.0, 1000)
        assert segments(tmp_path) == before, "kept for a replay"
        appender_of(log).delete_settled(0.0, 1000)
        assert segments(tmp_path) == before[-1:]


async def test_a_held_record_keeps_its_file_and_all_after_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await accept(log, 300)
        lease = log.lease("shop_to_a", ALL)
        rows = await read_all(lease)
        held = rows[150]
        await lease.settle(Settlement(held=[held_record(held)]))
        await settle_all(log)
        appender_of(log).delete_settled(0.0, 1000)
        kept = [first_of(path) for path in segments(tmp_path)]
        assert kept[0] <= held.seq < kept[1]
        assert (await log.fetch([held.seq])) == {held.seq: held}
        await lease.settle(Settlement(released=[f"{held.seq}.0"]))
        appender_of(log).delete_settled(0.0, 1000)
        assert len(segments(tmp_path)) == 1


async def test_upkeep_deletes_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router_core.log.appender._UPKEEP_EVERY", 0.01)
    async with opened(tmp_path, retention=0.0) as log:
        await accept(log, 300)
        await settle_all(log)
        for _ in range(100):
            if len(segments(tmp_path)) == 1:
                break
            await asyncio.sleep(0.02)
        assert len(segments(tmp_path)) == 1
        accepted = await accept(log, 5)
        assert bodies(await read_all(log.lease("shop_to_a", ALL))) == accepted


async def test_a_reader_goes_on_when_files_are_deleted_under_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as log, opened(tmp_path) as other:
        await accept(log, 300)
        lease = other.lease("shop_to_a", ALL)
        await lease.read(10, 1.0)
        await settle_all(log)
        appender_of(log).rotate()
        appender_of(log).delete_settled(0.0, 1000)
        accepted = await accept(log, 300)
        rows = [row for row in await _read_for(lease, 300) if row in accepted]
        assert rows == accepted


async def _read_for(lease: Any, count: int) -> list[str]:
    rows: list[str] = []
    until = time.monotonic() + 10
    while len(rows) < count and time.monotonic() < until:
        rows += bodies(await lease.read(1000, 0.1))
    return rows


async def test_a_reader_finds_a_file_that_does_not_follow_the_head(tmp_path: Path) -> None:
    """After a damaged newest file, positions are left out."""
    async with opened(tmp_path) as other:
        async with opened(tmp_path) as log:
            await accept(log, 10)
        lease = other.lease("shop_to_a", ALL)
        assert len(await _read_for(lease, 10)) == 10
        segments(tmp_path)[-1].write_bytes(b"garbage" * 1000)
        async with opened(tmp_path) as log:
            accepted = await accept(log, 5)
            assert await _read_for(lease, 5) == accepted


async def test_a_file_that_cannot_be_opened_now_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as log:
        accepted = await accept(log, 300)
    shy = segments(tmp_path)[1]
    really_open = os.open

    def no_handles_left(path: Any, *arguments: Any, **options: Any) -> int:
        if path == shy:
            raise OSError(errno.EMFILE, "Too many open files")
        return really_open(path, *arguments, **options)

    async with opened(tmp_path) as log:
        lease = log.lease("shop_to_a", ALL)
        with monkeypatch.context() as patch:
            log._segments.close()
            patch.setattr(os, "open", no_handles_left)
            read = bodies(await read_all(lease, 50))
            assert len(read) < 300
        read += bodies(await read_all(lease, 50))
        assert read == accepted
        assert (await log.stats()).damaged == 0


async def test_appends_go_on_in_the_old_file_when_a_new_one_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as log:
        accepted = await accept(log, 1)
        with monkeypatch.context() as patch:
            patch.setattr(SegmentWriter, "start_file", _refuse)
            accepted += await accept(log, 300)
            assert len(segments(tmp_path)) == 1
        accepted += await accept(log, 300)
        assert len(segments(tmp_path)) > 1
        assert bodies(await read_all(log.lease("shop_to_a", ALL))) == accepted
    assert bodies(await everything(tmp_path)) == accepted


def _refuse(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


# --- others in the way ---


async def test_the_first_append_may_find_the_disk_full_and_the_next_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as log:
        with monkeypatch.context() as patch:
            patch.setattr(SegmentWriter, "start_file", _refuse)
            with pytest.raises(LogFull):
                await log.append([new_batch(1)])
        accepted = await accept(log, 1)
        assert bodies(await read_all(log.lease("shop_to_a", ALL))) == accepted


async def test_a_settlement_that_finds_the_cursors_locked_can_be_tried_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await accept(log, 2)
        lease = log.lease("shop_to_a", ALL)
        rows = await read_all(lease)
        settlement = Settlement(held=[held_record(rows[0])], letters=[(dead_letter(rows[1], "shop_to_a"), rows[1])])
        log._cursors.connection.execute("PRAGMA busy_timeout = 0")
        with closing(sqlite3.connect(tmp_path / "cursors.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LogFull):
                await lease.settle(settlement)
            assert lease.unsettled
            other.execute("ROLLBACK")
        await lease.settle(settlement)
        ((_, letter),) = await log.letters()
        assert letter.attempts == 1
        assert await read_all(log.lease("shop_to_a", ALL)) == []


async def test_what_is_appended_after_the_end_is_refused_in_words(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await accept(log, 1)
    with pytest.raises(LogError, match="closed"):
        await log.append([new_batch(1)])


# --- erasing ---


async def test_erasing_leaves_no_byte_of_the_user_on_disk(tmp_path: Path) -> None:
    mark = b"only-in-what-user-7-sent"
    async with opened(tmp_path) as log:
        for _ in range(3):
            await accept(log, 150)
            await log.append([new_batch(7, body=b'{"text":"%s"}' % mark)])
        lease = log.lease("shop_to_a", ALL)
        rows = [row for row in await read_all(lease) if mark in row.body]
        letters = [(dead_letter(row, "shop_to_a"), row) for row in rows]
        await lease.settle(Settlement(held=[held_record(row, 1) for row in rows], letters=letters))
        assert _files_with(tmp_path, mark)
        await log.erase(with_mark(mark))
        assert _files_with(tmp_path, mark) == []
        await accept(log, 5)
    assert _files_with(tmp_path, mark) == []


def _files_with(folder: Path, mark: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and mark in path.read_bytes()]


async def test_appends_and_deliveries_go_on_while_a_user_is_erased(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        accepted = await accept(log, 300)
        erasing = asyncio.create_task(log.erase(of_user(7)))
        accepted += await accept(log, 100, each=1)
        lease = log.lease("shop_to_a", ALL)
        rows = await read_all(lease)
        await lease.settle(Settlement())
        assert await erasing >= 6
        assert len(rows) == len(accepted)
        assert {row.user for row in rows if not row.body} <= {7}


# --- the folder ---


async def test_a_folder_that_cannot_be_made_is_an_error_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LogError, match=r"cannot use the data folder .*file.*set `log\.path`"):
        async with opened(tmp_path / "file" / "data"):
            pass


@pytest.mark.parametrize("inner", ["", "log", "seen"])
async def test_a_folder_that_is_not_writable_is_an_error_with_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inner: str
) -> None:
    async with opened(tmp_path) as log:
        await accept(log, 1)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / inner and access(path, mode))
    with pytest.raises(LogError, match=r"is not writable.*set `log\.path`"):
        async with opened(tmp_path):
            pass
