"""Damaged files: the log opens, says so, delivers what can be read, and keeps what cannot."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from router_core.errors import LogDamaged, LogError
from router_core.log.frames import HEAD_BYTES
from router_core.log.port import PARTITIONS, Settlement, StoredBatch
from router_core.testing.log_contract import bodies, dead_letter, held_record, new_batch, read_all
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
)

ALL = range(PARTITIONS)
BATCHES = 400
LARGE_SEGMENTS: dict[str, Any] = {"segment_bytes": 64 * 1024**2}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with some files, closed in order, and what is in it."""
    folder = tmp_path_factory.mktemp("sound") / "data"

    async def make() -> list[str]:
        async with opened(folder) as log:
            return await accept(log, BATCHES)

    accepted = asyncio.run(make())
    assert len(segments(folder)) >= 4
    return folder, accepted


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with one file, as after `kill -9`."""
    folder = tmp_path_factory.mktemp("killed")

    async def make() -> list[str]:
        async with opened(folder / "data", **LARGE_SEGMENTS) as log:
            accepted = await accept(log, BATCHES, each=4)
            await crash_image(log, folder / "data", folder / "image")
            return accepted

    accepted = asyncio.run(make())
    return folder / "image", accepted


@pytest.fixture
def data(tmp_path: Path, sound: tuple[Path, list[str]]) -> Path:
    return Path(shutil.copytree(sound[0], tmp_path / "data"))


@pytest.fixture
def accepted(sound: tuple[Path, list[str]]) -> list[str]:
    return sound[1]


def cut_in_half(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def cut_to_nothing(path: Path) -> None:
    path.write_bytes(b"")


def fill_with_garbage(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(path.stat().st_size))


def overwrite_a_page_in_the_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)


DAMAGES = [cut_in_half, cut_to_nothing, fill_with_garbage, overwrite_a_page_in_the_middle]


async def deliverable(folder: Path, **options: Any) -> tuple[list[StoredBatch], int]:
    """What a router started now delivers, and how many files it counts as damaged; it accepts on the way, too."""
    async with opened(folder, **options) as log:
        (new,) = await accept(log, 1)
        rows = await read_all(log.lease("shop_to_a", ALL))
        assert rows[-1].body.decode() == new, "what is accepted after the damage is delivered"
        assert [row.seq for row in rows] == sorted({row.seq for row in rows})
        return rows[:-1], (await log.stats()).damaged


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("which", [0, 1, -1], ids=["oldest", "sealed", "newest"])
async def test_a_damaged_file_is_counted_and_the_other_files_are_delivered(
    data: Path, accepted: list[str], damage: Callable[[Path], None], which: int
) -> None:
    path = segments(data)[which]
    first, following = first_of(path), [*map(first_of, segments(data)), BATCHES + 1][which % len(segments(data)) + 1]
    untouched = accepted[: first - 1] + accepted[following - 1 :]
    damage(path)
    rows, damaged = await deliverable(data)
    assert damaged == 1
    assert set(untouched) <= set(bodies(rows)) <= set(accepted)
    again, still = await deliverable(data)
    assert (bodies(again)[: len(rows)], still) == (bodies(rows), 1)


async def test_around_a_damaged_page_all_is_delivered(data: Path, accepted: list[str]) -> None:
    overwrite_a_page_in_the_middle(segments(data)[1])
    rows, _ = await deliverable(data)
    assert 0 < BATCHES - len(rows) <= 11, "a page touches no more rows"
    assert bodies(rows) == [body for body in accepted if body in set(bodies(rows))]


async def test_flipped_bits_never_stop_the_log(data: Path, accepted: list[str], tmp_path: Path) -> None:
    random_ = random.Random(7)
    for number in range(40):
        folder = Path(shutil.copytree(data, tmp_path / f"flip{number}"))
        path = random_.choice(segments(folder))
        at = random_.randrange(path.stat().st_size)
        with path.open("r+b") as file:
            file.seek(at)
            (byte,) = file.read(1)
            file.seek(at)
            file.write(bytes([byte ^ 1 << random_.randrange(8)]))
        rows, _ = await deliverable(folder)
        unharmed = set(bodies_as_text(rows)) & set(accepted)
        assert len(unharmed) >= BATCHES - 1, f"flip {number} in {path.name} at {at}"
        shutil.rmtree(folder)


def bodies_as_text(rows: list[StoredBatch]) -> list[str]:
    return [row.body.decode(errors="replace") for row in rows]


async def test_a_damaged_file_is_kept_when_its_turn_to_be_deleted_comes(data: Path) -> None:
    path = segments(data)[0]
    overwrite_a_page_in_the_middle(path)
    async with opened(data) as log:
        await accept(log, 1)
        await settle_all(log)
        appender_of(log).delete_settled(0.0, 1000)
        assert (await log.stats()).damaged == 1
    assert not path.exists()
    assert (data / "quarantine" / path.name).exists()
    assert len(segments(data)) == 1


# --- the end of the newest file ---


async def test_a_torn_tail_loses_only_what_was_not_acknowledged(killed: tuple[Path, list[str]], tmp_path: Path) -> None:
    image, accepted = killed
    random_ = random.Random(3)
    most = 0
    for number in range(40):
        folder = Path(shutil.copytree(image, tmp_path / f"torn{number}"))
        (newest,) = segments(folder)
        length = random_.randrange(500, newest.stat().st_size)
        with newest.open("r+b") as file:
            file.truncate(length)
            if number % 2:  # a page that was allocated but never written
                file.seek(length)
                file.write(b"\0" * 5000)
        rows, damaged = await deliverable(folder, **LARGE_SEGMENTS)
        assert bodies(rows) == accepted[: len(rows)]
        assert damaged == 0, "a torn tail is what a crash leaves"
        (older, *newer) = segments(folder)
        assert len(newer) <= 1, "it is cut off, and the rows go on in another file"
        assert older.stat().st_size <= length + HEAD_BYTES
        most = max(most, len(rows))
        shutil.rmtree(folder)
    assert most > BATCHES / 2


async def test_rows_behind_a_hole_in_the_last_group_are_delivered(tmp_path: Path) -> None:
    """They may have been acknowledged. If a power cut left the hole they were not, and their senders repeat them."""
    async with opened(tmp_path / "data") as log:
        accepted = await accept(log, 20)
        before = segments(tmp_path / "data")[0].stat().st_size
        accepted += await accept(log, 20, each=20)
        image = await crash_image(log, tmp_path / "data", tmp_path / "image")
    path = segments(image)[0]
    with path.open("r+b") as file:
        file.seek(before + 3000)
        file.write(b"\0" * 600)
    content = path.read_bytes()
    rows, damaged = await deliverable(image)
    assert bodies(rows)[:20] == accepted[:20]
    assert 37 <= len(rows) < 40
    assert set(bodies(rows)) <= set(accepted)
    assert damaged == 1
    assert path.read_bytes() == content, "a damaged file is left as it is"


@pytest.mark.parametrize("which", [0, 5, 9])
async def test_a_bad_row_in_the_last_group_costs_none_of_those_behind_it(tmp_path: Path, which: int) -> None:
    async with opened(tmp_path / "data") as log:
        await accept(log, 10)
        image = await crash_image(log, tmp_path / "data", tmp_path / "image")
        before = await read_all(log.lease("shop_to_a", ALL))
    path = segments(image)[0]
    flip(path, path.read_bytes().index(b'{"number":%d,' % which))
    async with opened(image) as running:
        lease = running.lease("shop_to_a", ALL)
        read = await read_all(lease)
        async with opened(image) as log:
            assert len(await accept(log, 3)) == 3
            stats = await log.stats()
            if which < 9:
                assert stats.damaged == 1
                assert stats.connections["shop_to_a"].depth == 13, "totals go on behind all that were accepted"
            rows = await read_all(log.lease("shop_to_a", ALL))
            assert rows[:9] == before[:which] + before[which + 1 :]
            assert len(rows) == 12
            assert rows[-1].seq > 10, "no position is given again"
            assert len({row.seq for row in rows}) == 12
        async with asyncio.timeout(5):
            while len(read) < len(rows):
                read += await lease.read(1000, 0.2)
        assert read == rows, "a delivery that was running all the time has them, too"


@pytest.mark.parametrize("looked_at_before", [False, True], ids=["", "after-an-onlooker"])
async def test_a_flipped_bit_in_the_newest_file_loses_one_batch_at_the_most(
    killed: tuple[Path, list[str]], tmp_path: Path, looked_at_before: bool
) -> None:
    image, accepted = killed
    random_ = random.Random(5)
    for number in range(20):
        folder = Path(shutil.copytree(image, tmp_path / f"flip{number}"))
        (newest,) = segments(folder)
        flip(newest, random_.randrange(0, newest.stat().st_size * 9 // 10))
        if looked_at_before:
            await everything(folder)
        rows, damaged = await deliverable(folder, **LARGE_SEGMENTS)
        assert damaged == 1
        assert len(segments(folder)) == 2, "a damaged file is not written to"
        assert len(rows) >= BATCHES - 1
        assert bodies(rows) == [body for body in accepted if body in set(bodies(rows))]
        again, _ = await deliverable(folder)
        assert again[: len(rows)] == rows
        shutil.rmtree(folder)


async def test_a_flipped_bit_in_the_header_of_the_newest_file_loses_nothing(
    killed: tuple[Path, list[str]], tmp_path: Path
) -> None:
    image, accepted = killed
    for at in (0, 9, 17, 25, 30):
        folder = Path(shutil.copytree(image, tmp_path / f"header{at}"))
        flip(segments(folder)[0], at)
        rows, damaged = await deliverable(folder)
        assert (bodies(rows), damaged) == (accepted, 1)


async def test_positions_behind_damage_and_their_totals_are_kept(
    killed: tuple[Path, list[str]], tmp_path: Path
) -> None:
    image, _ = killed
    folder = Path(shutil.copytree(image, tmp_path / "data"))
    before = await everything(Path(shutil.copytree(image, tmp_path / "whole")))
    flip(segments(folder)[0], segments(folder)[0].stat().st_size // 2)
    async with opened(folder) as log:
        await accept(log, 1)
        after = await read_all(log.lease("shop_to_a", ALL))
        known = {row.seq: row for row in before}
        assert len(after) == BATCHES
        assert all(known[row.seq].total == row.total for row in after[:-1])
        assert after[-1].total == BATCHES + 1
        assert (await log.fetch([before[-1].seq])) == {before[-1].seq: before[-1]}


async def test_a_bit_that_flips_after_it_was_read_costs_the_other_rows_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, **LARGE_SEGMENTS) as log, opened(tmp_path) as reader:
        accepted = await accept(log, 400)
        first, second = reader.lease("shop_to_a", ALL), reader.lease("shop_to_b", ALL)
        assert len(await first.read(1000, 5.0)) == 400
        flip(segments(tmp_path)[0], 50_000)
        reader._segments.forget_rows()
        rows = await read_all(second)
        assert len(rows) == 399
        assert set(bodies(rows)) < set(accepted)
        assert (await reader.stats()).damaged == 1
        late = await accept(log, 5)
        assert bodies(await second.read(1000, 5.0)) == late


async def test_a_reader_does_not_take_a_log_being_written_for_a_damaged_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as log, opened(tmp_path) as reader:
        for _ in range(30):
            await asyncio.gather(*(accept(log, 1) for _ in range(10)))
            reader._segments.close()  # opens all files anew
            assert await reader.lease("shop_to_a", ALL).read(1000, 5.0)
        assert (await reader.stats()).damaged == 0


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


# --- files that are not ours ---


async def test_files_of_the_older_version_are_an_error_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "00000000000000000001.db").write_bytes(b"SQLite format 3")
    with pytest.raises(LogError, match=r"0001\.db is a log file of an older version\. Let that version"):
        async with opened(tmp_path):
            pass


async def test_a_file_of_a_later_version_is_an_error_with_the_mend(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router_core.log.frames.VERSION", 2)
    with pytest.raises(LogError, match=r"has version 1 of the log's format.*version 2.*move the file away"):
        async with opened(data):
            pass


async def test_a_file_with_a_strange_name_is_an_error_with_the_mend(data: Path) -> None:
    shutil.copy(segments(data)[0], data / "log" / "copy.log")
    with pytest.raises(LogError, match=r"copy\.log is no file of the event log\. Move it"):
        async with opened(data):
            pass


# --- files that cannot be rebuilt ---


@pytest.mark.parametrize("damage", [cut_in_half, fill_with_garbage])
@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("cursors.db", "Move it away to deliver everything that is still kept once more"),
        ("dead_letters.db", r"Save what can be read with `sqlite3 FILE \.recover`"),
    ],
)
async def test_a_damaged_precious_file_is_an_error_with_the_mend(
    tmp_path: Path, damage: Callable[[Path], None], name: str, mend: str
) -> None:
    async with opened(tmp_path) as log:
        await accept(log, 100)
        lease = log.lease("shop_to_a", ALL)
        rows = await read_all(lease)
        letters = [(dead_letter(row, "shop_to_a"), row) for row in rows]
        await lease.settle(Settlement(held=[held_record(row) for row in rows], letters=letters))
    damage(tmp_path / name)
    with pytest.raises(LogDamaged, match=rf"{name} \(.*\) is damaged: .*{mend}"):
        async with opened(tmp_path):
            pass


async def test_with_the_cursors_moved_away_everything_kept_is_delivered_once_more(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        accepted = await accept(log, 30)
        await settle_all(log)
    for path in tmp_path.glob("cursors.db*"):
        path.unlink()
    async with opened(tmp_path, {}) as onlooker:
        await onlooker.stats()
    async with opened(tmp_path) as log:
        assert (await log.stats()).connections["shop_to_a"].depth == 30
        assert bodies(await read_all(log.lease("shop_to_a", ALL))) == accepted


async def test_a_log_that_is_only_locked_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as log:
        await accept(log, 1)
    monkeypatch.setattr("router_core.log.files._BUSY_FOR", 0.05)
    with closing(sqlite3.connect(tmp_path / "cursors.db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LogError, match="cannot open") as caught:
            async with opened(tmp_path):
                pass
        assert not isinstance(caught.value, LogDamaged)


# --- request keys ---


@pytest.mark.parametrize("damage", [cut_in_half, fill_with_garbage, overwrite_a_page_in_the_middle])
async def test_damaged_request_keys_are_read_again_from_the_log(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    async with opened(tmp_path) as log:
        await log.append([new_batch(1, key=b"%064d" % number) for number in range(2000)])
    (path,) = (tmp_path / "seen").iterdir()
    damage(path)
    async with opened(tmp_path) as log:
        flags = await log.append([new_batch(1, key=b"%064d" % number) for number in range(2001)])
        assert list(flags) == [False] * 2000 + [True]
    async with opened(tmp_path) as log:
        flags = await log.append([new_batch(1, key=b"%064d" % number) for number in range(2001)])
        assert list(flags) == [False] * 2001


async def test_erasing_says_which_damaged_file_it_could_not_erase(data: Path) -> None:
    path = segments(data)[1]
    fill_with_garbage(path)
    async with opened(data) as log:
        with pytest.raises(LogError, match=path.name):
            await log.erase(of_user(7))
        rows = await read_all(log.lease("shop_to_a", ALL))
        assert {bool(row.body) for row in rows if row.user == 7} == {False}


async def test_an_empty_newest_file_found_damaged_is_left_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router_core.log.appender._UPKEEP_EVERY", 0.01)
    async with opened(tmp_path) as log:
        accepted = await accept(log, 10)
        appender_of(log).rotate()
        flip(segments(tmp_path)[-1], 30)
        async with opened(tmp_path) as onlooker:
            assert (await onlooker.stats()).damaged == 1
        await asyncio.sleep(0.2)
        after = segments(tmp_path)
        await asyncio.sleep(0.1)
        assert segments(tmp_path) == after, "one new file is enough"
        assert first_of(after[-1]) == 12
        accepted += await accept(log, 10)
        assert bodies(await read_all(log.lease("shop_to_a", ALL))) == accepted
    assert bodies(await everything(tmp_path)) == accepted
