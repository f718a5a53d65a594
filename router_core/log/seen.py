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
from contextlib import suppress
from itertools import islice
from pathlib import Path

from router_core.log.files import is_damage, open_database, remove_database

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
        self._keys_after: Callable[[int], Iterable[bytes]] = lambda _: ()
        self._pending: dict[bytes, None] = {}
        self._flushing: dict[bytes, None] = {}
        self._through = 0
        self._recorded = 0
        self._damaged = False
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="seen")

    def open(self) -> int:
        """Open the files. Returns the `seq` through which keys are on record."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._turn()
            self._recorded = max(map(_through, self._readers), default=0)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self._damaged = True
            self._turn()
            self._recorded = 0
        return self._recorded

    def recall(self, keys_after: Callable[[int], Iterable[bytes]], head: int) -> None:
        """Take in what is not on record. `keys_after` reads keys from the log, now and should a file here break."""
        self._keys_after = keys_after
        self._pending.update(dict.fromkeys(keys_after(self._recorded)))
        self._through = head

    def __contains__(self, key: bytes) -> bool:
        if key in self._pending or key in self._flushing:
            return True
        query = "SELECT 1 FROM seen WHERE key = ?"
        try:
            return any(reader.execute(query, (key,)).fetchone() for reader in self._readers)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self._start_over()
            return key in self._pending

    def add(self, keys: Iterable[bytes], through: int) -> None:
        """Record keys whose batches, all up to `seq` `through`, are durable."""
        self._pending.update(dict.fromkeys(keys))
        self._through = through
        if len(self._pending) >= _FLUSH_AT:
            self._start_flush()

    async def flush(self) -> None:
        """Write what is pending."""
        await asyncio.shield(self._start_flush())

    def _start_flush(self) -> asyncio.Task[None]:
        if self._task is None:  # never two at once: they share a connection
            self._task = asyncio.get_running_loop().create_task(self._flush())
        return self._task

    async def _flush(self) -> None:
        try:
            if self._damaged or int(self._now() // self._window) != self._bucket:
                self._turn()
            assert self._writer is not None
            passes = len(self._pending) // _FLUSH_AT + (self._recorded < self._through)
            for _ in range(passes):
                await self._write(self._writer)
        except (sqlite3.Error, OSError) as error:
            # The log itself is whole; the worst is that a repeated batch goes through twice. Keep what was not
            # written in memory for the next flush.
            self._pending.update(self._flushing)
            if isinstance(error, sqlite3.DatabaseError) and is_damage(error):
                with suppress(sqlite3.Error):
                    self._start_over()
        finally:
            self._flushing = {}
            self._task = None

    async def _write(self, writer: sqlite3.Connection) -> None:
        keys = self._flushing = dict.fromkeys(islice(self._pending, _FLUSH_AT))
        through = self._through if len(keys) == len(self._pending) else self._recorded
        for key in keys:
            del self._pending[key]
        try:
            writer.execute("BEGIN IMMEDIATE")
            writer.executemany("INSERT OR IGNORE INTO seen VALUES (?)", ((key,) for key in sorted(keys)))
            writer.execute("INSERT OR REPLACE INTO meta VALUES ('through', ?)", (through,))
            await asyncio.get_running_loop().run_in_executor(self._thread, writer.commit)
        except sqlite3.Error:
            if writer.in_transaction:
                writer.rollback()
            raise
        self._recorded = through
        self._flushing = {}

    def _turn(self) -> None:
        """Make the current window's file the one to write; forget files older than the window before."""
        bucket = int(self._now() // self._window)
        # One ahead, too: the clock may have been set back.
        wanted = [self._path(number) for number in (bucket, bucket - 1, bucket + 1)]
        if self._damaged:
            self._close_files()
        for path in self._folder.glob("*.db"):
            if self._damaged or path not in wanted:
                remove_database(path)
        opened: list[sqlite3.Connection] = []
        try:
            for path in wanted:
                if path == wanted[0] or path.exists():
                    opened.append(open_database(path, _SCHEMA, synchronous="NORMAL"))
            opened.append(open_database(wanted[0], synchronous="NORMAL"))
        except BaseException:
            _close(opened)
            raise
        self._close_files()
        self._writer, self._readers = opened.pop(), opened
        self._bucket, self._damaged = bucket, False

    def _start_over(self) -> None:
        """A file is broken: answer from memory what the log knows, and write new files at the next flush."""
        self._pending.update(dict.fromkeys(self._keys_after(0)))
        self._damaged = True
        self._recorded = 0
        _close(self._readers)
        self._readers = []

    def _path(self, bucket: int) -> Path:
        return self._folder / f"{bucket:012d}-{int(self._window)}.db"

    def _close_files(self) -> None:
        _close([*self._readers, *([self._writer] if self._writer else ())])
        self._readers, self._writer = [], None

    async def close(self) -> None:
        """Write what is pending and let go of the files."""
        if self._writer is not None:
            await self.flush()  # it may have been under way, with a part only
            await self.flush()
        self._thread.shutdown()
        self._close_files()


def _through(reader: sqlite3.Connection) -> int:
    row = reader.execute("SELECT value FROM meta WHERE name = 'through'").fetchone()
    return row[0] if row is not None else 0


def _close(connections: Sequence[sqlite3.Connection]) -> None:
    for connection in connections:
        connection.close()
