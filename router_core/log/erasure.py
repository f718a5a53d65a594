"""Overwriting what some people sent, in the log's files. Rows keep their place, as others behind them count on it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

from router_core.errors import LogDamaged, LogError
from router_core.log.frames import ERASED, Head
from router_core.log.segment import PartCache, Segment, SegmentName
from router_core.log.segments import ERASURES

IsTheirs: TypeAlias = Callable[[bytes], bool]


class Pace:
    """Lets a long walk in a thread rest as much as it works: Python's lock belongs to deliveries as well."""

    def __init__(self, at_once: float = 0.002) -> None:
        """`at_once` is in seconds."""
        self._at_once = at_once
        self._since = time.monotonic()

    def asked(self, is_theirs: IsTheirs, body: bytes) -> bool:
        """The answer, and a rest if it is time for one."""
        worked = time.monotonic() - self._since
        if worked > self._at_once:
            time.sleep(min(worked, 0.05))
            self._since = time.monotonic()
        return is_theirs(body)


class _Place(NamedTuple):
    seq: int
    offset: int
    head: Head


def erase(
    folder: Path,
    quarantine: Path,
    is_theirs: IsTheirs,
    durable: tuple[int, int] | None,
    forget: Callable[[Collection[int]], None],
    pace: Pace,
) -> set[int]:
    """Erase some people's rows in all files. Returns their positions. `durable` is as in `Segments`.

    `forget` is called with positions before their rows are overwritten, to delete what else there is of them. May run
    in a thread. Raises `LogDamaged` if a damaged file may hold more, when all others are done.
    """
    erased: set[int] = set()
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
                    seqs, incomplete = _erase_in(place, is_theirs, size, sealed, forget, pace)
                    erased |= seqs
                    doubtful += [str(place)] * incomplete
                    break
        _tell_others(folder)
    except OSError as error:
        raise LogError(f"{path} cannot be written now ({error.strerror}). Erase once more.") from error
    if doubtful:
        raise LogDamaged(
            f"{len(erased)} batches are erased, but damaged files may hold more: {', '.join(doubtful)}. "
            "Delete them once their batches are delivered."
        )
    return erased


def _erase_in(
    path: Path,
    is_theirs: IsTheirs,
    size: int | None,
    sealed: bool,
    forget: Callable[[Collection[int]], None],
    pace: Pace,
) -> tuple[set[int], bool]:
    """Erase some people's rows in one file, read up to `size`. Returns them, and whether that may not be all.

    First all rows are marked, and that is synced; only then they are overwritten. So a crash in between leaves no row
    with a wrong checksum, and another try finds the marked rows that are not empty yet.
    """
    with closing(Segment(path, PartCache(0), {})) as segment:
        places = list(_places(segment, is_theirs, segment.size() if size is None else size, sealed, pace))
        incomplete = segment.is_damaged
    if not places:
        return set(), incomplete
    seqs = {place.seq for place in places}
    forget(seqs)
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for _, offset, head in places:
            if not head.erased:
                os.pwrite(file, ERASED[-1:], offset + len(ERASED) - 1)
        os.fdatasync(file)
        for _, offset, head in places:
            _overwrite(file, offset + head.payload_at, head.length - head.payload_at)
        os.fdatasync(file)
    finally:
        os.close(file)
    return seqs, incomplete


def _tell_others(folder: Path) -> None:
    """Let every process that reads these files forget the rows it has in memory."""
    file = os.open(folder / ERASURES, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        os.write(file, b".")
    finally:
        os.close(file)


def _places(segment: Segment, is_theirs: IsTheirs, size: int, sealed: bool, pace: Pace) -> Iterable[_Place]:
    """The rows to erase: theirs, and those that were marked and are not empty yet, whosesoever they are."""
    while (block := segment.next_block(size, sealed)) is not None:
        for index, row in enumerate(block.rows):
            if not row.input or (row.body and not pace.asked(is_theirs, row.body)):
                continue
            head = segment.head_of(block, index)
            at = block.offsets[index]
            payload = block.data[at + head.payload_at : at + head.length]
            if not head.erased or payload.strip(b"\0"):
                yield _Place(row.seq, block.offset + at, head)


def _overwrite(file: int, offset: int, length: int) -> None:
    zeros = memoryview(bytes(length))
    while zeros:
        done = os.pwrite(file, zeros, offset)
        zeros, offset = zeros[done:], offset + done
