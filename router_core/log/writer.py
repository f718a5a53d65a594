"""The log's rows, written: to the newest file only, in transactions that `GroupCommit` begins and ends.

A file is checkpointed once, when it is sealed, away from the senders who wait. A new file appears under its name when
it is whole, so that a crash or a full disk leaves no half file behind which readers would overlook rows.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from router_core.log.files import is_damage, move_database, open_database, remove_database, size_on_disk, sync_folder
from router_core.log.port import partition_of
from router_core.log.salvage import readable_rows
from router_core.log.segments import GAP_AFTER_DAMAGE, Segments
from router_core.log.wal import copy_with_all_frames

_SCHEMA = """
CREATE TABLE batches (
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
CREATE TABLE totals (input TEXT PRIMARY KEY, total INTEGER NOT NULL) WITHOUT ROWID;
"""
_INSERT = "INSERT INTO batches VALUES (?,?,?,?,?,?,?,?,?,?)"
_ROW_BYTES = 64
_COMMIT_BYTES = 2 * 4096
"""A transaction writes at least a page of rows and one of totals to the write-ahead log, however little is in it."""

_TYPES = (int, int, str, int, int, int, int)

NewRow = tuple[str, int, int, bytes | None, bytes, bytes]
"""input, user, records, request_key, headers, body"""
Row = tuple[int, int, str, int, int, int, int, bytes | None, bytes, bytes]


class SegmentWriter:
    """The one place that adds rows."""

    def __init__(
        self, segments: Segments, max_bytes: int, start_after: int = 0, at_least: Mapping[str, int] | None = None
    ) -> None:
        """Positions up to `start_after` are taken and inputs have `at_least` these totals, even if no file knows."""
        self._segments = segments
        self._max_bytes = max_bytes
        self._written = 0
        self.bytes_written = 0
        """Since the start, about."""
        self.sealed: list[sqlite3.Connection] = []
        """Full files, still open; `checkpoint` them off the event loop, then close them."""
        self.seq = start_after
        self.totals = dict(at_least or {})
        segments.folder.mkdir(parents=True, exist_ok=True)
        for draft in segments.folder.glob("*.new*"):
            draft.unlink(missing_ok=True)
        segments.refresh()
        self.connection = self._open_newest()
        self.keep()

    # --- starting ---

    def _open_newest(self) -> sqlite3.Connection:
        if not self._segments.firsts:
            return self._start_file()
        newest = self._segments.firsts[-1]
        try:
            connection = open_database(self._segments.path(newest), create=False, autocheckpoint=0)
        except sqlite3.DatabaseError as error:
            return self._after_damaged(newest, error)
        try:
            return self._resume(connection, newest)
        except sqlite3.DatabaseError as error:
            connection.close()
            return self._after_damaged(newest, error)
        except BaseException:
            connection.close()
            raise

    def _resume(self, connection: sqlite3.Connection, newest: int) -> sqlite3.Connection:
        if (verdict := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(verdict)
        last = connection.execute("SELECT max(seq) FROM batches").fetchone()[0]
        self._count_at_least(dict(connection.execute("SELECT input, total FROM totals")))
        if self._segments.preserved(newest).exists():
            rescued = self._rescue(newest, last or newest - 1)
            connection.close()
            return rescued
        self.seq = max(last or newest - 1, self.seq)
        self._written = 0 if last is None else size_on_disk(self._segments.path(newest))
        return connection

    def _after_damaged(self, newest: int, error: sqlite3.DatabaseError) -> sqlite3.Connection:
        if not is_damage(error):
            raise error  # no permission, no room, no file handles
        self._segments.mark_damaged(newest)
        for older in self._segments.firsts[-2:-1]:
            self._count_at_least(_totals_in(self._segments.path(older)))
        self.seq = max(self.seq, newest) + GAP_AFTER_DAMAGE
        return self._start_file()

    def _rescue(self, newest: int, last: int) -> sqlite3.Connection:
        """Put rows that SQLite overlooks in the newest file's write-ahead log into a file that follows it."""
        found = self._segments.preserved(newest)
        whole = found.with_suffix(".new")
        copy_with_all_frames(found, whole)
        rows = list(_rows_after(whole, last))
        remove_database(whole)
        self.seq = max(self.seq, rows[-1][0] if rows else last, newest) + GAP_AFTER_DAMAGE
        for row in rows:
            self._count_at_least({row[2]: row[5]})
        return self._start_file(max(last, newest) + 1, rows)

    def _count_at_least(self, totals: Mapping[str, int]) -> None:
        for name, total in totals.items():
            self.totals[name] = max(total, self.totals.get(name, 0))

    def _start_file(self, first: int | None = None, rows: Iterable[Row] = ()) -> sqlite3.Connection:
        path = self._segments.path(self.seq + 1 if first is None else first)
        draft = path.with_suffix(".new")
        remove_database(draft)
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.executescript(f"BEGIN;{_SCHEMA}")
            connection.executemany("INSERT INTO totals VALUES (?, ?)", self.totals.items())
            connection.executemany(_INSERT, rows)
            connection.execute("COMMIT")
        draft.rename(path)
        try:
            sync_folder(path.parent)
            opened = open_database(path, create=False, autocheckpoint=0)
        except BaseException:
            remove_database(path)  # appends go on in the older file, and readers must not look for them here
            raise
        self._written = 0
        self._segments.refresh()
        return opened

    # --- writing ---

    @property
    def is_empty(self) -> bool:
        """Whether the newest file holds no batch yet."""
        return self._written == 0

    @property
    def wants_rotation(self) -> bool:
        """Whether the newest file has reached its size."""
        return self._written >= self._max_bytes

    @property
    def to_checkpoint(self) -> int:
        """Bytes that are in the newest file's write-ahead log only."""
        return self._written

    def rotate(self) -> None:
        """Seal the newest file and start another. Call it between transactions; if it raises, nothing has changed."""
        fresh = self._start_file()
        self.sealed.append(self.connection)
        self.connection = fresh

    def set_aside(self) -> None:
        """Go on in a new file, as the newest turned out damaged."""
        newest = self._segments.firsts[-1]
        self._segments.mark_damaged(newest)
        self.seq = max(self.seq, newest)
        fresh = self._start_file()
        self.connection.close()
        self.connection = fresh
        self.keep()

    def keep(self) -> Mapping[str, int]:
        """After a transaction was committed: what `undo` goes back to. Returns the totals."""
        self._durable = (self.seq, dict(self.totals), self._written)
        return self._durable[1]

    def undo(self) -> None:
        """Forget the rows of a transaction that was rolled back."""
        self.seq, totals, self._written = self._durable
        self.totals = dict(totals)

    def add(self, rows: Sequence[NewRow], now_ms: int) -> None:
        """Insert rows inside the transaction under way."""
        seq, totals = self.seq, self.totals
        written = self._written + _COMMIT_BYTES
        out: list[Row] = []
        for name, user, records, request_key, headers, body in rows:
            seq += 1
            total = totals[name] = totals.get(name, 0) + records
            out.append((seq, partition_of(user), name, user, records, total, now_ms, request_key, headers, body))
            written += len(body) + len(headers) + _ROW_BYTES
        self.bytes_written += written - self._written
        self.connection.executemany(_INSERT, out)
        self.connection.executemany(
            "INSERT OR REPLACE INTO totals VALUES (?, ?)", [(name, totals[name]) for name in {row[0] for row in rows}]
        )
        self.seq, self._written = seq, written

    # --- files that are full ---

    def keys_after(self, seq: int) -> Iterator[bytes]:
        """Request keys of all kept batches after `seq`, as far as they can be read."""
        firsts = self._segments.firsts
        for first, following in zip(firsts, [*firsts[1:], self.seq + 1], strict=True):
            if following - 1 <= seq:
                continue
            try:
                with closing(open_database(self._segments.path(first), create=False)) as connection:
                    for (key,) in connection.execute(
                        "SELECT request_key FROM batches WHERE seq > ? AND request_key IS NOT NULL", (seq,)
                    ):
                        if isinstance(key, bytes):
                            yield key
            except sqlite3.DatabaseError as error:
                if is_damage(error):
                    self._segments.mark_damaged(first)
                elif self._segments.path(first).exists():
                    raise

    def delete(self, first: int) -> None:
        """Delete one sealed file, or set it aside if it is damaged."""
        path = self._segments.path(first)
        if first in self._segments.damaged():
            self._segments.quarantine.mkdir(exist_ok=True)
            move_database(path, self._segments.quarantine)
        else:
            remove_database(path)
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


def _totals_in(path: Path) -> Mapping[str, int]:
    try:
        with closing(open_database(path, create=False)) as connection:
            return dict(connection.execute("SELECT input, total FROM totals"))
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return {}


def _rows_after(path: Path, after: int) -> Iterator[Row]:
    """What can be read of a file after a position."""
    query = "SELECT * FROM batches WHERE seq > ? AND seq <= ? ORDER BY seq"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield from readable_rows(
            lambda low, high: connection.execute(query, (low, high)), _is_whole, after, after + GAP_AFTER_DAMAGE
        )


def _is_whole(row: tuple[object, ...]) -> bool:
    return tuple(map(type, row[:7])) == _TYPES and isinstance(row[8], bytes) and isinstance(row[9], bytes)
