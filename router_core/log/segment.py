"""One file of the log, read: from any position on, also while it grows, and around what is damaged in it.

A file is walked once from its start. What is remembered of it is where parts of some hundred kilobytes begin; the rows
of a part are kept in a small cache that all readers of the process share, and parsed again if they have gone from it.
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from router_core.log.frames import (
    HEAD_BYTES,
    MARK,
    MOST_NAME_BYTES,
    FileHeader,
    Head,
    head_at,
    is_whole,
    length_of_header,
    read_file_header,
    seed_of,
    whole_rows,
)
from router_core.log.port import StoredBatch

_BLOCK: Final = 256 * 1024
_PAGE: Final = 4096
_CACHE_BYTES: Final = 8 * 1024 * 1024


class SegmentName(NamedTuple):
    """`<first seq, 20 digits>-<number, 8 hex digits>.log`. The number makes a file's rows its own; see `frames`."""

    first: int
    number: int

    def __str__(self) -> str:
        return f"{self.first:020d}-{self.number:08x}.log"

    @classmethod
    def of(cls, path: Path) -> SegmentName | None:
        """The name of a file, or None if it is none of ours."""
        first, _, number = path.stem.partition("-")
        try:
            name = cls(int(first), int(number, 16))
        except ValueError:
            return None
        return name if str(name) == path.name else None


class Part(msgspec.Struct):
    """Some rows that lie one behind the other."""

    offset: int
    end: int
    before: int
    """The position that was last before the first of them."""


class Block(NamedTuple):
    """Bytes of a file from `offset` on, and the whole rows they begin with."""

    offset: int
    data: bytes
    rows: list[StoredBatch]
    offsets: list[int]
    """Of each row, from the start of `data`."""
    length: int
    """Of all rows."""


