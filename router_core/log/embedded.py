"""The log's default engine: SQLite files in one folder, shared by the process that appends and the one that delivers.

log/00000000000000000001.db …   the batches (appending process writes)
seen/…                          request keys of the last day (appending process writes)
cursors.db                      positions and held records (delivering process writes)
dead_letters.db                 dead letters (delivering process and command line write)
quarantine/                     damaged files
reserve                         room for deliveries when the disk is full
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from router_core.errors import LogError, LogFull
from router_core.log.commit import GroupCommit
from router_core.log.cursors import FORGET_USER as FORGET_HELD
from router_core.log.cursors import Cursors
from router_core.log.files import erase_rows, is_damage
from router_core.log.letters import FORGET_USER as FORGET_LETTERS
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
from router_core.log.room import RESERVE_BYTES, Room
from router_core.log.seen import Seen
from router_core.log.segments import Segments
from router_core.log.writer import NewRow, SegmentWriter, checkpoint

_UPKEEP_EVERY = 1.0
_POLL_EVERY = 0.01
_REFRESH_EVERY = 1.0
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
        segment_bytes: int = 16 * 1024 * 1024,
        now: Callable[[], float] = time.time,
        free_bytes: Callable[[Path], int] | None = None,
        reserve_bytes: int = RESERVE_BYTES,
        alone: bool = True,
    ) -> None:
        """`alone`: no other process has the folder open, so `open` may look for damage that only shows then."""
        self._folder = folder
        self._room = Room(folder, max_bytes=max_bytes, reserve_bytes=reserve_bytes, free_bytes=free_bytes)
        self._alone = alone
        self._retention = retention
        self._segment_bytes = min(segment_bytes, max(max_bytes // 8, 64 * 1024))
        self._now = now
        self._segments = Segments(folder / "log", folder / "quarantine")
        self._group_keys: Collection[bytes] = ()
        self._seen = Seen(folder / "seen", deduplicate_for, now)
        self._writer: SegmentWriter | None = None
        self._appends: GroupCommit[Sequence[NewBatch], Sequence[bool]] | None = None
        self._settles: GroupCommit[Callable[[], None], None] | None = None
        self._connections: dict[str, str] = {}
        self._head = 0
        self._head_totals: Mapping[str, int] = {}
        self._grown = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._upkeep: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="upkeep")
        self._room_checked = 0.0
        self._written_then = 0
        self._full = False
        self._refreshed = -_REFRESH_EVERY

    async def open(self, inputs: Collection[str], connections: Mapping[str, str]) -> None:
        self._check_folder()
        if self._alone:
            try:
                self._segments.inspect()
            except sqlite3.Error as error:
                raise LogError(f"cannot open the event log in {self._folder}: {error}") from error
        self._connections = dict(connections)
        try:
            self._open_precious()
        except LogError as error:
            if not self._room.give_up_reserve_for(error):
                raise
            self._open_precious()
        self._settles = GroupCommit(
            lambda: self._cursors.connection, self._change_cursors, failed=self._room.give_up_reserve_for
        )
        try:
            self._look()
            if inputs or connections:
                self._cursors.register(
                    connections, self._head, self._head_totals, lambda name: self._segments.total_at(0, name) or 0
                )
        except BaseException as error:
            await self.close()
            if isinstance(error, sqlite3.Error):
                raise LogError(f"cannot open the event log in {self._folder}: {error}") from error
            raise

    def _open_precious(self) -> None:
        self._cursors = Cursors(self._folder / "cursors.db")
        try:
            self._letters = Letters(self._folder / "dead_letters.db")
        except BaseException:
            self._cursors.close()
            raise

    def _check_folder(self) -> None:
        advice = "Make it writable for this user, or set `log.path` to another folder."
        try:
            (self._folder / "log").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LogError(f"cannot use the data folder {self._folder}: {error.strerror}. {advice}") from error
        for folder in (self._folder, self._folder / "log", self._folder / "seen", self._folder / "quarantine"):
            if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
                raise LogError(f"the data folder {folder} is not writable. {advice}")

    # --- appending ---

    async def append(self, batches: Sequence[NewBatch]) -> Sequence[bool]:
        if self._appends is None:
            self._start_appending()
            assert self._appends is not None
        return await self._appends.submit(batches)

    def _start_appending(self) -> None:
        try:
            self._writer = self._open_writer()
        except (sqlite3.OperationalError, OSError) as error:
            raise LogFull(f"the event log cannot be written now: {error}") from error
        self._head, self._head_totals = self._writer.seq, self._writer.keep()
        self._grown.set()
        self._appends = GroupCommit(
            self._connection_with_room, self._append_group, committed=self._committed, failed=self._failed
        )
        self._upkeep = asyncio.get_running_loop().create_task(self._keep_up())

    def _open_writer(self) -> SegmentWriter:
        """Positions are never given twice, whatever files were damaged or lost: letters and held records name them."""
        through = self._seen.open()
        seq, totals = self._cursors.furthest()
        writer = SegmentWriter(
            self._segments, self._segment_bytes, max(seq, through, self._letters.furthest(), self._head), totals
        )
        try:
            self._seen.recall(writer.keys_after, writer.seq)
        except BaseException:
            writer.close()
            raise
        return writer

    def _the_writer(self) -> SegmentWriter:
        assert self._writer is not None
        return self._writer

    def _connection_with_room(self) -> sqlite3.Connection:
        self._require_room()
        return self._the_writer().connection

    def _append_group(self, group: Sequence[Sequence[NewBatch]]) -> Sequence[Sequence[bool]]:
        """Insert what is new of a group of appends; runs inside the transaction that commits them."""
        writer = self._the_writer()
        keys: dict[bytes, None] = {}
        rows: list[NewRow] = []
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
        writer = self._the_writer()
        self._head, self._head_totals = writer.seq, writer.keep()
        self._seen.add(self._group_keys, writer.seq)
        self._full = False
        self._grown.set()
        if writer.wants_rotation:
            self._rotate()

    def _failed(self, error: Exception) -> None:
        writer = self._the_writer()
        writer.undo()
        if isinstance(error, sqlite3.DatabaseError) and is_damage(error):
            writer.set_aside()
        elif isinstance(error, sqlite3.OperationalError):
            self._full = True
            self._room_checked = time.monotonic()

    def _rotate(self) -> None:
        writer = self._the_writer()
        try:
            writer.rotate()
        except (sqlite3.Error, OSError):
            return  # the file grows beyond its size meanwhile; the next commit tries again
        loop = asyncio.get_running_loop()
        while writer.sealed:
            loop.run_in_executor(self._thread, checkpoint, writer.sealed.pop())

    def _require_room(self) -> None:
        """Raise `LogFull` if the log is at its limit or the disk is down to the reserve; looks four times a second."""
        now = time.monotonic()
        written = self._the_writer().bytes_written
        if now - self._room_checked > 0.25 or written - self._written_then > self._room.reserve_bytes // 4:
            self._room_checked, self._written_then = now, written
            self._full = self._lacks_room()
            with suppress(sqlite3.Error, OSError):
                if self._full and self._make_room():
                    self._full = self._lacks_room()
        if self._full:
            raise LogFull("the event log is full: deliveries are behind, or the disk is")

    def _lacks_room(self) -> bool:
        return self._room.is_short(self._segments.bytes(), self._the_writer().to_checkpoint)

    # --- room ---

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(_UPKEEP_EVERY)
            with suppress(sqlite3.Error, OSError):  # tried again in a second; appends say by themselves when they fail
                await self._seen.flush()
                self._delete_settled(self._retention)
                if self._lacks_room():
                    self._make_room()
                self._full = self._lacks_room()
                self._room.keep_reserve(self._the_writer().to_checkpoint)

    def _make_room(self) -> bool:
        """Give up delivered files before their time; returns whether any went."""
        writer = self._the_writer()
        if not writer.is_empty and not writer.connection.in_transaction and self._needed_after() >= writer.seq:
            self._rotate()
        return self._delete_settled(0.0)

    def _needed_after(self) -> int:
        progress = self._cursors.progress()
        return min((progress[name].keep_after for name in self._connections if name in progress), default=self._head)

    def _delete_settled(self, retention: float) -> bool:
        """Delete files that every connection is done with and that nobody wrote to for `retention` seconds."""
        writer = self._the_writer()
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
        now = time.monotonic()
        # A new file begins right after the head, but for one that follows a damaged file.
        if self._segments.path(self._head + 1).exists() or now - self._refreshed > _REFRESH_EVERY:
            self._refreshed = now
            self._segments.refresh()
        head, totals = self._segments.head()
        if head > self._head:
            self._head, self._head_totals = head, totals
            self._grown.set()

    async def _watch_growth(self) -> None:
        while self._writer is None:
            await asyncio.sleep(_POLL_EVERY)
            with suppress(sqlite3.OperationalError, OSError):  # a file is being sealed or deleted at this instant
                self._look()

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
        self,
        source: str,
        partitions: range,
        after: int,
        total: int,
        max_records: int,
        oversize: bool,
        settled: Mapping[int, int] | None,
    ) -> tuple[list[StoredBatch], int, int]:
        """Batches of a lease after a position, up to `max_records` records; with the new position and total.

        `settled` names positions by partition before which nothing is to be given.
        """
        upto = min(self._head, after + _SCAN_LIMIT)
        rows: list[StoredBatch] = []
        records = 0
        for row in self._segments.scan(after, upto, partitions, source):
            if settled is not None and row.seq <= settled[partition_of(row.user)]:
                continue
            if records + row.records > max_records and (rows or not oversize):
                return rows, (rows[-1].seq if rows else after), (rows[-1].total if rows else total)
            rows.append(row)
            records += row.records
        if upto == self._head:
            total = self._head_totals.get(source, 0)
        elif rows:
            total = rows[-1].total
        return rows, upto, total

    def give_up_reserve_for(self, error: sqlite3.Error) -> bool:
        """Whether there was room left to give, and another try may do better."""
        return self._room.give_up_reserve_for(error)

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
            self._room.give_up_reserve_for(error)
            raise LogFull(f"the dead letters cannot be written: {error}") from error
        position, total = lease.position, lease.total

        def change() -> None:
            self._cursors.advance(lease.connection, lease.partitions, position, total)
            if settlement.held:
                self._cursors.hold(lease.connection, settlement.held)
            if settlement.released:
                self._cursors.release(lease.connection, settlement.released)

        await self._cursor_commits().submit(change)

    def _change_cursors(self, group: Sequence[Callable[[], None]]) -> Sequence[None]:
        for change in group:
            change()
        return [None] * len(group)

    def _cursor_commits(self) -> GroupCommit[Callable[[], None], None]:
        assert self._settles is not None
        return self._settles

    async def seek(self, connection: str, seq: int) -> None:
        self._look()
        seq = min(max(seq, 0), self._head)
        source = self._connections[connection]
        total = self._segments.total_at(seq, source)
        if total is None:
            total = self._head_totals.get(source, 0)
        await self._cursor_commits().submit(lambda: self._cursors.move(connection, range(PARTITIONS), seq, total))

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
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._erase, user)

    def _erase(self, user: int) -> int:
        """Runs in the thread that checkpoints, as two checkpoints of one file get in each other's way."""
        try:
            erase_rows(self._folder / "cursors.db", FORGET_HELD, user)
            erase_rows(self._folder / "dead_letters.db", FORGET_LETTERS, user)
        except sqlite3.Error as error:
            raise LogError(f"nothing is erased yet: {error}") from error
        return self._segments.erase(user)

    async def stats(self) -> LogStats:
        with suppress(sqlite3.OperationalError):
            self._look()
        progress = self._cursors.progress()
        letters = self._letters.counts()
        connections = {}
        # Opened without connections, by an onlooker, it tells of all that are on file.
        sources = self._connections or {name: at.input for name, at in progress.items()}
        for name, source in sources.items():
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
        tasks = [task for task in (self._watch, self._upkeep) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for commits in (self._appends, self._settles):
            if commits is not None:
                await commits.close()
        await self._seen.close()
        self._thread.shutdown()
        if self._writer is not None:
            self._writer.close()
        self._segments.close()
        if self._settles is not None:
            self._cursors.close()
            self._letters.close()


class EmbeddedLease(Lease):
    """See `Lease`."""

    def __init__(
        self,
        log: EmbeddedLog,
        connection: str,
        source: str,
        partitions: range,
        positions: Mapping[int, tuple[int, int]],
    ) -> None:
        self._log = log
        self.connection = connection
        self._source = source
        self.partitions = partitions
        self._settled = {partition: seq for partition, (seq, _) in positions.items()}
        self._furthest = max(self._settled.values(), default=0)
        self.position, self.total = min(positions.values(), default=(0, 0))
        self._settled_to = self.position

    @property
    def unsettled(self) -> bool:
        return self.position > self._settled_to

    async def read(self, max_records: int, wait: float, *, oversize: bool = True) -> Sequence[StoredBatch]:
        until = time.monotonic() + wait
        while await self._log.grown_beyond(self.position, until - time.monotonic()):
            after = self.position
            # Where lanes were cut in another way before, some partitions came further than the slowest of this lease.
            settled = self._settled if after < self._furthest else None
            try:
                rows, self.position, self.total = self._log.rows_for(
                    self._source, self.partitions, after, self.total, max_records, oversize, settled
                )
            except sqlite3.OperationalError as error:  # locked, no room, or no file handles left: passes
                if self._log.give_up_reserve_for(error):
                    continue
                if time.monotonic() > until:
                    return []
                await asyncio.sleep(_POLL_EVERY)
                continue
            if rows or self.position == after:
                return rows
            await asyncio.sleep(0)  # what was there is of other leases
        return []

    async def settle(self, settlement: Settlement) -> None:
        position = self.position
        await self._log.settle(self, settlement)
        self._settled_to = position

    async def held(self) -> Sequence[HeldRecord]:
        return self._log.held(self.connection, self.partitions)

    async def replays(self) -> Sequence[tuple[DeadLetter, StoredBatch]]:
        return self._log.replays(self.connection, self.partitions)
