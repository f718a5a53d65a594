"""The half of the embedded engine that appends: duplicates, group commit, new files, and room for them."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise

from router_core.errors import LogFull
from router_core.log.commit import GroupCommit, Work
from router_core.log.cursors import Cursors
from router_core.log.port import NewBatch
from router_core.log.room import Room
from router_core.log.seen import Seen
from router_core.log.segments import Segments
from router_core.log.writer import SegmentWriter

_UPKEEP_EVERY = 1.0
_LOOK_FOR_ROOM_EVERY = 0.25


class Appender:
    """Exists once for a folder, from the first append on."""

    def __init__(
        self,
        writer: SegmentWriter,
        segments: Segments,
        seen: Seen,
        room: Room,
        cursors: Cursors,
        *,
        connections: Collection[str],
        retention: float,
        now: Callable[[], float],
        grown: Callable[[], None],
    ) -> None:
        """`grown` is called when `head` and `totals` have changed."""
        self.writer = writer
        self._segments = segments
        self._seen = seen
        self._room = room
        self._cursors = cursors
        self._connections = connections
        self._retention = retention
        self._now = now
        self._grown = grown
        self.full = False
        self._room_checked = 0.0
        self._written_then = 0
        self._keys: Collection[bytes] = ()
        self.head = 0
        """The last durable position."""
        self.totals: Mapping[str, int] = {}
        self._show()
        self._commits: GroupCommit[Sequence[NewBatch], Sequence[bool]] = GroupCommit(
            self._prepare, ready=self._ready, committed=self._committed, failed=self._failed
        )
        self._upkeep = asyncio.get_running_loop().create_task(self._keep_up())

    async def append(self, batches: Sequence[NewBatch]) -> Sequence[bool]:
        """See `EventLog.append`."""
        return await self._commits.submit(batches)

    # --- a group ---

    def _ready(self) -> Work | None:
        self._require_room()
        return self._begin_file if self.writer.wants_file else None

    def _begin_file(self) -> None:
        """Runs in the thread. If there is no room for a new file, the old one grows beyond its size meanwhile."""
        try:
            self.writer.start_file()
        except OSError:
            if self.writer.has_failed:
                raise

    def _prepare(self, group: Sequence[Sequence[NewBatch]]) -> tuple[Sequence[Sequence[bool]], Work | None]:
        """Give positions to what is new of a group of appends."""
        keys: dict[bytes, None] = {}
        fresh: list[NewBatch] = []
        flags = []
        for batches in group:
            accepted = []
            for batch in batches:
                key = batch.request_key
                is_new = key is None or not (key in keys or key in self._seen)
                accepted.append(is_new)
                if is_new:
                    if key is not None:
                        keys[key] = None
                    fresh.append(batch)
            flags.append(accepted)
        self._keys = keys
        if not fresh:
            return flags, None  # the first of each duplicate is durable
        return flags, partial(self.writer.write, self.writer.pack(fresh, int(self._now() * 1000)))

    def _committed(self) -> None:
        """After a durable group: remember its keys, and tell readers of this process."""
        self._seen.add(self._keys, self.writer.seq)
        self.full = False
        self._show()
        self._grown()

    def _show(self) -> None:
        if not self._segments.firsts or self._segments.firsts[-1] != self.writer.first:
            self._segments.refresh()
        self._segments.durable = self.writer.first, self.writer.size
        self.head, self.totals = self.writer.seq, dict(self.writer.totals)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, OSError):
            self.full = True
            self._room_checked = time.monotonic()

    # --- room ---

    def _require_room(self) -> None:
        """Raise `LogFull` if the log is at its limit or the disk is down to the reserve; looks now and then."""
        now = time.monotonic()
        written = self.writer.bytes_written
        if now - self._room_checked > _LOOK_FOR_ROOM_EVERY or written - self._written_then > self._room.step:
            self._room_checked, self._written_then = now, written
            self.full = self._lacks_room()
            with suppress(sqlite3.Error, OSError):
                if self.full and self._make_room():
                    self.full = self._lacks_room()
        if self.full:
            raise LogFull("the event log is full: deliveries are behind, or the disk is")

    def _lacks_room(self) -> bool:
        return self._room.is_short(self._segments.bytes())

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(_UPKEEP_EVERY)
            with suppress(sqlite3.Error, OSError):  # tried again in a second; appends say by themselves when they fail
                await self._seen.flush()
                self.delete_settled(self._retention)
                if not self._commits.busy:
                    if self.writer.first in self._segments.damaged():
                        self.rotate()  # somebody who reads it has found that out
                    if self._lacks_room():
                        self._make_room()
                self.full = self._lacks_room()
                self._room.keep_reserve()

    def _make_room(self) -> bool:
        """Give up delivered files before their time; returns whether any went. Only between groups."""
        if not self.writer.is_empty and self._needed_after() >= self.writer.seq:
            self.rotate()
        return self.delete_settled(0.0)

    def rotate(self) -> None:
        """Go on in a new file. Only between groups."""
        self._begin_file()
        self._show()

    def _needed_after(self) -> int:
        progress = self._cursors.progress()
        return min((progress[name].keep_after for name in self._connections if name in progress), default=self.head)

    def delete_settled(self, retention: float) -> bool:
        """Delete files that every connection is done with and that nobody wrote to for `retention` seconds."""
        needed_after = self._needed_after()
        deleted = False
        for first, following in pairwise(list(self._segments.firsts)):
            if first == self.writer.first:  # its follower is only just being made
                break
            if following - 1 > needed_after or not self.writer.sealed_before(first, retention):
                break
            self._segments.delete(first)
            deleted = True
        return deleted

    async def close(self) -> None:
        """Commit what is under way and let go of the file."""
        self._upkeep.cancel()
        await asyncio.gather(self._upkeep, return_exceptions=True)
        await self._commits.close()
        self.writer.close()