class PartCache:
    """Rows of parts that were read last."""

    def __init__(self, max_bytes: int = _CACHE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._rows: OrderedDict[tuple[Path, int], tuple[list[StoredBatch], int]] = OrderedDict()

    def get(self, key: tuple[Path, int]) -> list[StoredBatch] | None:
        """The rows of a part, by its file and offset."""
        if (found := self._rows.get(key)) is None:
            return None
        self._rows.move_to_end(key)
        return found[0]

    def put(self, key: tuple[Path, int], rows: list[StoredBatch], size: int) -> None:
        """Keep rows that take about `size` bytes, in place of what was there; what was not read for longest goes."""
        if (known := self._rows.pop(key, None)) is not None:
            self._bytes -= known[1]
        self._rows[key] = rows, size
        self._bytes += size
        while self._bytes > self._max_bytes and len(self._rows) > 1:
            self._bytes -= self._rows.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Forget all rows."""
        self._rows.clear()
        self._bytes = 0


class Segment:
    """One file. `size` says how far it may be read; `sealed`, that nothing more will be written to it."""

    def __init__(self, path: Path, cache: PartCache, names: dict[bytes, str]) -> None:
        """Open the file. Raises `OSError`, and `LogError` if a later version of the router wrote it."""
        name = SegmentName.of(path)
        assert name is not None
        self.path = path
        self.first = name.first
        self.number = name.number
        self._seed = seed_of(name.number)
        self._cache = cache
        self._names = names
        self._parts: list[Part] = []
        self._befores: list[int] = []
        self._open_part = False
        self._stuck: tuple[int, int, bool] | None = None
        self.damage: list[tuple[int, int]] = []
        """Ranges of bytes that were passed over."""
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.header = self._read_header()
        except BaseException:
            os.close(self._file)
            raise
        self.end = self.header.length if self.header is not None else 0
        """Up to here the file was walked."""
        self.last = name.first - 1
        """The position of the last row so far."""
        self.totals = dict(self.header.totals) if self.header is not None else {}
        """Records accepted up to and with the last row, by input."""
        self._last_before_block = self.last

    def _read_header(self) -> FileHeader | None:
        block = self._read(0, _PAGE)
        if (length := length_of_header(block)) > len(block):
            block = self._read(0, min(length, self.size()))
        return read_file_header(block, self._seed, str(self.path))

    @property
    def is_damaged(self) -> bool:
        """Whether damage was found so far."""
        return self.header is None or bool(self.damage)

    def size(self) -> int:
        """Bytes of the file."""
        return os.fstat(self._file).st_size

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    # --- rows by position ---

    def after(self, seq: int, size: int, sealed: bool) -> Iterator[Sequence[StoredBatch]]:
        """Rows with positions above `seq`, in order, some at a time."""
        seq = max(seq, self.first - 1)
        while True:
            while seq >= self.last:
                if not self.advance(size, sealed):
                    return
            index = max(bisect_right(self._befores, seq) - 1, 0)
            rows = self._rows_of(index, size, sealed)
            if not rows or rows[-1].seq <= seq:
                continue  # the part was walked again, and what was there is gone
            start = bisect_right(rows, seq, key=_seq) if rows[0].seq <= seq else 0
            yield rows[start:] if start else rows
            seq = rows[-1].seq

    def advance(self, size: int, sealed: bool) -> bool:
        """Take in the next rows up to `size`. Returns whether anything was there."""
        block = self.next_block(size, sealed)
        if block is None:
            return False
        if not block.rows:
            return True
        end = block.offset + block.length
        if self._open_part and self._parts[-1].end == block.offset:
            part = self._parts[-1]
            rows = self._cache.get((self.path, part.offset))
            part.end = end
            if rows is not None:
                self._cache.put((self.path, part.offset), rows + block.rows, end - part.offset)
        else:
            part = Part(block.offset, end, self._last_before_block)
            self._parts.append(part)
            self._befores.append(part.before)
            self._cache.put((self.path, part.offset), block.rows, block.length)
        self._open_part = end - part.offset < _BLOCK // 2
        return True

    def _rows_of(self, index: int, size: int, sealed: bool) -> list[StoredBatch]:
        part = self._parts[index]
        rows = self._cache.get((self.path, part.offset))
        if rows is not None:
            return rows
        data = self._read(part.offset, part.end - part.offset)
        rows, _, length = whole_rows(data, self._seed, part.before, self._names)
        if length == part.end - part.offset:
            self._cache.put((self.path, part.offset), rows, length)
            return rows
        # Rows were whole and are not: walk the file again from here.
        del self._parts[index:], self._befores[index:]
        self._open_part, self._stuck = False, None
        self.end, self.last = part.offset, part.before
        while len(self._parts) == index:
            if not self.advance(size, sealed):
                return []
        return self._cache.get((self.path, self._parts[index].offset)) or []

    # --- walking ---

    def next_block(self, size: int, sealed: bool) -> Block | None:
        """Walk on: the next block with the rows in it, or an empty one for damage passed over; None at the end.

        A row at the end that is not whole is not there yet, or what a crash cut short. It is damage if the file is
        sealed, or if a row behind it was written when this place was durable already.
        """
        offset = self.end
        if offset >= size:
            return None
        data = self._read(offset, min(_BLOCK, size - offset))
        rows, offsets, length = whole_rows(data, self._seed, self.last, self._names)
        if not rows and (head := head_at(data, 0, self._seed)) is not None and head.length > len(data):
            if offset + head.length > size and not sealed:
                return None
            data = self._read(offset, min(head.length, size - offset))
            rows, offsets, length = whole_rows(data, self._seed, self.last, self._names)
        if not rows:
            if self._stuck == (offset, size, sealed) or (behind := self._behind(size, sealed)) is None:
                self._stuck = (offset, size, sealed)
                return None
            if behind > offset:
                self.damage.append((offset, behind))
            self.end = behind
            self._open_part = False
            return Block(offset, b"", [], [], 0)
        self._last_before_block = self.last
        self.last = rows[-1].seq
        self.end = offset + length
        self.totals.update({row.input: row.total for row in rows if row.input})
        return Block(offset, data, rows, offsets, length)

    def has_rows_behind_end(self, size: int) -> bool:
        """Whether a whole row stands behind what is not, where the walk ended: then something is damaged there.

        A group is written in order, so what a kill cuts short has nothing behind it. A power cut may leave a hole in
        the last group; of that no row was acknowledged, and to deliver those behind the hole does no harm.
        """
        return self.end < size and self._behind(size, sealed=True) != size

    def head_of(self, block: Block, index: int) -> Head:
        """The head of one row of a block."""
        head = head_at(block.data, block.offsets[index], self._seed)
        assert head is not None
        return head

    def _behind(self, size: int, sealed: bool) -> int | None:
        """Where to go on behind a row that is not whole; None if it may only be not there yet."""
        found: int | None = None
        at = self.end
        for offset, head in self._heads(self.end, size):
            if offset < at or head.seq <= self.last or offset + head.length > size:
                continue
            if not is_whole(head, self._read(offset, head.length)):
                continue
            if offset == self.end:
                return offset  # it was being erased at that instant
            found = offset if found is None else found
            if sealed or head.synced > self.end:
                return found
            at = offset + head.length
        return size if sealed else None

    def _heads(self, start: int, size: int) -> Iterator[tuple[int, Head]]:
        """Every place from `start` on where a head is right, also within bodies."""
        overlap = HEAD_BYTES + MOST_NAME_BYTES
        for offset in range(start, size, _BLOCK):
            block = self._read(offset, min(_BLOCK + overlap, size - offset))
            at = block.find(MARK)
            while 0 <= at < _BLOCK:
                if (head := head_at(block, at, self._seed)) is not None:
                    yield offset + at, head
                at = block.find(MARK, at + 1)

    def _read(self, offset: int, length: int) -> bytes:
        """Bytes of the file; zeros for what the disk cannot read, for the checksums to find."""
        try:
            return _pread(self._file, length, offset)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
        pieces = []
        for start in range(offset, offset + length, _PAGE):
            wanted = min(_PAGE, offset + length - start)
            try:
                pieces.append(_pread(self._file, wanted, start))
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                pieces.append(bytes(wanted))
        return b"".join(pieces)


def _pread(file: int, length: int, offset: int) -> bytes:
    data = os.pread(file, length, offset)
    if len(data) == length or not data:
        return data
    while len(data) < length and (more := os.pread(file, length - len(data), offset + len(data))):
        data += more
    return data


def _seq(row: StoredBatch) -> int:
    return row.seq
