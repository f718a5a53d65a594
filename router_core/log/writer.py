"""The log's rows, written: to the newest file only, a group at a time, each with one write and one sync.

A new file appears under its name when its header is whole and durable. A file in which a write or a sync has failed is
cut back to what is durable and written to no more, because a reader of another process may have read beyond that; for
the same reason the positions of such a group are never given again. Both hold for the next process, too: the file ends
with a row that says so before it is cut, or else with bytes that are no row.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from router_core.log.files import sync_folder
from router_core.log.frames import file_header, pack, seed_of, taken
from router_core.log.keytable import fitting
from router_core.log.port import NewBatch
from router_core.log.segment import PartCache, Segment, SegmentName
from router_core.log.segments import Segments

GAP_AFTER_DAMAGE: Final = 1_000_000
"""Positions skipped after a newest file that is damaged or cut short, as nobody knows how far it went."""
_MOST_PIECES: Final = 1024  # IOV_MAX of Linux


class SegmentWriter:
    """The one place that adds rows. `start_file` and `write` may run in a thread, while nothing else is called."""

    def __init__(
        self, segments: Segments, max_bytes: int, start_after: int = 0, at_least: Mapping[str, int] | None = None
    ) -> None:
        """Positions up to `start_after` are taken and inputs have `at_least` these totals, even if no file knows."""
        self._segments = segments
        self._folder = segments.folder
        self._max_bytes = max_bytes
        self._file = -1
        self._path = Path()
        self._seed = 0
        self._rows_from = 0
        self._failed = False
        self.first = 0
        """Of the newest file: its lowest `seq`."""
        self.size = 0
        """Of the newest file: durable bytes."""
        self.seq = start_after
        """The last position given away."""
        self.totals = dict(at_least or {})
        self.bytes_written = 0
        """Since the start."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for draft in self._folder.glob("*.new"):
            draft.unlink(missing_ok=True)
        segments.refresh()
        if segments.firsts and self._resume(segments.firsts[-1]):
            return
        self.start_file()

    # --- starting ---

    def _resume(self, newest: int) -> bool:
        """Go on in the newest file, if it is sound and its writer did not give it up."""
        path = self._segments.path(newest)
        given_up = False
        with closing(Segment(path, PartCache(0), {})) as segment:
            size = segment.size()
            while (block := segment.next_block(size, sealed=False)) is not None:
                if block.rows:
                    given_up = not block.rows[-1].input
            if segment.has_rows_behind_end(size):  # no cut of a crash, and they may have been acknowledged
                while segment.next_block(size, sealed=True) is not None:
                    pass
            self._count_at_least(segment.totals)
            # Positions up to `seq` were durable once. A file that ends before them has lost its tail.
            if segment.is_damaged or segment.last < self.seq or newest in self._segments.damaged():
                self._segments.mark_damaged(newest)
                self._count_at_least(self._segments.head()[1])
                self.seq = max(self.seq, segment.last) + GAP_AFTER_DAMAGE
                return False
            assert segment.header is not None
            self.seq, end, self._rows_from = segment.last, segment.end, segment.header.length
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            if size > end and not given_up:
                given_up = True
                self.seq += GAP_AFTER_DAMAGE  # a failed write may have been read, and what was read is gone
                end = _write_all(file, [taken(seed_of(segment.number), self.seq, end)], end)
            if size > end:
                os.ftruncate(file, end)
            os.fdatasync(file)  # a killed process may have left rows that are read and not durable yet
        except BaseException:
            os.close(file)
            raise
        if given_up:
            os.close(file)
            return False
        self._go_on_in(file, path, end)
        return True

    def _count_at_least(self, totals: Mapping[str, int]) -> None:
        for name, total in totals.items():
            self.totals[name] = max(total, self.totals.get(name, 0))

    def start_file(self) -> None:
        """Go on in a new file. If it raises `OSError`, rows go on to the older one, unless `has_failed`."""
        before, was_empty = self._path, self.is_empty
        self.seq = max(self.seq, self.first)  # the file was not used; two of one position would be taken for each other
        name = SegmentName(self.seq + 1, secrets.randbits(32))
        path = self._folder / str(name)
        draft = path.with_suffix(".new")
        header = file_header(seed_of(name.number), name.first, self.totals)
        file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            _write_all(file, [header], 0)
            os.fsync(file)
            draft.rename(path)
            sync_folder(self._folder)
        except BaseException:
            os.close(file)
            self._remove(draft, path)
            raise
        if self._file >= 0:
            os.close(self._file)
            if was_empty and before.name != path.name:
                before.unlink(missing_ok=True)
        self._rows_from = len(header)
        self._go_on_in(file, path, len(header))

    def _remove(self, *paths: Path) -> None:
        """Readers must not look in a file that failed at its start for rows that go to the older one."""
        try:
            for path in paths:
                path.unlink(missing_ok=True)
        except OSError:
            self._failed, self.seq = True, self.seq + 1  # so no row goes to the older one, nor gets its position

    def _go_on_in(self, file: int, path: Path, size: int) -> None:
        name = SegmentName.of(path)
        assert name is not None
        self._file, self._path, self.size = file, path, size
        self.first, self._seed = name.first, seed_of(name.number)
        self._failed = False

    # --- writing ---

    @property
    def is_empty(self) -> bool:
        """Whether the newest file holds no batch yet."""
        return self.size <= self._rows_from

    @property
    def has_failed(self) -> bool:
        """Whether the newest file must not be written to any more."""
        return self._failed

    @property
    def wants_file(self) -> bool:
        """Whether it is time for a new file."""
        return self._failed or self.size >= self._max_bytes

    def pack(self, batches: Sequence[NewBatch], now_ms: int) -> list[bytes]:
        """Give positions to batches; `write` what is returned."""
        seq, totals, seed, synced = self.seq, self.totals, self._seed, self.size
        pieces: list[bytes] = []
        for batch in batches:
            seq += 1
            total = totals[batch.input] = totals.get(batch.input, 0) + batch.records
            key = batch.request_key
            pieces += pack(seed, batch, None if key is None else fitting(key), seq, total, now_ms, synced)
        self.seq = seq
        return pieces

    def write(self, pieces: Sequence[bytes]) -> None:
        """Make packed rows durable. If it raises, none of them is in the file, and the next need a new one."""
        try:
            end = _write_all(self._file, pieces, self.size)
            os.fdatasync(self._file)
        except BaseException:
            self._give_up_file()
            raise
        self.bytes_written += end - self.size
        self.size = end

    def _give_up_file(self) -> None:
        """Take the group's rows back. At no instant is the file without a sign of it behind its durable rows."""
        self._failed = True
        with suppress(OSError):
            try:
                end = _write_all(self._file, [taken(self._seed, self.seq, self.size)], self.size)
            except OSError:
                end = min(self.size + 1, os.fstat(self._file).st_size)  # one byte is a tail that `_resume` finds
            os.ftruncate(self._file, end)
            os.fdatasync(self._file)

    # --- files that are full ---

    def keys_after(self, seq: int) -> Iterator[bytes]:
        """Request keys of all kept batches after `seq`, as far as they can be read."""
        firsts = self._segments.firsts
        for first, following in zip(firsts, [*firsts[1:], self.seq + 1], strict=True):
            if following - 1 <= seq:
                continue
            try:
                segment = Segment(self._segments.path(first), PartCache(0), {})
            except FileNotFoundError:
                continue
            with closing(segment):
                size = self.size if first == self.first else segment.size()
                while (block := segment.next_block(size, first != self.first)) is not None:
                    for index, row in enumerate(block.rows):
                        if row.seq > seq and (key := segment.head_of(block, index).request_key) is not None:
                            yield key
                if segment.is_damaged:
                    self._segments.mark_damaged(first)

    def sealed_before(self, first: int, seconds: float) -> bool:
        """Whether the file was last written to more than `seconds` ago."""
        try:
            return time.time() - self._segments.path(first).stat().st_mtime > seconds
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _write_all(file: int, pieces: Sequence[bytes], offset: int) -> int:
    """Write pieces one behind the other. Returns where they end."""
    for start in range(0, len(pieces), _MOST_PIECES):
        some = pieces[start : start + _MOST_PIECES]
        end = offset + sum(map(len, some))
        offset += os.pwritev(file, some, offset)
        if offset < end:  # a disk that is nearly full, or a signal
            rest = memoryview(b"".join(some))[offset - end :]
            while rest:
                done = os.pwrite(file, rest, offset)
                rest, offset = rest[done:], offset + done
    return offset
