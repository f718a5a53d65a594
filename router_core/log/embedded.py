"""The log's default engine: one folder, shared by the process that appends and the one that delivers.

log/00000000000000000001-….log   the batches, see `frames` (appending process writes)
log/erasures                     grows by a byte with each erasure, so that readers forget what they have in memory
seen/…                           request keys of the last day (appending process writes)
cursors.db                       positions and held records (delivering process writes)
dead_letters.db                  dead letters (delivering process and command line write)
quarantine/                      damaged files
reserve                          room for deliveries when the disk is full
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

from router_core.errors import LogError, LogFull
from router_core.log.appender import Appender
from router_core.log.commit import GroupCommit, in_transaction
from router_core.log.cursors import Cursors
from router_core.log.cursors import forget as forget_held
from router_core.log.erasure import Pace, erase
from router_core.log.files import erase_rows, open_database
from router_core.log.lease import POLL_EVERY, EmbeddedLease
from router_core.log.letters import Letters, bodies
from router_core.log.letters import forget as forget_letters
from router_core.log.port import (
    PARTITIONS,
    ConnectionStats,
    DeadLetter,
    EventLog,
    HeldRecord,
    LogStats,
    NewBatch,
    Settlement,
    StoredBatch,
)
from router_core.log.room import RESERVE_BYTES, Room
from router_core.log.seen import Seen
from router_core.log.segments import Segments
from router_core.log.writer import SegmentWriter

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
    ) -> None:
        self._folder = folder
        self._room = Room(folder, max_bytes=max_bytes, reserve_bytes=reserve_bytes, free_bytes=free_bytes)
        self._retention = retention
        self._segment_bytes = min(segment_bytes, max(max_bytes // 8, 64 * 1024))
        self._now = now
        self._segments = Segments(folder / "log", folder / "quarantine")
        self._seen = Seen(folder / "seen", deduplicate_for, now)
        self._appender: Appender | None = None
        self._closed = False
        self._settles: GroupCommit[Callable[[], None], None] | None = None
        self._connections: dict[str, str] = {}
        self._head = 0
        self._head_totals: Mapping[str, int] = {}
        self._grown = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="erase")
        self._refreshed = -_REFRESH_EVERY

    async def open(self, inputs: Collection[str], connections: Mapping[str, str]) -> None:
        self._check_folder()
        try:
            self._segments.check()
        except OSError as error:
            raise LogError(f"cannot read the event log in {self._folder}: {error.strerror}") from error
        self._connections = dict(connections)
        try:
            self._open_precious()
        except LogError as error:
            if not self._room.give_up_reserve_for(error):
                raise
            self._open_precious()
        self._settles = GroupCommit(
            in_transaction(self._cursors.connection, self._change_cursors), failed=self._room.give_up_reserve_for
        )
        try:
            self._look()
            if inputs or connections:
                self._cursors.register(
                    connections, self._head, self._head_totals, lambda name: self._segments.total_at(0, name) or 0
                )
        except BaseException as error:
            await self.close()
            if isinstance(error, (sqlite3.Error, OSError)):
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
        if self._appender is None:
            self._appender = self._start_appending()
        return await self._appender.append(batches)

    def _start_appending(self) -> Appender:
        if self._closed:
            raise LogError("the event log is closed")
        try:
            writer = self._open_writer()
        except (sqlite3.OperationalError, OSError) as error:
            raise LogFull(f"the event log cannot be written now: {error}") from error
        appender = Appender(
            writer,
            self._segments,
            self._seen,
            self._room,
            self._cursors,
            connections=self._connections,
            retention=self._retention,
            now=self._now,
            grown=self._appended,
        )
        self._head, self._head_totals = appender.head, appender.totals
        self._grown.set()
        return appender

    def _open_writer(self) -> SegmentWriter:
        """Positions are never given twice, whatever files were damaged or lost: letters and held records name them."""
        through = self._seen.open()
        seq, totals = self._cursors.furthest()
        writer = SegmentWriter(
            self._segments, self._segment_bytes, max(seq, through, self._letters.furthest(), self._head), totals
        )
        try:
            self._segments.refresh()
            self._seen.recall(writer.keys_after, writer.seq)
        except BaseException:
            writer.close()
            raise
        return writer

    def _appended(self) -> None:
        assert self._appender is not None
        self._head, self._head_totals = self._appender.head, self._appender.totals
        self._grown.set()

    # --- reading ---

    def lease(self, connection: str, partitions: range) -> EmbeddedLease:
        positions = self._cursors.positions(connection, partitions)
        return EmbeddedLease(self, connection, self._connections[connection], partitions, positions)

    def _look(self) -> None:
        """Find out how far the log goes; another process may be appending."""
        if self._appender is not None:
            return  # it keeps the head; the file itself may be ahead of what is durable
        now = time.monotonic()
        if now - self._refreshed > _REFRESH_EVERY:  # in case the folder's time of change says nothing here
            self._refreshed = now
            self._segments.refresh()
        else:
            self._segments.refresh_if_changed()
        head, totals = self._segments.head()
        if head > self._head:
            self._head, self._head_totals = head, totals
            self._grown.set()

    async def _watch_growth(self) -> None:
        while self._appender is None:
            await asyncio.sleep(POLL_EVERY)
            with suppress(OSError):  # no file handles left, mostly; passes
                self._look()

    async def grown_beyond(self, seq: int, wait: float) -> bool:
        """Wait up to `wait` seconds until the log goes beyond `seq`."""
        if self._appender is None and self._watch is None:
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
        head, head_total = self._head, self._head_totals.get(source, 0)
        low, high = partitions.start, partitions.stop
        rows: list[StoredBatch] = []
        records = scanned = 0
        for some in self._segments.after(after):
            for row in some:
                if row.seq > head:
                    break
                if row.input != source or not low <= row.user % PARTITIONS < high:
                    continue
                if settled is not None and row.seq <= settled[row.user % PARTITIONS]:
                    continue
                if records + row.records > max_records and (rows or not oversize):
                    return rows, (rows[-1].seq if rows else after), (rows[-1].total if rows else total)
                rows.append(row)
                records += row.records
            scanned += len(some)
            if scanned > _SCAN_LIMIT and some[-1].seq < head:
                return rows, some[-1].seq, (rows[-1].total if rows else total)
        return rows, max(head, after), head_total

    async def fetch(self, seqs: Collection[int]) -> Mapping[int, StoredBatch]:
        self._segments.refresh_if_changed()
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

    async def erase(self, is_theirs: Callable[[bytes], bool]) -> int:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._erase, is_theirs, self._segments.durable)
        finally:
            self._segments.forget_rows()

    def _erase(self, is_theirs: Callable[[bytes], bool], durable: tuple[int, int] | None) -> int:
        held, parked = self._folder / "cursors.db", self._folder / "dead_letters.db"
        pace = Pace()
        try:
            with closing(open_database(parked, create=False)) as connection:  # without a lock: there may be many
                letters = {seq for seq, body in bodies(connection) if pace.asked(is_theirs, body)}
            if letters:
                erase_rows(parked, lambda connection: forget_letters(connection, letters))

            def forget(seqs: Collection[int]) -> None:
                erase_rows(held, lambda connection: forget_held(connection, seqs))

            batches = erase(self._segments.folder, self._segments.quarantine, is_theirs, durable, forget, pace)
        except sqlite3.Error as error:
            raise LogError(f"not all is erased yet: {error}. Erase once more.") from error
        return len(letters | batches)

    async def stats(self) -> LogStats:
        with suppress(OSError):
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
                oldest_ms=self._segments.oldest_after(at.keep_after, source, name) if waiting or at.held else None,
                held=at.held,
                letters=letters.get(name, 0),
            )
        return LogStats(
            head=self._head,
            bytes=self._segments.bytes(),
            full=self._appender is not None and self._appender.full,
            damaged=len(self._segments.damaged()),
            connections=connections,
        )

    async def close(self) -> None:
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._appender is not None:
            await self._appender.close()
        if self._settles is not None:
            await self._settles.close()
        await self._seen.close()
        self._thread.shutdown()
        self._segments.close()
        if self._settles is not None:
            self._cursors.close()
            self._letters.close()
