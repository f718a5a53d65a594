"""Remembers request keys, so that a sender's second try is not delivered twice.

Everything here can be rebuilt from the log, so it is written behind it and never waits for the disk: a key is recorded
after its batch is durable, and what a crash took is read again from the log's tail at the start. The other order would
let a crash turn a retried batch into a "duplicate" of one that was never kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from router_core.log.keytable import KeyTable, fitting

_FIRST_LINES: Final = 1 << 18
"""Room for half a million keys in 16 MiB; a table that is full is followed by one eight times as large."""
_GROWTH: Final = 8
_SYNC_EVERY: Final = 10.0


class Seen:
    """Keys of the last `window` seconds, at the least: those of this window and of the one before."""

    def __init__(
        self, folder: Path, window: float, now: Callable[[], float] = time.time, first_lines: int = _FIRST_LINES
    ) -> None:
        self._folder = folder
        self._window = max(window, 1.0)
        self._now = now
        self._first_lines = first_lines
        self._bucket = -1
        self._tables: list[KeyTable] = []
        """The newest first; only it is added to."""
        self._unwritten: dict[bytes, None] = {}
        """Keys for which the disk had no room."""
        self._through = 0
        self._synced = 0.0
        self._sync: asyncio.Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="seen")

    def open(self) -> int:
        """Open the files. Returns the `seq` through which keys are on record."""
        self._folder.mkdir(parents=True, exist_ok=True)
        sound = True
        for path in sorted(self._folder.iterdir(), reverse=True):
            try:
                if not path.name.endswith(self._suffix):
                    raise ValueError(f"{path} is of another window")
                self._tables.append(KeyTable(path, self._first_lines))
            except ValueError:
                sound = False
                path.unlink()
        self._turn()
        self._through = max((table.through for table in self._tables), default=0) if sound else 0
        return self._through

    def recall(self, keys_after: Callable[[int], Iterable[bytes]], head: int) -> None:
        """Take in the keys that are in the log and not on record here."""
        self.add(keys_after(self._through), head)

    def __contains__(self, key: bytes) -> bool:
        key = fitting(key)
        return any(key in table for table in self._tables) or key in self._unwritten

    def add(self, keys: Iterable[bytes], through: int) -> None:
        """Record keys whose batches, all up to `seq` `through`, are durable."""
        if self._now_bucket() != self._bucket:
            self._turn()
        table = self._tables[0]
        for key in map(fitting, keys):
            try:
                table.add(key)
            except OSError:
                self._unwritten[key] = None
            if table.is_full:
                table = self._grow()
        self._through = through

    def _grow(self) -> KeyTable:
        newest = self._tables[0]
        bucket, number = _bucket_of(newest.path), int(newest.path.name.split("-")[1])
        try:
            self._tables.insert(0, KeyTable(self._path(bucket, number + 1), newest.lines * _GROWTH))
        except OSError:
            return newest  # no room on the disk: it becomes crowded, and the next key tries again
        return self._tables[0]

    async def flush(self) -> None:
        """Now and then: forget old windows, make keys durable, write those that found no room before."""
        if self._now_bucket() != self._bucket:
            self._turn()
        if self._unwritten:
            waiting, self._unwritten = self._unwritten, {}
            self.add(waiting, self._through)
        if time.monotonic() - self._synced > _SYNC_EVERY:
            await self._synced_now()

    async def _synced_now(self) -> None:
        """Sync off the event loop; a power cut then costs no key of a batch up to here."""
        self._synced = time.monotonic()
        through = self._through if not self._unwritten else self._tables[0].through
        loop = asyncio.get_running_loop()
        for table in list(reversed(self._tables)):  # the newest last: its note says how far all of them are on record
            note = through if table is self._tables[0] else table.through
            if table.changed or note != table.through:
                await loop.run_in_executor(self._thread, table.sync, note)

    def _now_bucket(self) -> int:
        return int(self._now() // self._window)

    def _turn(self) -> None:
        """Begin a table for this window, and forget what is older than the one before."""
        bucket = self._now_bucket()
        if not self._tables or _bucket_of(self._tables[0].path) < bucket:
            try:
                self._tables.insert(0, KeyTable(self._path(bucket, 0), self._first_lines))
            except OSError:
                if not self._tables:
                    raise
                return  # no room on the disk: the old table goes on, and the next key tries again
        self._bucket = bucket
        for table in list(self._tables):
            # One ahead stays, too: the clock may have been set back.
            if abs(_bucket_of(table.path) - bucket) > 1:
                self._tables.remove(table)
                table.path.unlink(missing_ok=True)
                self._thread.submit(table.close)  # a sync of it may be under way there

    @property
    def _suffix(self) -> str:
        return f"-{int(self._window)}.keys"

    def _path(self, bucket: int, number: int) -> Path:
        return self._folder / f"{bucket:012d}-{number:03d}{self._suffix}"

    async def close(self) -> None:
        """Make all keys durable and let go of the files."""
        if self._tables:
            await self.flush()
            await self._synced_now()
        self._thread.shutdown()
        for table in self._tables:
            table.close()
        self._tables = []


def _bucket_of(path: Path) -> int:
    return int(path.name.partition("-")[0])
