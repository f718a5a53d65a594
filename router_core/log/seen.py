"""Remembers request keys, so that a sender's second try is not delivered twice.

Everything here can be rebuilt from the log, so it is written behind it and never waits for the disk: a key is recorded
after its batch is durable, and what a crash took is read again from the log's tail at the start. The other order would
let a crash turn a retried batch into a "duplicate" of one that was never kept.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from router_core.log.files import open_database, remove_database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS seen (key BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;
"""
_FLUSH_AT = 256


class Seen:
    """Keys of the last `window` seconds, at the least; two files, each good for one window, take turns."""

    def __init__(self, folder: Path, window: float, now: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._window = max(window, 1.0)
        self._now = now
        self._bucket = -1
        self._writer: sqlite3.Connection | None = None
        self._readers: list[sqlite3.Connection] = []
        self._pending: dict[bytes, None] = {}
        self._flushing: dict[bytes, None] = {}
        self._through = 0
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="seen")

    def open(self) -> int:
        """Open the files; returns the `seq` through which keys are on record, so that the caller adds the rest."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._turn()
        rows = [reader.execute("SELECT value FROM meta WHERE name = 'through'").fetchone() for reader in self._readers]
        self._through = max((row[0] for row in rows if row), default=0)
        return self._through

    def __contains__(self, key: bytes) -> bool:
        if key in self._pending or key in self._flushing:
            return True
        query = "SELECT 1 FROM seen WHERE key = ?"
        return any(reader.execute(query, (key,)).fetchone() for reader in self._readers)

    def add(self, keys: Iterable[bytes], through: int) -> None:
        """Record keys whose batches, all up to `seq` `through`, are durable."""
        self._pending.update(dict.fromkeys(keys))
        self._through = through
        if len(self._pending) >= _FLUSH_AT and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._flush())

    async def flush(self) -> int:
        """Write what is pending; returns the `seq` through which everything is on record."""
        if self._task is not None:
            await self._task
        await self._flush()
        return self._through

    async def _flush(self) -> None:
        try:
            if int(self._now() // self._window) != self._bucket:
                self._turn()
            assert self._writer is not None
            while self._pending:
                chunk = dict.fromkeys(list(self._pending)[:_FLUSH_AT])
                through = self._through if len(chunk) == len(self._pending) else None
                self._flushing = chunk
                for key in chunk:
                    del self._pending[key]
                await self._write(self._writer, sorted(chunk), through)
                self._flushing = {}
        except sqlite3.Error:
            # The log itself is whole; the worst is that a repeated batch goes through twice. Keep what was not
            # written in memory for the next flush.
            self._pending.update(self._flushing)
            self._flushing = {}
        finally:
            self._task = None

    async def _write(self, writer: sqlite3.Connection, keys: Sequence[bytes], through: int | None) -> None:
        try:
            writer.execute("BEGIN IMMEDIATE")
            writer.executemany("INSERT OR IGNORE INTO seen VALUES (?)", ((key,) for key in keys))
            if through is not None:
                writer.execute("INSERT OR REPLACE INTO meta VALUES ('through', ?)", (through,))
            await asyncio.get_running_loop().run_in_executor(self._thread, writer.commit)
        except sqlite3.Error:
            if writer.in_transaction:
                writer.rollback()
            raise

    def _turn(self) -> None:
        """Make the current window's file the one to write; forget files older than the window before."""
        self._bucket = int(self._now() // self._window)
        wanted = [self._path(self._bucket), self._path(self._bucket - 1)]
        self._close_files()
        for path in self._folder.glob("*.db"):
            if path not in wanted:
                remove_database(path)
        self._writer = _open_or_start_over(wanted[0])
        self._readers = [_open_or_start_over(path) for path in wanted if path == wanted[0] or path.exists()]

    def _path(self, bucket: int) -> Path:
        return self._folder / f"{bucket:012d}-{int(self._window)}.db"

    def _close_files(self) -> None:
        for connection in (*self._readers, *([self._writer] if self._writer else ())):
            connection.close()
        self._readers, self._writer = [], None

    async def close(self) -> None:
        """Write what is pending and let go of the files."""
        await self.flush()
        self._thread.shutdown()
        self._close_files()


def _open_or_start_over(path: Path) -> sqlite3.Connection:
    try:
        return open_database(path, _SCHEMA, synchronous="NORMAL")
    except sqlite3.DatabaseError:
        remove_database(path)  # it can be rebuilt from the log
        return open_database(path, _SCHEMA, synchronous="NORMAL")
