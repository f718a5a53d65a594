"""Damaged files: the log opens, says so, delivers what can be read, and keeps what cannot."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from router_core.errors import LogDamaged, LogError
from router_core.log.port import PARTITIONS, Settlement, StoredBatch
from router_core.testing.log_contract import bodies, dead_letter, held_record, new_batch, read_all
from tests.log.embedded import accept, crash_image, everything, opened, segments, settle_all

ALL = range(PARTITIONS)
BATCHES = 400


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
    """A folder whose only file has its rows in the write-ahead log, as after `kill -9`."""
    folder = tmp_path_factory.mktemp("killed")

    async def make() -> list[str]:
        async with opened(folder / "data", segment_bytes=64 * 1024**2) as log:
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


async def deliverable(folder: Path) -> tuple[list[StoredBatch], int]:
    """What a router started now delivers, and how many files it counts as damaged; it accepts on the way, too."""
    async with opened(folder) as log:
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
    first, last = int(path.stem), ([*segments(data), data / f"{BATCHES + 1}.db"])[which % len(segments(data)) + 1]
    untouched = accepted[: first - 1] + accepted[int(last.stem) - 1 :]
    damage(path)
    rows, damaged = await deliverable(data)
    assert damaged == 1
    assert set(untouched) <= set(bodies(rows)) <= set(accepted)
    again, still = await deliverable(data)
    assert (bodies(again)[: len(rows)], still) == (bodies(rows), 1)


async def test_around_a_damaged_page_all_is_delivered(data: Path, accepted: list[str]) -> None:
    overwrite_a_page_in_the_middle(segments(data)[1])
    rows, _ = await deliverable(data)
    assert 0 < BATCHES - len(rows) <= 10, "a page has no more rows"
    assert bodies(rows) == [body for body in accepted if body in set(bodies(rows))]


async def test_flipped_bits_never_stop_the_log(data: Path, accepted: list[str], tmp_path: Path) -> None:
    random_ = random.Random(7)
    for number in range(40):
        folder = Path(shutil.copytree(data, tmp_path / f"flip{number}"))
        path = random_.choice(segments(folder))
        at = random_.randrange(4096, path.stat().st_size)  # the first page is the schema; other tests take that
        with path.open("r+b") as file:
            file.seek(at)
            (byte,) = file.read(1)
            file.seek(at)
            file.write(bytes([byte ^ 1 << random_.randrange(8)]))
        rows, _ = await deliverable(folder)
        unharmed = set(bodies_as_text(rows)) & set(accepted)
        assert len(unharmed) >= BATCHES * 0.9, f"flip {number} in {path.name} at {at}"
        shutil.rmtree(folder)


def bodies_as_text(rows: list[StoredBatch]) -> list[str]:
    return [row.body.decode(errors="replace") for row in rows]


async def test_a_damaged_file_is_kept_with_its_write_ahead_log_when_its_turn_to_be_deleted_comes(data: Path) -> None:
    path = segments(data)[0]
    overwrite_a_page_in_the_middle(path)
    path.with_name(path.name + "-wal").write_bytes(b"not empty")
    async with opened(data) as log:
        await accept(log, 1)
        await settle_all(log)
        log._delete_settled(0.0)
        assert (await log.stats()).damaged == 1
    assert not path.exists()
    assert (data / "quarantine" / path.name).exists()
    assert len(segments(data)) == 1


async def test_a_file_that_breaks_while_the_router_runs_is_set_aside(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        accepted = await accept(log, 20)
        writer = log._the_writer()
        connection = writer.connection
        writer.connection = sqlite3.connect(":memory:", isolation_level=None)  # has no such table
        connection.close()
        with pytest.raises(LogError):
            await accept(log, 1)
        accepted += await accept(log, 20)
        assert bodies(await read_all(log.lease("shop_to_a", ALL))) == accepted
        assert (await log.stats()).damaged == 1


# --- the write-ahead log of the newest file ---


async def test_a_torn_tail_loses_only_what_was_not_acknowledged(killed: tuple[Path, list[str]], tmp_path: Path) -> None:
    image, accepted = killed
    random_ = random.Random(3)
    frames = 0
    for number in range(25):
        folder = Path(shutil.copytree(image, tmp_path / f"torn{number}"))
        wal = wal_of_newest(folder)
        length = random_.randrange(wal.stat().st_size)
        with wal.open("r+b") as file:
            file.truncate(length)
            if number % 2:  # a page that was allocated but never written
                file.write(b"\0" * 5000)
        rows, damaged = await deliverable(folder)
        assert bodies(rows) == accepted[: len(rows)]
        assert damaged == 0, "a torn tail is what a crash leaves"
        frames = max(frames, len(rows))
        shutil.rmtree(folder)
    assert frames > BATCHES / 2


@pytest.mark.parametrize("looked_at_before", [False, True], ids=["", "after-an-onlooker"])
async def test_a_flipped_bit_in_the_write_ahead_log_does_not_lose_what_follows(
    killed: tuple[Path, list[str]], tmp_path: Path, looked_at_before: bool
) -> None:
    image, accepted = killed
    random_ = random.Random(5)
    for number in range(12):
        folder = Path(shutil.copytree(image, tmp_path / f"flip{number}"))
        wal = wal_of_newest(folder)
        flip(wal, random_.randrange(0, wal.stat().st_size * 9 // 10))
        if looked_at_before:
            await everything(folder)  # reads, and checkpoints when it closes
        rows, damaged = await deliverable(folder)
        assert damaged == 1
        assert len(set(bodies_as_text(rows)) & set(accepted)) >= BATCHES - 12, f"flip {number}"
        again, _ = await deliverable(folder)
        assert again[: len(rows)] == rows
        shutil.rmtree(folder)


async def test_a_flipped_bit_in_the_header_of_the_write_ahead_log_loses_nothing(
    killed: tuple[Path, list[str]], tmp_path: Path
) -> None:
    image, accepted = killed
    for at in (0, 9, 17, 25):
        folder = Path(shutil.copytree(image, tmp_path / f"header{at}"))
        flip(wal_of_newest(folder), at)
        rows, damaged = await deliverable(folder)
        assert (bodies(rows), damaged) == (accepted, 1)


async def test_positions_of_rescued_batches_and_their_totals_are_kept(
    killed: tuple[Path, list[str]], tmp_path: Path
) -> None:
    image, _ = killed
    folder = Path(shutil.copytree(image, tmp_path / "data"))
    before = await everything(Path(shutil.copytree(image, tmp_path / "whole")))
    flip(wal_of_newest(folder), wal_of_newest(folder).stat().st_size // 2)
    async with opened(folder) as log:
        await accept(log, 1)
        after = await read_all(log.lease("shop_to_a", ALL))
        known = {row.seq: row for row in before}
        assert all(known[row.seq].total == row.total for row in after[:-1])
        assert after[-1].total == BATCHES + 1
        assert (await log.fetch([before[-1].seq])) == {before[-1].seq: before[-1]}


async def test_a_reader_does_not_take_a_log_being_written_for_a_damaged_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as log, opened(tmp_path) as reader:
        for _ in range(30):
            await asyncio.gather(*(accept(log, 1) for _ in range(10)))
            reader._segments.close()  # opens all files anew
            assert await reader.lease("shop_to_a", ALL).read(1000, 5.0)
        assert (await reader.stats()).damaged == 0


def wal_of_newest(folder: Path) -> Path:
    newest = segments(folder)[-1]
    return newest.with_name(newest.name + "-wal")


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


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
            await log.erase(7)
        rows = await read_all(log.lease("shop_to_a", ALL))
        assert {bool(row.body) for row in rows if row.user == 7} == {False}
