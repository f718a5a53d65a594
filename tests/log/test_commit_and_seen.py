"""The engine's two parts that run beside the event loop: group commit, and the memory of request keys."""

from __future__ import annotations

import asyncio
import errno
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from hashlib import blake2b
from pathlib import Path

import pytest

from router_core.errors import LogError, LogFull
from router_core.log.commit import GroupCommit, in_transaction
from router_core.log.files import open_database
from router_core.log.seen import Seen
from router_core.testing.log_contract import Clock


class Table:
    """A file with numbers, written by group commits."""

    def __init__(self, path: Path) -> None:
        self.connection = open_database(path, "CREATE TABLE IF NOT EXISTS numbers (number INTEGER PRIMARY KEY)")
        self.groups: list[int] = []

    def insert(self, group: Sequence[int]) -> Sequence[int]:
        self.groups.append(len(group))
        self.connection.executemany("INSERT INTO numbers VALUES (?)", [(number,) for number in group])
        return [number * 10 for number in group]

    def numbers(self) -> list[int]:
        return [number for (number,) in self.connection.execute("SELECT number FROM numbers ORDER BY number")]


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    table = Table(tmp_path / "numbers.db")
    yield table
    table.connection.close()


async def test_what_arrives_during_a_commit_is_committed_together(table: Table) -> None:
    commits: GroupCommit[int, int] = GroupCommit(in_transaction(table.connection, table.insert))
    results = await asyncio.gather(*(commits.submit(number) for number in range(300)))
    await commits.close()
    assert results == [number * 10 for number in range(300)]
    assert table.numbers() == list(range(300))
    assert len(table.groups) < 10


async def test_a_group_that_fails_is_rolled_back_and_the_next_goes_on(table: Table) -> None:
    failed: list[Exception] = []
    commits: GroupCommit[int, int] = GroupCommit(in_transaction(table.connection, table.insert), failed=failed.append)
    await commits.submit(1)
    with pytest.raises(sqlite3.IntegrityError):
        await commits.submit(1)
    assert await commits.submit(2) == 20
    await commits.close()
    assert table.numbers() == [1, 2]
    assert len(failed) == 1


async def test_a_refusal_reaches_all_of_the_group_and_opens_no_transaction(table: Table) -> None:
    def refuse() -> None:
        raise LogFull("no room")

    commits: GroupCommit[int, int] = GroupCommit(in_transaction(table.connection, table.insert), ready=refuse)
    results = await asyncio.gather(*(commits.submit(number) for number in range(5)), return_exceptions=True)
    await commits.close()
    assert [type(result) for result in results] == [LogFull] * 5
    assert not table.connection.in_transaction


