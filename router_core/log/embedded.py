"""The log's default engine: SQLite files in one folder, shared by the process that appends and the one that delivers.

log/00000000000000000001.db …   the batches (appending process writes)
seen/…                          request keys of the last day (appending process writes)
cursors.db                      positions and held records (delivering process writes)
dead_letters.db                 dead letters (delivering process and command line write)
quarantine/                     damaged files
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

from router_core.errors import LogError, LogFull
from router_core.log.commit import GroupCommit
from router_core.log.cursors import Cursors, forget_user
from router_core.log.letters import Letters
from router_core.log.port import (
    PARTITIONS,
    ConnectionStats,
    DeadLetter,
    EventLog,
    HeldRecord,
    Lease,
    LogStats,
    NewBatch,
    Settlement,
    StoredBatch,
    partition_of,
)
from router_core.log.seen import Seen
from router_core.log.segments import Segments, SegmentWriter, checkpoint

RESERVE_BYTES = 16 * 1024 * 1024
"""Free space that appends leave alone, so that deliveries can still be settled and give room back."""
_UPKEEP_EVERY = 1.0
_POLL_EVERY = 0.01
_SCAN_LIMIT = 20_000
_REPLAYS_AT_ONCE = 500


class EmbeddedLog(EventLog):
    """See `EventLog`. `max_bytes` bounds the batches kept; `retention` and `deduplicate_for` are in seconds."""

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = 10 * 1024**3,
        retention: float = 86_400.0,
        deduplicate_for: float = 86_400.0,
        segment_bytes: int = 64 * 1024 * 1024,
        now: Callable[[], float] = time.time,
        free_bytes: Callable[[Path], int] | None = None,
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._retention = retention
        self._segment_bytes = min(segment_bytes, max(max_bytes // 8, 64 * 1024))
        self._now = now
        self._free_bytes = free_bytes or _free_bytes
        self._segments = Segments(folder / "log", folder / "quarantine")
        self._group_keys: Collection[bytes] = ()
        self._seen = Seen(folder / "seen", deduplicate_for, now)
        self._writer: SegmentWriter | None = None
        self._appends: GroupCommit[Sequence[NewBatch], Sequence[bool]] | None = None
        self._settles: GroupCommit[tuple[EmbeddedLease, Settlement], None] | None = None
        self._connections: dict[str, str] = {}
        self._head = 0
        self._head_totals: Mapping[str, int] = {}
        self._grown = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._upkeep: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="upkeep")
        self._room_checked = 0.0
        self._full = False

    async def open(self, inputs: Collection[str], connections: Mapping[str, str]) -> None:
        try:
            (self._folder / "log").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LogError(
                f"cannot use the data folder {self._folder}: {error.strerror}. "
                "Make it writable for this user, or set `log.path` to another folder."
            ) from error
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise LogError(
                f"the data folder {self._folder} is not writable. "
                "Make it writable for this user, or set `log.path` to another folder."
            )
        self._cursors = Cursors(self._folder / "cursors.db")
        self._letters = Letters(self._folder / "dead_letters.db")
        self._connections = dict(connections)
        self._look()
        self._cursors.register(connections, self._head, self._head_totals)

    # --- appending ---

    async def append(self, batches: Sequence[NewBatch]) -> Sequence[bool]:
        if self._appends is None:
            self._start_appending()
            assert self._appends is not None
        return await self._appends.submit(batches)

    def _start_appending(self) -> None:
        furthest = max((progress.seq for progress in self._cursors.progress().values()), default=0)
        self._writer = SegmentWriter(self._segments, self._segment_bytes, furthest)
        through = self._seen.open()
        self._head, self._head_totals = self._writer.seq, dict(self._writer.totals)
        self._appends = GroupCommit(
            lambda: self._open_writer().connection,
            self._append_group,
            committed=self._committed,
            failed=self._writer.undo,
        )
        self._seen.add((key for _, key in self._writer.keys_after(through)), self._writer.seq)
        self._upkeep = asyncio.get_running_loop().create_task(self._keep_up())

    def _open_writer(self) -> SegmentWriter:
        assert self._writer is not None
        return self._writer

    def _append_group(self, group: Sequence[Sequence[NewBatch]]) -> Sequence[Sequence[bool]]:
        """Insert what is new of a group of appends; runs inside the transaction that commits them."""
        writer = self._open_writer()
        writer.begin()
        self._require_room()
        keys: dict[bytes, None] = {}
        rows = []
        flags = []
        for batches in group:
            accepted = []
            for batch in batches:
                key = batch.request_key
                fresh = key is None or not (key in keys or key in self._seen)
                accepted.append(fresh)
                if fresh:
                    if key is not None:
                        keys[key] = None
                    rows.append((batch.input, batch.user, batch.records, key, batch.headers, batch.body))
            flags.append(accepted)
        if rows:
            writer.add(rows, int(self._now() * 1000))
        self._group_keys = keys
        return flags

    def _committed(self) -> None:
        """After a durable group: remember its keys, tell readers of this process, start a new file when it is time."""
        writer = self._open_writer()
        self._seen.add(self._group_keys, writer.seq)
        self._head, self._head_totals = writer.seq, dict(writer.totals)
        self._full = False
        self._grown.set()
        if writer.wants_rotation:
            self._rotate()

    def _rotate(self) -> None:
        writer = self._open_writer()
        writer.rotate()
        loop = asyncio.get_running_loop()
        while writer.sealed:
            loop.run_in_executor(self._thread, checkpoint, writer.sealed.pop())

    def _require_room(self) -> None:
        """Raise `LogFull` if the log is at its limit or the disk is down to the reserve; looks four times a second."""
        now = time.monotonic()
        if now - self._room_checked > 0.25:
            self._room_checked = now
            self._full = self._lacks_room()
            if self._full and self._make_room():
                self._full = self._lacks_room()
        if self._full:
            raise LogFull("the event log is full: deliveries are behind, or the disk is")

    def _lacks_room(self) -> bool:
        return self._free_bytes(self._folder) < RESERVE_BYTES or self._segments.bytes() > self._max_bytes

    # --- room ---

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(_UPKEEP_EVERY)
            try:
                await self._seen.flush()
                self._delete_settled(self._retention)
                if self._lacks_room():
                    self._make_room()
            except (sqlite3.Error, OSError):
                continue  # the same is tried again in a second, and appends say by themselves when they fail

    def _make_room(self) -> bool:
        """Give up delivered files before their time; returns whether any went."""
        writer = self._open_writer()
        if not writer.is_empty and not writer.connection.in_transaction and self._needed_after() >= writer.seq:
            self._rotate()
        return self._delete_settled(0.0)

    def _needed_after(self) -> int:
        progress = self._cursors.progress()
        return min((progress[name].keep_after for name in self._connections if name in progress), default=self._head)

    def _delete_settled(self, retention: float) -> bool:
        """Delete files that every connection is done with and that nobody wrote to for `retention` seconds."""
        writer = self._open_writer()
        needed_after = self._needed_after()
        firsts = list(self._segments.firsts)
        deleted = False
        for first, following in pairwise(firsts):
            if following - 1 > needed_after or not writer.sealed_before(first, retention):
                break
            writer.delete(first)
            deleted = True
        return deleted

    # --- reading ---

    def lease(self, connection: str, partitions: range) -> EmbeddedLease:
        positions = self._cursors.positions(connection, partitions)
        return EmbeddedLease(self, connection, self._connections[connection], partitions, positions)

    def _look(self) -> None:
        """Find out how far the log goes; another process may be appending."""
        if self._writer is not None:
            return  # `_committed` keeps the head; the writer itself may be ahead of what is durable
        firsts = self._segments.firsts
        if not firsts or self._segments.path(self._head + 1).exists():
            self._segments.refresh()
        head, totals = self._segments.head()
        if head > self._head:
            self._head, self._head_totals = head, totals
            self._grown.set()

    async def _watch_growth(self) -> None:
        while True:
            await asyncio.sleep(_POLL_EVERY)
            try:
                self._look()
            except sqlite3.OperationalError:
                continue  # a file is being sealed or deleted at this instant

    async def grown_beyond(self, seq: int, wait: float) -> bool:
        """Wait up to `wait` seconds until the log goes beyond `seq`."""
        if self._writer is None and self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._watch_growth())
        deadline = time.monotonic() + wait
        while self._head <= seq:
            self._grown.clear()
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            try:
                async with asyncio.timeout(left):
                    await self._grown.wait()
            except TimeoutError:
                return False
        return True

    def rows_for(
        self, source: str, partitions: range, after: int, total: int, max_records: int, oversize: bool
    ) -> tuple[list[StoredBatch], int, int]:
        """Batches of a lease after a position, up to `max_records` records; with the new position and total."""
        upto = min(self._head, after + _SCAN_LIMIT)
        rows: list[StoredBatch] = []
        records = 0
        for row in self._segments.scan(after, upto, partitions, source):
            if records + row.records > max_records and (rows or not oversize):
                return rows, (rows[-1].seq if rows else after), (rows[-1].total if rows else total)
            rows.append(row)
            records += row.records
        if upto == self._head:
            total = self._head_totals.get(source, 0)
        elif rows:
            total = rows[-1].total
        return rows, upto, total

    def total_at(self, seq: int, source: str) -> int:
        """Records accepted at this input up to `seq`; 0 where the rows are gone."""
        return self._segments.total_at(seq, source)

    async def fetch(self, seqs: Collection[int]) -> Mapping[int, StoredBatch]:
        self._segments.refresh()
        return self._segments.fetch(seqs)

    # --- settling ---

    async def settle(self, lease: EmbeddedLease, settlement: Settlement) -> None:
        """See `Lease.settle`."""
        try:
            if settlement.letters:
                self._letters.park(settlement.letters)
            if settlement.replayed:
                self._letters.remove(lease.connection, settlement.replayed)
        except sqlite3.OperationalError as error:
            raise LogFull(f"the dead letters cannot be written: {error}") from error
        if self._settles is None:
            self._settles = GroupCommit(lambda: self._cursors.connection, self._settle_group)
        await self._settles.submit((lease, settlement))

    def _settle_group(self, group: Sequence[tuple[EmbeddedLease, Settlement]]) -> Sequence[None]:
        for lease, settlement in group:
            self._cursors.move(lease.connection, lease.partitions, lease.position, lease.total)
            if settlement.held:
                self._cursors.hold(lease.connection, settlement.held)
            if settlement.released:
                self._cursors.release(lease.connection, settlement.released)
        return [None] * len(group)

    async def seek(self, connection: str, seq: int) -> None:
        total = self._segments.total_at(seq, self._connections[connection])
        with self._cursors.connection:
            self._cursors.connection.execute("BEGIN IMMEDIATE")
            self._cursors.move(connection, range(PARTITIONS), seq, total)

    # --- dead letters ---

    async def letters(
        self, connection: str | None = None, *, after: int = 0, limit: int = 100
    ) -> Sequence[tuple[int, DeadLetter]]:
        return self._letters.listing(connection, after, limit)

    async def letter(self, number: int) -> tuple[DeadLetter, StoredBatch] | None:
        return self._letters.get(number)

    async def replay_letters(self, numbers: Collection[int] | None, connection: str | None = None) -> int:
        return self._letters.change("UPDATE letters SET replaying = 1", numbers, connection)

    async def drop_letters(self, numbers: Collection[int] | None, connection: str | None = None) -> int:
        return self._letters.change("DELETE FROM letters", numbers, connection)

    def replays(self, connection: str, partitions: range) -> Sequence[tuple[DeadLetter, StoredBatch]]:
        """Letters to deliver again, a bounded number at once."""
        return self._letters.replays(connection, partitions, _REPLAYS_AT_ONCE)

    def held(self, connection: str, partitions: range) -> Sequence[HeldRecord]:
        """Held records of these partitions."""
        return self._cursors.held(connection, partitions)

    # --- the whole ---

    async def erase(self, user: int) -> int:
        self._segments.refresh()
        erased = self._segments.erase(user)
        forget_user(self._cursors.connection, user)
        self._letters.forget_user(user)
        return erased

    async def stats(self) -> LogStats:
        self._look()
        progress = self._cursors.progress()
        letters = self._letters.counts()
        connections = {}
        for name, source in self._connections.items():
            if (at := progress.get(name)) is None:
                continue
            waiting = max(self._head_totals.get(source, 0) - at.total, 0)
            connections[name] = ConnectionStats(
                depth=waiting + at.held,
                oldest_ms=self._segments.oldest_after(at.keep_after, source) if waiting or at.held else None,
                held=at.held,
                letters=letters.get(name, 0),
            )
        return LogStats(
            head=self._head,
            bytes=self._segments.bytes(),
            full=self._full,
            damaged=len(self._segments.damaged()),
            connections=connections,
        )

    async def close(self) -> None:
        for task in (self._watch, self._upkeep):
            if task is not None:
                task.cancel()
        for commits in (self._appends, self._settles):
            if commits is not None:
                await commits.close()
        if self._writer is not None:
            await self._seen.close()
            self._writer.close()
        self._thread.shutdown()
        self._segments.close()
        if hasattr(self, "_cursors"):
            self._cursors.close()
            self._letters.close()


class EmbeddedLease(Lease):
    """See `Lease`."""

    def __init__(
        self, log: EmbeddedLog, connection: str, source: str, partitions: range, positions: Mapping[int, int]
    ) -> None:
        self._log = log
        self.connection = connection
        self._source = source
        self.partitions = partitions
        self._settled = positions
        self._furthest = max(positions.values(), default=0)
        self.position = min(positions.values(), default=0)
        self.total = log.total_at(self.position, source)
        self._unsettled = False

    @property
    def unsettled(self) -> bool:
        return self._unsettled

    async def read(self, max_records: int, wait: float, *, oversize: bool = True) -> Sequence[StoredBatch]:
        if not await self._log.grown_beyond(self.position, wait):
            return []
        rows, self.position, self.total = self._log.rows_for(
            self._source, self.partitions, self.position, self.total, max_records, oversize
        )
        self._unsettled = True
        if self.position >= self._furthest:
            return rows
        # Lanes were cut in another way before: some partitions had come further than the slowest of this lease.
        return [row for row in rows if row.seq > self._settled[partition_of(row.user)]]

    async def settle(self, settlement: Settlement) -> None:
        await self._log.settle(self, settlement)
        self._unsettled = False

    async def held(self) -> Sequence[HeldRecord]:
        return self._log.held(self.connection, self.partitions)

    async def replays(self) -> Sequence[tuple[DeadLetter, StoredBatch]]:
        return self._log.replays(self.connection, self.partitions)


def _free_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
