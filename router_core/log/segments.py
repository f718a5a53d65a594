"""The log's rows, read: SQLite files of bounded size, each named after the first `seq` in it.

Only the newest is written to, by `writer`. Space comes back by deleting whole files, which costs nothing and lets a
damaged file be set aside without the others. What can be read of a damaged file is read, and the file is kept.
"""

from __future__ import annotations

import shutil
import sqlite3
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from router_core.errors import LogError
from router_core.log.files import erase_rows, is_damage, open_database, size_on_disk, wal_of
from router_core.log.port import PARTITIONS, StoredBatch
from router_core.log.salvage import readable_rows
from router_core.log.wal import hides_commits

GAP_AFTER_DAMAGE = 1_000_000
"""Positions skipped after a newest file that cannot be read, as nobody knows how far it went."""
_COLUMNS = "seq, input, user, records, total, received_at_ms, headers, body"
_TYPES = (int, str, int, int, int, int, bytes, bytes)
_MOST_OPEN = 8
_ERASE = "UPDATE batches SET body = x'', headers = x'' WHERE user = ? AND body != x''"


class Segments:
    """The files in one folder. One process appends; readers open the same folder with their own instance."""

    def __init__(self, folder: Path, quarantine: Path) -> None:
        self.folder = folder
        self.quarantine = quarantine
        self._firsts: list[int] = []
        self._readers: dict[int, sqlite3.Connection] = {}
        self._damaged: set[int] = set()

    # --- what is there ---

    def refresh(self) -> None:
        """Look at the folder again."""
        self._firsts = sorted(int(path.stem) for path in self.folder.glob("*.db") if path.stem.isdigit())
        for first in [first for first in self._readers if first not in self._firsts]:
            self._readers.pop(first).close()

    @property
    def firsts(self) -> Sequence[int]:
        """The first `seq` of each file, ascending, as of the last `refresh`."""
        return self._firsts

    def path(self, first: int) -> Path:
        """The file whose first `seq` is this."""
        return self.folder / f"{first:020d}.db"

    def bytes(self) -> int:
        """Bytes on disk."""
        return sum(size_on_disk(self.path(first)) for first in self._firsts)

    # --- reading ---

    def head(self) -> tuple[int, Mapping[str, int]]:
        """The newest `seq`, and the total of records by input. (0, {}) for an empty log.

        A file that was started since the last `refresh` counts once `refresh` has seen it.
        """
        for first in reversed(self._firsts):
            reader = self._reader(first)
            if reader is None:
                continue
            try:
                row = reader.execute("SELECT max(seq) FROM batches").fetchone()
                totals = dict(reader.execute("SELECT input, total FROM totals"))
            except sqlite3.DatabaseError as error:
                self._note(first, error)
                continue
            return (row[0] if row[0] is not None else first - 1), totals
        return 0, {}

    def scan(self, after: int, upto: int, partitions: range, source: str) -> Iterator[StoredBatch]:
        """Batches with `after` < seq ≤ `upto` of these partitions and this input, in order, from one file or more."""
        start = max(bisect_right(self._firsts, after + 1) - 1, 0)
        for first in self._firsts[start:]:
            if first > upto:
                return
            reader = self._reader(first)
            if reader is None:
                continue
            where = "seq > ? AND seq <= ? AND input = ?"
            arguments: tuple[object, ...] = (after, upto, source)
            if len(partitions) < PARTITIONS:
                where += " AND partition >= ? AND partition < ?"
                arguments += (partitions.start, partitions.stop)
            query = f"SELECT {_COLUMNS} FROM batches WHERE {where} ORDER BY seq"  # noqa: S608  # only our own words
            yield from self._rows(first, reader, query, arguments)

    def _rows(
        self, first: int, reader: sqlite3.Connection, query: str, arguments: tuple[object, ...]
    ) -> Iterator[StoredBatch]:
        done, upto, *others = arguments
        assert isinstance(done, int)
        assert isinstance(upto, int)
        try:
            for row in reader.execute(query, arguments):
                if row[0] <= done or tuple(map(type, row)) != _TYPES:
                    raise sqlite3.DatabaseError("a row makes no sense")
                done = row[0]
                yield StoredBatch(*row)
        except sqlite3.DatabaseError as error:
            self._note(first, error)
            upto = min(upto, self._last_of(first))
            for row in readable_rows(lambda a, b: reader.execute(query, (a, b, *others)), _is_whole, done, upto):
                yield StoredBatch(*row)

    def _last_of(self, first: int) -> int:
        index = self._firsts.index(first)
        return self._firsts[index + 1] - 1 if index + 1 < len(self._firsts) else first + GAP_AFTER_DAMAGE

    def fetch(self, seqs: Collection[int]) -> dict[int, StoredBatch]:
        """Batches by position; those that are gone are missing."""
        found: dict[int, StoredBatch] = {}
        for seq in sorted(seqs):
            index = bisect_right(self._firsts, seq) - 1
            reader = self._reader(self._firsts[index]) if index >= 0 else None
            if reader is None:
                continue
            try:
                row = reader.execute(f"SELECT {_COLUMNS} FROM batches WHERE seq = ?", (seq,)).fetchone()  # noqa: S608
            except sqlite3.DatabaseError as error:
                self._note(self._firsts[index], error)
                continue
            if row is not None and tuple(map(type, row)) == _TYPES:
                found[seq] = StoredBatch(*row)
        return found

    def oldest_after(self, seq: int, source: str) -> int | None:
        """When the first batch after `seq` of this input was received, Unix milliseconds; looks at one file only."""
        index = max(bisect_right(self._firsts, seq + 1) - 1, 0)
        query = "SELECT received_at_ms FROM batches WHERE seq > ? AND input = ? ORDER BY seq LIMIT 1"
        return self._first_value(self._firsts[index : index + 2], query, seq, source)

    def total_at(self, seq: int, source: str) -> int | None:
        """Records accepted at this input up to `seq`, or None if no row of the input is kept. Looks at many rows."""
        before = "SELECT total FROM batches WHERE seq <= ? AND input = ? ORDER BY seq DESC LIMIT 1"
        total = self._first_value([first for first in reversed(self._firsts) if first <= seq], before, seq, source)
        if total is None:
            after = "SELECT total - records FROM batches WHERE seq > ? AND input = ? ORDER BY seq LIMIT 1"
            total = self._first_value(self._firsts, after, seq, source)
        return total

    def _first_value(self, firsts: Sequence[int], query: str, seq: int, source: str) -> int | None:
        for first in firsts:
            reader = self._reader(first)
            try:
                row = reader.execute(query, (seq, source)).fetchone() if reader is not None else None
            except sqlite3.DatabaseError as error:
                self._note(first, error)
                continue
            if row is not None:
                return int(row[0])
        return None

    def _reader(self, first: int) -> sqlite3.Connection | None:
        """A connection to one file, or None if it has just been deleted or cannot be read at all."""
        reader = self._readers.get(first)
        if reader is not None:
            return reader
        path = self.path(first)
        try:
            reader = open_database(path, create=False)
            try:
                reader.execute("SELECT 1 FROM batches LIMIT 1").fetchone()
            except BaseException:
                reader.close()
                raise
        except sqlite3.DatabaseError as error:
            # What passes must not look like a file without rows: they would be skipped for ever.
            if is_damage(error) or path.exists():
                self._note(first, error)
            return None
        while len(self._readers) >= _MOST_OPEN:
            self._readers.pop(next(iter(self._readers))).close()
        self._readers[first] = reader
        return reader

    # --- erasing ---

    def erase(self, user: int) -> int:
        """Overwrite all batches of one user, free pages and write-ahead logs included. Returns how many there were.

        May run in a thread. Raises `LogError` if a damaged file would not have it, when all others are done.
        """
        erased = 0
        refused: list[str] = []
        for path in [*map(self.path, tuple(self._firsts)), *self.quarantine.glob("*.db")]:
            try:
                erased += erase_rows(path, _ERASE, user)
            except sqlite3.DatabaseError as error:
                if is_damage(error):
                    refused.append(str(path))
                elif path.exists():
                    raise LogError(f"{path} cannot be written now ({error}). Erase once more.") from error
        if refused:
            raise LogError(
                f"{erased} batches are erased, but damaged files may hold more of this user: {', '.join(refused)}. "
                "Delete them once their batches are delivered."
            )
        return erased

    # --- damage ---

    def _note(self, first: int, error: sqlite3.Error) -> None:
        """Count a damaged file; an error that is no damage goes on to the caller."""
        if not is_damage(error):
            raise error
        self.mark_damaged(first)

    def mark_damaged(self, first: int) -> None:
        """Leave a note beside a damaged file, so that it is counted and never deleted."""
        self._damaged.add(first)
        with suppress(OSError):  # on a full disk, memory must do
            self.quarantine.mkdir(exist_ok=True)
            (self.quarantine / f"{first:020d}.damaged").touch()

    def inspect(self) -> None:
        """Look for commits that SQLite overlooks in a damaged write-ahead log, and copy what holds them aside.

        Only while no process, this one included, has a file of the log open: looking opens the files beside SQLite,
        and closing them drops the process's locks, after which any other reader may delete the write-ahead log from
        under the one who writes (https://www.sqlite.org/howtocorrupt.html, section 2.2). Raises `LogError` if there
        is no room for the copy.
        """
        self.refresh()
        for first in self._firsts:
            if not wal_of(self.path(first)).exists():
                continue
            try:
                with closing(open_database(self.path(first), create=False)) as connection:
                    connection.execute("SELECT 1 FROM batches LIMIT 1").fetchone()
                    self._preserve(first)
            except sqlite3.DatabaseError as error:
                self._note(first, error)

    def _preserve(self, first: int) -> None:
        path, copy = self.path(first), self.preserved(first)
        if copy.exists() or not hides_commits(path):
            return
        self.mark_damaged(first)
        draft = copy.with_suffix(".new")
        try:
            shutil.copyfile(wal_of(path), wal_of(copy))
            shutil.copyfile(path, draft)
            draft.rename(copy)
        except OSError as error:
            draft.unlink(missing_ok=True)
            wal_of(copy).unlink(missing_ok=True)
            raise LogError(
                f"{wal_of(path)} is damaged, and there is no room to copy it to {self.quarantine}: {error.strerror}. "
                "Copy both files to another disk, make room, and start again."
            ) from error

    def preserved(self, first: int) -> Path:
        """Where `inspect` puts its copy."""
        return self.quarantine / f"{first:020d}-as-found.db"

    def damaged(self) -> list[int]:
        """The files found damaged so far."""
        self._damaged.update(int(path.stem) for path in self.quarantine.glob("*.damaged"))
        return sorted(self._damaged)

    def close(self) -> None:
        """Let go of all files."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()


def _is_whole(row: tuple[object, ...]) -> bool:
    return tuple(map(type, row)) == _TYPES