async def test_a_file_locked_by_others_is_no_room_for_now(table: Table, tmp_path: Path) -> None:
    table.connection.execute("PRAGMA busy_timeout = 0")
    commits: GroupCommit[int, int] = GroupCommit(in_transaction(table.connection, table.insert))
    with closing(sqlite3.connect(tmp_path / "numbers.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogFull, match="locked"):
            await commits.submit(1)
    assert await commits.submit(2) == 20
    await commits.close()
    assert table.numbers() == [2]


async def test_a_waiter_who_gives_up_takes_nobody_along(table: Table) -> None:
    commits: GroupCommit[int, int] = GroupCommit(in_transaction(table.connection, table.insert), max_items=3)
    tasks = [asyncio.create_task(commits.submit(number)) for number in range(10)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await commits.close()
    assert results[1::2] == [10, 30, 50, 70, 90]
    assert set(table.numbers()) >= {1, 3, 5, 7, 9}


async def test_a_fault_after_a_commit_leaves_nobody_waiting(table: Table) -> None:
    faults: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(str(context["exception"])))

    def fault() -> None:
        raise OSError("no new file")

    commits: GroupCommit[int, int] = GroupCommit(
        in_transaction(table.connection, table.insert), committed=fault, max_items=2
    )
    results = await asyncio.gather(*(commits.submit(number) for number in range(6)))
    await commits.close()
    assert results == [0, 10, 20, 30, 40, 50]
    assert set(faults) == {"no new file"}


async def test_closing_waits_for_what_was_submitted_and_then_refuses(table: Table) -> None:
    commits: GroupCommit[int, int] = GroupCommit(in_transaction(table.connection, table.insert))
    waiting = asyncio.create_task(commits.submit(1))
    await asyncio.sleep(0)
    await commits.close()
    assert await waiting == 10
    with pytest.raises(LogError, match="closed"):
        await commits.submit(2)


# --- request keys ---


def keys(first: int, after: int) -> list[bytes]:
    return [blake2b(b"%d" % number, digest_size=16).digest() for number in range(first, after)]


async def test_keys_are_known_at_once_and_after_a_restart(tmp_path: Path) -> None:
    seen = Seen(tmp_path, 3600.0)
    seen.open()
    for start in range(0, 6000, 300):
        seen.add(keys(start, start + 300), start + 300)
        assert keys(start, start + 1)[0] in seen
    await seen.close()
    again = Seen(tmp_path, 3600.0)
    assert again.open() == 6000, "so far the log need not be read again"
    assert all(key in again for key in keys(0, 6000))
    assert not any(key in again for key in keys(7000, 12_000))
    await again.close()


async def test_a_full_table_is_followed_by_a_larger_one(tmp_path: Path) -> None:
    seen = Seen(tmp_path, 3600.0, first_lines=16)
    seen.open()
    seen.add(keys(0, 5000), 5000)
    assert len(list(tmp_path.iterdir())) > 2
    await seen.close()
    again = Seen(tmp_path, 3600.0, first_lines=16)
    assert again.open() == 5000
    assert all(key in again for key in keys(0, 5000))
    await again.close()


async def test_keys_of_a_killed_process_are_on_file_and_its_note_says_less_than_there_is(tmp_path: Path) -> None:
    seen = Seen(tmp_path / "one", 3600.0)
    seen.open()
    seen.add(keys(0, 100), 100)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    again = Seen(tmp_path / "two", 3600.0)
    assert again.open() == 0, "the log is read from where the keys were last synced"
    assert all(key in again for key in keys(0, 100))
    again.recall(lambda after: keys(0, 100)[after:], 100)
    await again.close()
    await seen.close()


async def test_progress_is_written_down_without_keys_too(tmp_path: Path) -> None:
    seen = Seen(tmp_path, 3600.0)
    seen.open()
    seen.add([], 500)
    await seen.close()
    again = Seen(tmp_path, 3600.0)
    assert again.open() == 500
    await again.close()


async def test_a_key_is_known_for_its_time_and_forgotten_after_twice_that(tmp_path: Path) -> None:
    clock = Clock()
    seen = Seen(tmp_path, 60.0, clock)
    seen.open()
    every = keys(0, 10)
    for minute in range(10):
        seen.add([every[minute]], minute + 1)
        await seen.flush()
        known = {number for number in range(10) if every[number] in seen}
        assert {minute, minute - 1} & set(range(10)) <= known <= {minute, minute - 1, minute - 2}
        assert len(list(tmp_path.iterdir())) <= 3
        clock.now += 60.0
    await seen.close()


async def test_a_clock_set_back_forgets_nothing(tmp_path: Path) -> None:
    clock = Clock()
    before, after = keys(0, 2)
    seen = Seen(tmp_path, 60.0, clock)
    seen.open()
    seen.add([before], 1)
    await seen.flush()
    clock.now -= 50.0
    seen.add([after], 2)
    await seen.flush()
    assert before in seen
    await seen.close()
    again = Seen(tmp_path, 60.0, clock)
    assert again.open() == 2
    assert before in again
    assert after in again
    await again.close()


async def test_keys_wait_in_memory_while_their_file_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen(tmp_path, 3600.0)
    seen.open()
    with monkeypatch.context() as full:
        full.setattr("router_core.log.keytable.os.pwrite", _no_room)
        seen.add(keys(0, 600), 600)
        assert all(key in seen for key in keys(0, 600))
    await seen.flush()
    await seen.close()
    again = Seen(tmp_path, 3600.0)
    assert again.open() == 600
    assert all(key in again for key in keys(0, 600))
    await again.close()


def _no_room(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("damage", [b"", b"short", b"\xff" * 4096])
async def test_a_broken_file_is_made_anew_from_the_log(tmp_path: Path, damage: bytes) -> None:
    log = keys(0, 3000)
    seen = Seen(tmp_path, 3600.0)
    seen.open()
    seen.recall(lambda after: log[after:], len(log))
    await seen.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage)
    again = Seen(tmp_path, 3600.0)
    assert again.open() == 0
    again.recall(lambda after: log[after:], len(log))
    assert all(key in again for key in log)
    assert keys(5000, 5001)[0] not in again
    await again.close()
