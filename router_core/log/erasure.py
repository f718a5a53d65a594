"""Overwriting all that a user sent, in the log's files. Rows keep their place, as others behind them count on it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from router_core.errors import LogError
from router_core.log.frames import ERASED, Head
from router_core.log.segment import PartCache, Segment, SegmentName
from router_core.log.segments import ERASURES


class _Place(NamedTuple):
    offset: int
    head: Head


def erase(folder: Path, quarantine: Path, user: int, durable: tuple[int, int] | None) -> int:
    """Erase a user's rows in all files. Returns how many there were. `durable` is as in `Segments`.

    May run in a thread. Raises `LogError` if a damaged file may hold more, when all others are done.
    """
    erased = 0
    doubtful: list[str] = []
    found = [(name, path) for path in folder.glob("*.log") if (name := SegmentName.of(path))]
    newest = max((name.first for name, _ in found), default=0)
    found += [(name, path) for path in quarantine.glob("*.log") if (name := SegmentName.of(path))]
    path = folder
    try:
        for name, path in found:  # the one at fault is named below
            size = None
            if durable is not None and name.first >= durable[0]:
                size = durable[1] if name.first == durable[0] else 0
            sealed = path.parent == quarantine or name.first < newest
            for place in (path, quarantine / path.name):
                with suppress(FileNotFoundError):  # all were done with it, or it was set aside meanwhile
                    rows, incomplete = _erase_in(place, user, size, sealed)
                    erased += rows
                    doubtful += [str(place)] * incomplete
                    break
        _tell_others(folder)
    except OSError as error:
        raise LogError(f"{path} cannot be written now ({error.strerror}). Erase once more.") from error
    if doubtful:
        raise LogError(
            f"{erased} batches are erased, but damaged files may hold more of this user: {', '.join(doubtful)}. "
            "Delete them once their batches are delivered."
        )
    return erased


def _erase_in(path: Path, user: int, size: int | None, sealed: bool) -> tuple[int, bool]:
    """Erase a user's rows in one file, read up to `size`. Returns how many there were, and whether that may not be all.

    First all rows are marked, and that is synced; only then they are overwritten. So a crash in between leaves no row
    with a wrong checksum, and another try finds the marked rows that are not empty yet.
    """
    with closing(Segment(path, PartCache(0), {})) as segment:
        places = list(_places(segment, user, segment.size() if size is None else size, sealed))
        incomplete = segment.is_damaged
    if not places:
        return 0, incomplete
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for offset, head in places:
            if not head.erased:
                os.pwrite(file, ERASED[-1:], offset + len(ERASED) - 1)
        os.fdatasync(file)
        for offset, head in places:
            _overwrite(file, offset + head.payload_at, head.length - head.payload_at)
        os.fdatasync(file)
    finally:
        os.close(file)
    return len(places), incomplete


def _tell_others(folder: Path) -> None:
    """Let every process that reads these files forget the rows it has in memory."""
    file = os.open(folder / ERASURES, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        os.write(file, b".")
    finally:
        os.close(file)


def _places(segment: Segment, user: int, size: int, sealed: bool) -> Iterable[_Place]:
    while (block := segment.next_block(size, sealed)) is not None:
        for index, row in enumerate(block.rows):
            if row.user != user or not row.input:
                continue
            head = segment.head_of(block, index)
            at = block.offsets[index]
            payload = block.data[at + head.payload_at : at + head.length]
            if not head.erased or payload.strip(b"\0"):
                yield _Place(block.offset + at, head)


def _overwrite(file: int, offset: int, length: int) -> None:
    zeros = memoryview(bytes(length))
    while zeros:
        done = os.pwrite(file, zeros, offset)
        zeros, offset = zeros[done:], offset + done
