"""The log's rows: SQLite files of bounded size, each named after the first `seq` in it.

Only the newest is written to. Space comes back by deleting whole files, which costs nothing and lets a damaged file be
set aside without the others. A file is checkpointed once, when it is sealed, away from the senders who wait.
"""

from __future__ import annotations

import sqlite3
import time
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from router_core.log.files import open_database, remove_database, size_on_disk
from router_core.log.port import PARTITIONS, StoredBatch, partition_of

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    seq INTEGER PRIMARY KEY,
    partition INTEGER NOT NULL,
    input TEXT NOT NULL,
    user INTEGER NOT NULL,
    records INTEGER NOT NULL,
    total INTEGER NOT NULL,
    received_at_ms INTEGER NOT NULL,
    request_key BLOB,
    headers BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS totals (input TEXT PRIMARY KEY, total INTEGER NOT NULL) WITHOUT ROWID;
"""
_COLUMNS = "seq, input, user, records, total, received_at_ms, headers, body"
_GAP_AFTER_DAMAGE = 1_000_000
"""Positions skipped after a newest file that cannot be read, as nobody knows how far it went."""

Row = tuple[int, int, str, int, int, int, int, bytes | None, bytes, bytes]


class Segments:
    """The files in one folder. One process appends; readers open the same folder with their own instance."""

    def __init__(self, folder: Path, quarantine: Path) -> None:
        self.folder = folder
        self.quarantine = quarantine
        self._firsts: list[int] = []
        self._readers: dict[int, sqlite3.Connection] = {}

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
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                self.mark_damaged(first)
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
        done = arguments[0]
        try:
            for row in reader.execute(query, arguments):
                done = row[0]
                yield StoredBatch(*row)
        except sqlite3.OperationalError:
            raise  # locked, or no file handles left: passes, and must not set a whole file aside
        except sqlite3.DatabaseError:
            assert isinstance(done, int)
            yield from self._salvage(first, query, done, arguments)

    def _salvage(self, first: int, query: str, after: int, arguments: tuple[object, ...]) -> Iterator[StoredBatch]:
        """Read a damaged file row by row from `after`, passing over what cannot be read."""
        self.mark_damaged(first)
        reader = self._reader(first)
        upto = min(int(str(arguments[1])), self._last_of(first))
        for seq in range(after + 1, upto + 1):
            try:
                row = reader.execute(query, (seq - 1, seq, *arguments[2:])).fetchone() if reader else None
            except sqlite3.DatabaseError:
                continue
            if row is not None:
                yield StoredBatch(*row)

    def _last_of(self, first: int) -> int:
        index = self._firsts.index(first)
        return self._firsts[index + 1] - 1 if index + 1 < len(self._firsts) else first + _GAP_AFTER_DAMAGE

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
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                continue
            if row is not None:
                found[seq] = StoredBatch(*row)
        return found

    def oldest_after(self, seq: int, source: str) -> int | None:
        """When the first batch after `seq` of this input was received, Unix milliseconds; looks at one file only."""
        index = max(bisect_right(self._firsts, seq + 1) - 1, 0)
        for first in self._firsts[index : index + 2]:
            reader = self._reader(first)
            if reader is None:
                continue
            row = reader.execute(
                "SELECT received_at_ms FROM batches WHERE seq > ? AND input = ? ORDER BY seq LIMIT 1", (seq, source)
            ).fetchone()
            if row is not None:
                return int(row[0])
        return None

    def erase(self, user: int) -> int:
        """Overwrite all batches of one user, free pages and write-ahead logs included. Returns how many there were."""
        erased = 0
        for first in self._firsts:
            try:
                connection = open_database(self.path(first), create=False)
            except sqlite3.OperationalError:
                continue  # deleted just now
            try:
                erased += connection.execute(
                    "UPDATE batches SET body = x'', headers = x'' WHERE user = ? AND body != x''", (user,)
                ).rowcount
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.close()
        return erased

    def total_at(self, seq: int, source: str) -> int:
        """Records accepted at this input up to `seq`; 0 where the rows are gone."""
        query = "SELECT total FROM batches WHERE seq <= ? AND input = ? ORDER BY seq DESC LIMIT 1"
        for first in reversed([first for first in self._firsts if first <= seq]):
            reader = self._reader(first)
            row = reader.execute(query, (seq, source)).fetchone() if reader is not None else None
            if row is not None:
                return int(row[0])
        return 0

    def _reader(self, first: int) -> sqlite3.Connection | None:
        """A connection to one file, or None if it has just been deleted or cannot be opened at all."""
        reader = self._readers.get(first)
        if reader is not None:
            return reader
        try:
            reader = open_database(self.path(first), create=False)
            reader.execute("SELECT 1 FROM batches LIMIT 1").fetchone()
        except sqlite3.OperationalError:
            return None
        except sqlite3.DatabaseError:
            self.mark_damaged(first)
            return None
        while len(self._readers) >= _MOST_OPEN:
            self._readers.pop(next(iter(self._readers))).close()
        self._readers[first] = reader
        return reader

    # --- damage ---

    def mark_damaged(self, first: int) -> None:
        """Leave a note beside a damaged file, so that it is counted and never deleted."""
        self.quarantine.mkdir(exist_ok=True)
        (self.quarantine / f"{first:020d}.damaged").touch()

    def damaged(self) -> list[int]:
        """The files found damaged so far."""
        return sorted(int(path.stem) for path in self.quarantine.glob("*.damaged"))

    def close(self) -> None:
        """Let go of all files."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()


