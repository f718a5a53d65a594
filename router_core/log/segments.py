"""The log's files in one folder, read. `segment` reads one; here is which of them to read.

Only the newest is written to, by `writer`. Space comes back by deleting whole files, which costs nothing and lets a
damaged file be set aside without the others. What can be read of a damaged file is read, and the file is kept.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from router_core.errors import LogError
from router_core.log.port import StoredBatch
from router_core.log.segment import PartCache, Segment, SegmentName

ERASURES: Final = "erasures"
"""A file beside the segments that grows by a byte with each erasure, so that others forget what they have in memory."""
_MOST_OPEN: Final = 32
_TICK_NS: Final = 50_000_000
"""More than the clock of any file system takes for a step."""


class Segments:
    """The files in one folder. One process appends; readers open the same folder with their own instance.

    For one thread only.
    """

    def __init__(self, folder: Path, quarantine: Path) -> None:
        self.folder = folder
        self.quarantine = quarantine
        self.durable: tuple[int, int] | None = None
        """In the process that writes: the first `seq` of the newest file, and how much of it may be read."""
        self._paths: dict[int, Path] = {}
        self._firsts: list[int] = []
        self._listed: int | None = None
        self._open: OrderedDict[int, Segment] = OrderedDict()
        self._cache = PartCache()
        self._names: dict[bytes, str] = {}
        self._erasures = 0
        self._damaged: set[int] = set()
        self._oldest: dict[str, tuple[int, int, int | None]] = {}

    # --- what is there ---

    def refresh(self) -> None:
        """Look at the folder again."""
        self._listed = None
        with suppress(FileNotFoundError):
            changed = os.stat(self.folder).st_mtime_ns
            if time.time_ns() - changed > _TICK_NS:  # else the next change may have the same time
                self._listed = changed
        self._paths = {name.first: path for path in self.folder.glob("*.log") if (name := SegmentName.of(path))}
        self._firsts = sorted(self._paths)
        for first in [first for first in self._open if first not in self._paths]:
            self._open.pop(first).close()

    def refresh_if_changed(self) -> None:
        """The same, unless the folder says that nothing has come or gone."""
        with suppress(FileNotFoundError):
            if os.stat(self.folder).st_mtime_ns != self._listed:
                self.refresh()

    def check(self) -> None:
        """Raise `LogError` for files that this version cannot read and must not pass over. Notes damaged headers."""
        self.refresh()
        for path in self.folder.glob("*.db"):
            raise LogError(
                f"{path} is a log file of an older version. Let that version deliver what is in it, then delete "
                f"{self.folder}; or move the folder away if nothing in it is needed."
            )
        for path in self.folder.glob("*.log"):
            if SegmentName.of(path) is None:
                raise LogError(f"{path} is no file of the event log. Move it to another folder.")
        for first in self._firsts:
            if (segment := self._segment(first)) is not None and segment.header is None:
                self.mark_damaged(first)

    @property
    def firsts(self) -> Sequence[int]:
        """The first `seq` of each file, ascending, as of the last look at the folder."""
        return self._firsts

    def path(self, first: int) -> Path:
        """The file whose first `seq` is this. Raises `KeyError` if there was none at the last look."""
        return self._paths[first]

    def bytes(self) -> int:
        """Bytes of all files."""
        total = 0
        for path in self._paths.values():
            with suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    # --- reading ---

    def head(self) -> tuple[int, Mapping[str, int]]:
        """The newest `seq`, and the total of records by input. (0, {}) for an empty log.

        A file that was started since the last look at the folder is not counted.
        """
        last = 0
        totals: dict[str, int] = {}
        for first in reversed(self._firsts):
            segment = self._segment(first)
            if segment is None:
                continue
            self._walk(segment)
            last = max(last, segment.last)
            totals = {**segment.totals, **totals}
            if segment.header is not None:
                break  # else only older files know of inputs that it has no row of
        return last, totals

    def after(self, seq: int) -> Iterator[Sequence[StoredBatch]]:
        """Rows of all inputs with positions above `seq`, in order, some at a time, from one file or more.

        A file that has just been deleted is passed over, as all are done with it; other errors are raised.
        """
        self._forget_erased()
        start = max(bisect_right(self._firsts, seq + 1) - 1, 0)
        for first in self._firsts[start:]:
            segment = self._segment(first)
            if segment is None:
                continue
            yield from segment.after(seq, *self._extent(segment))
            self._note(segment)

    def fetch(self, seqs: Collection[int]) -> dict[int, StoredBatch]:
        """Batches by position; those that are gone are missing."""
        self._forget_erased()
        found: dict[int, StoredBatch] = {}
        for seq in sorted(seqs):
            index = bisect_right(self._firsts, seq) - 1
            segment = self._segment(self._firsts[index]) if index >= 0 else None
            if segment is None:
                continue
            rows = next(segment.after(seq - 1, *self._extent(segment)), None)
            if rows and rows[0].seq == seq:
                found[seq] = rows[0]
            self._note(segment)
        return found

    def oldest_after(self, seq: int, source: str, asker: str) -> int | None:
        """When the first batch after `seq` of this input was received, Unix milliseconds. Looks at two files at once.

        What one `asker` was told is remembered, and where looking ended, so that asking every second costs little.
        """
        since, upto, at_ms = self._oldest.get(asker, (0, 0, None))
        if since <= seq < upto and at_ms is not None:
            return at_ms
        start = upto if since <= seq < upto else seq
        index = max(bisect_right(self._firsts, start + 1) - 1, 0)
        limit = self._firsts[index + 2 : index + 3]
        passed = start
        for rows in self.after(start):
            if limit and rows[0].seq >= limit[0]:
                break
            for row in rows:
                if row.input == source:
                    self._oldest[asker] = seq, row.seq, row.received_at_ms
                    return row.received_at_ms
            passed = rows[-1].seq
        self._oldest[asker] = seq, passed, None
        return None

    def total_at(self, seq: int, source: str) -> int | None:
        """Records accepted at this input up to `seq`, or None if no file knows. Walks a file."""
        total: int | None = None
        for first in self._firsts[max(bisect_right(self._firsts, seq) - 1, 0) :]:
            segment = self._segment(first)
            if segment is None:
                continue
            if total is None and segment.header is not None:
                total = segment.header.totals.get(source, 0)
            for rows in segment.after(0, *self._extent(segment)):
                for row in rows:
                    if row.seq > seq and total is not None:
                        return total
                    if row.input == source:
                        if row.seq > seq:
                            return row.total - row.records
                        total = row.total
            if total is not None:
                return total
        return total

    def _walk(self, segment: Segment) -> None:
        """Take in all that a file has."""
        extent = self._extent(segment)
        while segment.advance(*extent):
            pass
        self._note(segment)

    def _extent(self, segment: Segment) -> tuple[int, bool]:
        """How far a file may be read, and whether nothing more will be written to it."""
        if self.durable is None:
            return segment.size(), segment.first != self._firsts[-1]
        newest, size = self.durable
        if segment.first < newest:
            return segment.size(), True
        return (size if segment.first == newest else 0), False

    def _segment(self, first: int) -> Segment | None:
        """One file, or None if it has just been deleted."""
        segment = self._open.get(first)
        if segment is not None:
            self._open.move_to_end(first)
            return segment
        try:
            segment = Segment(self._paths[first], self._cache, self._names)
        except FileNotFoundError:
            return None
        while len(self._open) >= _MOST_OPEN:
            self._open.popitem(last=False)[1].close()
        self._open[first] = segment
        return segment

    def _forget_erased(self) -> None:
        """Somebody, also in another process, may have erased what is in memory here."""
        try:
            erasures = os.stat(self.folder / ERASURES).st_size
        except FileNotFoundError:
            return
        if erasures != self._erasures:
            self._erasures = erasures
            self._cache.clear()

    def forget_rows(self) -> None:
        """Let go of what is in memory."""
        self._cache.clear()

    # --- damage ---

    def _note(self, segment: Segment) -> None:
        if segment.is_damaged and segment.first not in self._damaged:
            self.mark_damaged(segment.first)

    def mark_damaged(self, first: int) -> None:
        """Leave a note beside a damaged file, so that it is counted and never deleted."""
        self._damaged.add(first)
        with suppress(OSError):  # on a full disk, memory must do
            self.quarantine.mkdir(exist_ok=True)
            (self.quarantine / f"{first:020d}.damaged").touch()

    def damaged(self) -> list[int]:
        """The first `seq` of the files found damaged so far."""
        self._damaged.update(int(path.stem) for path in self.quarantine.glob("*.damaged"))
        return sorted(self._damaged)

    def delete(self, first: int) -> None:
        """Delete one sealed file, or set it aside if it is damaged."""
        path = self._paths[first]
        with suppress(FileNotFoundError):
            if first in self.damaged():
                self.quarantine.mkdir(exist_ok=True)
                path.rename(self.quarantine / path.name)
            else:
                path.unlink()
        self.refresh()

    def close(self) -> None:
        """Let go of all files."""
        for segment in self._open.values():
            segment.close()
        self._open.clear()
        self._cache.clear()
