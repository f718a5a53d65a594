"""The bytes of a log file: what is written is read, and nothing else is ever taken for a row."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router_core.log.frames import ERASED, LIVE, MARK, file_header, pack, read_file_header, seed_of, taken, whole_rows
from router_core.log.port import NewBatch, StoredBatch
from router_core.log.segments import Segments
from router_core.log.writer import GAP_AFTER_DAMAGE, SegmentWriter
from router_core.testing.log_contract import new_batch

SEED = seed_of(7)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
new_batches = st.builds(
    NewBatch,
    input=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    user=st.integers(0, 2**63 - 1),
    records=st.integers(0, 2**32 - 1),
    body=st.binary(min_size=1, max_size=300),
    headers=st.binary(max_size=40),
    request_key=st.none() | st.binary(min_size=16, max_size=16),
)


@contextmanager
def folder_with(groups: Sequence[Sequence[NewBatch]]) -> Iterator[tuple[Path, list[int]]]:
    """A folder with one file, and how large the file was before the first group and after each."""
    with tempfile.TemporaryDirectory() as name:
        segments = Segments(Path(name) / "log", Path(name) / "quarantine")
        with closing(segments):
            writer = SegmentWriter(segments, 1 << 30)
            sizes = [writer.size]
            for group in groups:
                writer.write(writer.pack(group, 5))
                sizes.append(writer.size)
            writer.close()
        yield Path(name), sizes


def file_in(folder: Path) -> Path:
    (path,) = (folder / "log").glob("*.log")
    return path


def read(folder: Path) -> tuple[list[StoredBatch], int]:
    """All rows, and the number of damaged files."""
    segments = Segments(folder / "log", folder / "quarantine")
    with closing(segments):
        segments.refresh()
        return [row for some in segments.after(0) for row in some], len(segments.damaged())


def go_on(folder: Path, batch: NewBatch) -> int:
    """Open the folder for writing and append. Returns the position."""
    segments = Segments(folder / "log", folder / "quarantine")
    with closing(segments):
        writer = SegmentWriter(segments, 1 << 30)
        writer.write(writer.pack([batch], 5))
        writer.close()
        return writer.seq


# --- one row, one header ---


@quick
@given(st.lists(new_batches, min_size=1, max_size=8), st.integers(0, 2**40))
def test_rows_are_read_as_they_were_packed(batches: list[NewBatch], before: int) -> None:
    block = b"".join(
        b"".join(pack(SEED, batch, batch.request_key, before + n, 100 + n, 9, 0)) for n, batch in enumerate(batches, 1)
    )
    rows, offsets, end = whole_rows(block, SEED, before, {})
    assert end == len(block)
    assert [block[at : at + 4] for at in offsets] == [LIVE] * len(batches)
    assert rows == [
        StoredBatch(before + n, b.input, b.user, b.records, 100 + n, 9, b.headers, b.body)
        for n, b in enumerate(batches, 1)
    ]


@quick
@given(new_batches, st.randoms(use_true_random=False))
def test_a_row_with_any_bit_flipped_is_no_row(batch: NewBatch, chance: random.Random) -> None:
    row = bytearray(b"".join(pack(SEED, batch, batch.request_key, 1, 1, 9, 0)))
    at = chance.randrange(len(row))
    row[at] ^= 1 << chance.randrange(8)
    assert whole_rows(bytes(row), SEED, 0, {})[0] == []


@quick
@given(new_batches)
def test_a_row_that_is_cut_short_is_no_row(batch: NewBatch) -> None:
    row = b"".join(pack(SEED, batch, batch.request_key, 1, 1, 9, 0))
    for length in range(len(row)):
        assert whole_rows(row[:length], SEED, 0, {}) == ([], [], 0)


def test_a_row_of_another_file_or_of_an_earlier_position_is_no_row() -> None:
    row = b"".join(pack(SEED, new_batch(1), None, 5, 1, 9, 0))
    assert whole_rows(row, seed_of(8), 0, {})[0] == []
    assert whole_rows(row, SEED, 5, {})[0] == []
    assert len(whole_rows(row, SEED, 4, {})[0]) == 1


def test_one_byte_makes_a_row_an_erased_one_and_it_is_not_one_bit() -> None:
    row = bytearray(b"".join(pack(SEED, new_batch(1), None, 5, 1, 9, 0)))
    row[3] = ERASED[3]
    ((erased,), _, _) = whole_rows(bytes(row), SEED, 0, {})
    assert (erased.seq, erased.user, erased.body, erased.headers) == (5, 1, b"", b"")
    assert (LIVE[3] ^ ERASED[3]).bit_count() == 8


def test_the_header_of_a_file_says_what_was_before_it() -> None:
    block = file_header(SEED, 42, {"shop": 7, "ä": 2**62})
    header = read_file_header(block + b"rows", SEED, "x")
    assert header is not None
    assert (header.first, header.totals, header.length) == (42, {"shop": 7, "ä": 2**62}, len(block))
    for at in range(len(block)):
        flipped = bytearray(block)
        flipped[at] ^= 4
        assert read_file_header(bytes(flipped), SEED, "x") is None
        assert read_file_header(block[:at], SEED, "x") is None


# --- whole files ---


def test_at_every_byte_at_which_a_write_may_end_the_rows_before_it_are_kept() -> None:
    groups = [[new_batch(1)], [new_batch(2), new_batch(3)], [new_batch(4)]]
    with folder_with(groups) as (folder, sizes):
        path, whole = file_in(folder), file_in(folder).read_bytes()
        rows, _ = read(folder)
        ends = [whole.index(row.body) + len(row.body) for row in rows]
        for length in range(sizes[1], len(whole)):
            path.write_bytes(whole[:length])
            kept = [row for row, end in zip(rows, ends, strict=True) if end <= length]
            assert read(folder) == (kept, 0), "a reader waits for the rest"
            is_torn = length not in (sizes[0], *ends)
            assert go_on(folder, new_batch(9)) == len(kept) + 1 + is_torn * GAP_AFTER_DAMAGE
            again, damaged = read(folder)
            assert ([row for row in again[:-1] if row.input], damaged) == (kept, 0)
            for later in set(path.parent.glob("*.log")) - {path}:
                later.unlink()
            assert again[-1].user == 9


@quick
@given(
    st.lists(st.lists(st.integers(0, 700), min_size=1, max_size=4), min_size=3, max_size=10),
    st.randoms(use_true_random=False),
    st.sampled_from(["bit", "zeros", "noise"]),
)
def test_damage_costs_the_rows_that_it_touches_and_no_other(
    sizes: list[list[int]], chance: random.Random, kind: str
) -> None:
    groups = [[new_batch(1, body=chance.randbytes(size + 1)) for size in group] for group in sizes]
    with folder_with(groups) as (folder, ends):
        path, rows = file_in(folder), read(folder)[0]
        whole = path.read_bytes()
        # What is durable has something behind it that was written later.
        at = chance.randrange(ends[0], ends[-2])
        length = 1 if kind == "bit" else min(chance.randrange(1, 900), ends[-2] - at)
        damage = {"bit": bytes([whole[at] ^ 1 << chance.randrange(8)]), "zeros": bytes(length)}
        content = whole[:at] + damage.get(kind, chance.randbytes(length)) + whole[at + length :]
        path.write_bytes(content)
        starts = _starts(path, whole, ends[0])
        unharmed = [
            row
            for row, start, end in zip(rows, starts, [*starts[1:], len(whole)], strict=True)
            if whole[start:end] == content[start:end]
        ]
        assert read(folder) == (unharmed, int(content != whole))
        if content != whole:
            assert go_on(folder, new_batch(9)) == len(rows) + GAP_AFTER_DAMAGE + 1
            assert path.read_bytes() == content, "a damaged file is left as it is"
            assert read(folder)[0][:-1] == unharmed


def _starts(path: Path, whole: bytes, before: int) -> list[int]:
    seed = seed_of(int(path.stem.split("-")[1], 16))
    return [before + offset for offset in whole_rows(whole[before:], seed, 0, {})[1]]


@quick
@given(st.lists(st.integers(0, 5), min_size=4, max_size=12), st.randoms(use_true_random=False))
def test_rows_within_bodies_are_never_taken_for_rows(kinds: list[int], chance: random.Random) -> None:
    """Marks, rows as another file has them, and copies of rows that this file has."""
    with folder_with([[new_batch(5)]]) as (folder, _):
        path = file_in(folder)
        segments = Segments(folder / "log", folder / "quarantine")
        writer = SegmentWriter(segments, 1 << 30)
        for kind in kinds:
            forged = b"".join(
                b"".join(pack(seed_of(chance.randrange(2**32)), new_batch(6), None, seq, seq, 9, writer.size))
                for seq in range(writer.seq, writer.seq + 6)
            )
            known = path.read_bytes()
            body = [MARK * 40, LIVE * 50, forged, known, forged[:-9] + known[-200:], b"plain"][kind]
            writer.write(writer.pack([new_batch(1, body=body), new_batch(2)], 5))
        writer.write(writer.pack([new_batch(3)], 5))
        writer.close()
        segments.close()
        rows, _ = read(folder)
        content = bytearray(path.read_bytes())
        last = content.rindex(LIVE)
        start = content.index(LIVE)
        at = chance.randrange(start, last)
        length = min(90, last - at)
        content[at : at + length] = bytes(length)
        path.write_bytes(bytes(content))
        left, _ = read(folder)
        assert set(left) <= set(rows)
        assert len(left) >= len(rows) - 3
        assert left[-1] == rows[-1]


def test_positions_that_were_taken_back_are_not_given_again() -> None:
    with folder_with([[new_batch(1)]]) as (folder, sizes):
        path = file_in(folder)
        number = int(path.stem.split("-")[1], 16)
        with path.open("ab") as file:
            file.write(taken(seed_of(number), 40, sizes[-1]))
        assert go_on(folder, new_batch(2)) == 41
        rows, damaged = read(folder)
        assert [row.seq for row in rows if row.input] == [1, 41]
        assert damaged == 0


@pytest.mark.parametrize("size", [300_000, 3_000_000])
def test_rows_larger_than_what_is_read_at_once(size: int) -> None:
    groups = [[new_batch(1), new_batch(2, body=random.Random(1).randbytes(size)), new_batch(3)] for _ in range(3)]
    with folder_with(groups) as (folder, _):
        rows, damaged = read(folder)
        assert [row.body for row in rows] == [batch.body for group in groups for batch in group]
        assert damaged == 0