_MOST_OPEN = 8


class SegmentWriter:
    """The one place that adds rows."""

    def __init__(self, segments: Segments, max_bytes: int, start_after: int = 0) -> None:
        """`start_after`: positions up to this one are taken, even if the file that held them is gone."""
        self._segments = segments
        self._max_bytes = max_bytes
        self._written = 0
        self.sealed: list[sqlite3.Connection] = []
        """Full files, still open; `checkpoint` them off the event loop, then close them."""
        segments.folder.mkdir(parents=True, exist_ok=True)
        segments.refresh()
        self.connection = self._open_newest(start_after)

    def _open_newest(self, start_after: int) -> sqlite3.Connection:
        if self._segments.firsts:
            newest = self._segments.firsts[-1]
            path = self._segments.path(newest)
            try:
                connection = open_database(path, _SCHEMA, autocheckpoint=0)
                if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                    connection.close()
                    raise sqlite3.DatabaseError("quick_check failed")
            except sqlite3.OperationalError:
                raise  # no permission, no room: not damage
            except sqlite3.DatabaseError:
                self._segments.mark_damaged(newest)
                start_after = max(start_after, newest) + _GAP_AFTER_DAMAGE
            else:
                return self._resume(connection, newest, path, start_after)
        self.totals: dict[str, int] = dict(self._older_totals())
        self.seq = start_after
        return self._start_file()

    def _resume(self, connection: sqlite3.Connection, newest: int, path: Path, start_after: int) -> sqlite3.Connection:
        row = connection.execute("SELECT max(seq) FROM batches").fetchone()
        self.seq = max(row[0] if row[0] is not None else newest - 1, start_after)
        self.totals = dict(connection.execute("SELECT input, total FROM totals"))
        self._written = size_on_disk(path)
        return connection

    def _older_totals(self) -> Mapping[str, int]:
        readable = [first for first in self._segments.firsts if first not in self._segments.damaged()]
        if not readable:
            return {}
        older = open_database(self._segments.path(readable[-1]), create=False)
        try:
            return dict(older.execute("SELECT input, total FROM totals"))
        finally:
            older.close()

    def _start_file(self) -> sqlite3.Connection:
        connection = open_database(self._segments.path(self.seq + 1), _SCHEMA, autocheckpoint=0)
        connection.executemany("INSERT OR REPLACE INTO totals VALUES (?, ?)", self.totals.items())
        self._written = 0
        self._segments.refresh()
        return connection

    @property
    def is_empty(self) -> bool:
        """Whether the newest file holds no batch yet."""
        return self._written == 0

    @property
    def wants_rotation(self) -> bool:
        """Whether the newest file has reached its size."""
        return self._written >= self._max_bytes

    def rotate(self) -> None:
        """Seal the newest file and start another. Call it between transactions."""
        sealed = self.connection
        self.connection = self._start_file()
        self.sealed.append(sealed)

    def begin(self) -> None:
        """Remember the state before a transaction, for `undo`."""
        self._before = (self.seq, dict(self.totals), self._written)

    def undo(self) -> None:
        """Forget the rows of a transaction that was rolled back."""
        self.seq, self.totals, self._written = self._before

    def add(self, rows: Sequence[tuple[str, int, int, bytes | None, bytes, bytes]], now_ms: int) -> None:
        """Insert (input, user, records, request_key, headers, body) rows inside the transaction under way."""
        seq, totals = self.seq, self.totals
        out: list[Row] = []
        for name, user, records, request_key, headers, body in rows:
            seq += 1
            total = totals[name] = totals.get(name, 0) + records
            out.append((seq, partition_of(user), name, user, records, total, now_ms, request_key, headers, body))
            self._written += len(body) + 64
        self.connection.executemany("INSERT INTO batches VALUES (?,?,?,?,?,?,?,?,?,?)", out)
        self.connection.executemany(
            "INSERT OR REPLACE INTO totals VALUES (?, ?)", [(name, totals[name]) for name in {row[0] for row in rows}]
        )
        self.seq = seq

    def keys_after(self, seq: int) -> Iterator[tuple[int, bytes]]:
        """Position and request key of all kept batches after `seq` that have one."""
        for first in self._segments.firsts:
            if first in self._segments.damaged() or not self._segments.path(first).exists():
                continue
            connection = open_database(self._segments.path(first), create=False)
            try:
                yield from connection.execute(
                    "SELECT seq, request_key FROM batches WHERE seq > ? AND request_key IS NOT NULL", (seq,)
                )
            except sqlite3.DatabaseError:
                self._segments.mark_damaged(first)
            finally:
                connection.close()

    def delete(self, first: int) -> None:
        """Delete one sealed file, or set it aside if it is damaged."""
        if first in self._segments.damaged():
            path = self._segments.path(first)
            path.rename(self._segments.quarantine / path.name)
        else:
            remove_database(self._segments.path(first))
        self._segments.refresh()

    def sealed_before(self, first: int, seconds: float) -> bool:
        """Whether the file was last written to more than `seconds` ago."""
        try:
            return time.time() - self._segments.path(first).stat().st_mtime > seconds
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Let go of all files."""
        for connection in (*self.sealed, self.connection):
            connection.close()
        self.sealed.clear()


def checkpoint(connection: sqlite3.Connection) -> None:
    """Move a sealed file's write-ahead log into it, and close it. Runs in a thread; a busy reader does no harm."""
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error:
        pass  # the rows stay readable in the write-ahead log, and the next opener moves them
    finally:
        connection.close()
