"""The log in memory: for tests, and for trying the router out without a disk. What it holds ends with the process."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from router_core.errors import LogError, LogFull
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

_ROW_BYTES = 64
_REPLAYS_AT_ONCE = 500


@dataclass
class _Cursors:
    """How far one connection has come."""

    input: str
    positions: list[int]
    held: dict[str, HeldRecord] = field(default_factory=dict)
    """By record id, in the order in which they were first held."""

    @property
    def keep_after(self) -> int:
        """Batches after this position are still needed."""
        oldest_held = min((record.seq for record in self.held.values()), default=None)
        behind = min(self.positions)
        return behind if oldest_held is None else min(behind, oldest_held - 1)


class MemoryLog(EventLog):
    """See `EventLog`. `max_bytes` bounds the batches kept; `deduplicate_for` is in seconds.

    It can be opened again after `close`, as if the process had started anew on what is durable.
    """

    def __init__(
        self,
        *,
        max_bytes: int = 64 * 1024**2,
        deduplicate_for: float = 86_400.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._max_bytes = max_bytes
        self._deduplicate_for = deduplicate_for
        self._now = now
        self._batches: list[StoredBatch] = []
        self._bytes = 0
        self._head = 0
        self._totals: dict[str, int] = {}
        self._keys: dict[bytes, float] = {}
        """Request key to the time of its append, oldest first."""
        self._cursors: dict[str, _Cursors] = {}
        self._letters: dict[int, tuple[DeadLetter, StoredBatch]] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        """(connection, record id) to the number of its letter."""
        self._last_letter = 0
        self._connections: dict[str, str] = {}
        self._grown = asyncio.Event()
        self._full = False
        self._open = False

    async def open(self, inputs: Collection[str], connections: Mapping[str, str]) -> None:
        self._connections = dict(connections)
        for name, source in connections.items():
            if name not in self._cursors or self._cursors[name].input != source:
                self._cursors[name] = _Cursors(source, [self._head] * PARTITIONS)
        self._open = True

    async def close(self) -> None:
        self._open = False

    # --- appending ---

    async def append(self, batches: Sequence[NewBatch]) -> Sequence[bool]:
        if not self._open:
            raise LogError("the event log is closed")
        self._require_room()
        now = self._now()
        self._forget_keys(now - self._deduplicate_for)
        flags = [self._append(batch, now) for batch in batches]
        self._grown.set()
        return flags

    def _append(self, new: NewBatch, now: float) -> bool:
        if new.request_key is not None:
            if new.request_key in self._keys:
                return False
            self._keys[new.request_key] = now
        self._head += 1
        total = self._totals[new.input] = self._totals.get(new.input, 0) + new.records
        self._batches.append(
            StoredBatch(self._head, new.input, new.user, new.records, total, int(now * 1000), new.headers, new.body)
        )
        self._bytes += _size(self._batches[-1])
        return True

    def _forget_keys(self, before: float) -> None:
        while self._keys and (oldest := next(iter(self._keys.items())))[1] < before:
            del self._keys[oldest[0]]

    def _require_room(self) -> None:
        """Give up delivered batches when the limit is reached, and raise `LogFull` if that is not enough."""
        if self._bytes > self._max_bytes:
            needed_after = min((self._cursors[name].keep_after for name in self._connections), default=self._head)
            gone = self._index_after(needed_after)
            self._bytes -= sum(map(_size, self._batches[:gone]))
            del self._batches[:gone]
        self._full = self._bytes > self._max_bytes
        if self._full:
            raise LogFull("the event log is full: deliveries are behind")

    # --- reading ---

    def lease(self, connection: str, partitions: range) -> MemoryLease:
        return MemoryLease(self, connection, self._cursors[connection], partitions)

    def after(self, seq: int) -> Iterator[StoredBatch]:
        """Kept batches after a position."""
        for index in range(self._index_after(seq), len(self._batches)):
            yield self._batches[index]

    def _index_after(self, seq: int) -> int:
        return bisect_right(self._batches, seq, key=lambda batch: batch.seq)

    @property
    def head(self) -> int:
        """`seq` of the newest batch."""
        return self._head

    async def grown_beyond(self, seq: int, wait: float) -> bool:
        """Wait up to `wait` seconds until the log goes beyond `seq`."""
        if self._head <= seq and wait > 0:
            self._grown.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._grown.wait()
            except TimeoutError:
                pass
        return self._head > seq

    async def fetch(self, seqs: Collection[int]) -> Mapping[int, StoredBatch]:
        found = (next(self.after(seq - 1), None) for seq in seqs)
        return {batch.seq: batch for batch in found if batch is not None and batch.seq in seqs}

    async def seek(self, connection: str, seq: int) -> None:
        self._cursors[connection].positions = [min(max(seq, 0), self._head)] * PARTITIONS

    # --- dead letters ---

    def park(self, letters: Sequence[tuple[DeadLetter, StoredBatch]]) -> None:
        """Add letters; one that is there already is renewed."""
        for letter, batch in letters:
            number = self._numbers.get((letter.connection, letter.record_id))
            attempts = letter.attempts
            if number is None:
                number = self._last_letter = self._last_letter + 1
                self._numbers[letter.connection, letter.record_id] = number
            else:
                known, _ = self._letters[number]
                tried_again = known.parked_at_ms == letter.parked_at_ms  # the settlement, not the delivery
                attempts = known.attempts if tried_again else known.attempts + attempts
            self._letters[number] = (msgspec.structs.replace(letter, attempts=attempts, replaying=False), batch)

    def unpark(self, connection: str, record_ids: Collection[str]) -> None:
        """Delete letters whose replay ended well."""
        for record_id in record_ids:
            if (number := self._numbers.get((connection, record_id))) is not None:
                self._delete(number)

    def _delete(self, number: int) -> None:
        letter, _ = self._letters.pop(number)
        del self._numbers[letter.connection, letter.record_id]

    def replays(self, connection: str, partitions: range) -> Sequence[tuple[DeadLetter, StoredBatch]]:
        """Letters to deliver again, a bounded number at once."""
        found = [
            (letter, batch)
            for letter, batch in self._letters.values()
            if letter.replaying and letter.connection == connection and partition_of(letter.user) in partitions
        ]
        return sorted(found, key=lambda pair: pair[0].seq)[:_REPLAYS_AT_ONCE]

    async def letters(
        self, connection: str | None = None, *, after: int = 0, limit: int = 100
    ) -> Sequence[tuple[int, DeadLetter]]:
        found = [(number, self._letters[number][0]) for number in self._chosen(None, connection) if number > after]
        return found[:limit]

    async def letter(self, number: int) -> tuple[DeadLetter, StoredBatch] | None:
        return self._letters.get(number)

    async def replay_letters(self, numbers: Collection[int] | None, connection: str | None = None) -> int:
        chosen = self._chosen(numbers, connection)
        for number in chosen:
            letter, batch = self._letters[number]
            self._letters[number] = (msgspec.structs.replace(letter, replaying=True), batch)
        return len(chosen)

    async def drop_letters(self, numbers: Collection[int] | None, connection: str | None = None) -> int:
        chosen = self._chosen(numbers, connection)
        for number in chosen:
            self._delete(number)
        return len(chosen)

    def _chosen(self, numbers: Collection[int] | None, connection: str | None) -> list[int]:
        return [
            number
            for number, (letter, _) in self._letters.items()
            if (numbers is None or number in numbers) and connection in (None, letter.connection)
        ]

    # --- the whole ---

    async def erase(self, is_theirs: Callable[[bytes], bool]) -> int:
        erased: set[int] = set()
        for index, batch in enumerate(self._batches):
            if batch.body and is_theirs(batch.body):
                self._batches[index] = msgspec.structs.replace(batch, body=b"", headers=b"")
                erased.add(batch.seq)
        for cursors in self._cursors.values():
            cursors.held = {name: record for name, record in cursors.held.items() if record.seq not in erased}
        for number in [number for number, (_, batch) in self._letters.items() if batch.body and is_theirs(batch.body)]:
            erased.add(self._letters[number][0].seq)
            self._delete(number)
        return len(erased)

    async def stats(self) -> LogStats:
        return LogStats(
            head=self._head,
            bytes=self._bytes,
            full=self._full,
            damaged=0,
            connections={name: self._stats_of(name) for name in self._connections},
        )

    def _stats_of(self, name: str) -> ConnectionStats:
        cursors = self._cursors[name]
        first, oldest = (
            next((batch for batch in self.after(seq) if batch.input == cursors.input), None)
            for seq in (min(cursors.positions), cursors.keep_after)
        )
        waiting = self._totals[first.input] - first.total + first.records if first is not None else 0
        return ConnectionStats(
            depth=waiting + len(cursors.held),
            oldest_ms=oldest.received_at_ms if oldest is not None else None,
            held=len(cursors.held),
            letters=len(self._chosen(None, name)),
        )


class MemoryLease(Lease):
    """See `Lease`."""

    def __init__(self, log: MemoryLog, connection: str, cursors: _Cursors, partitions: range) -> None:
        self._log = log
        self._connection = connection
        self._cursors = cursors
        self._partitions = partitions
        self._settled = list(cursors.positions)
        self._position = self._settled_to = min(self._settled[partition] for partition in partitions)

    @property
    def unsettled(self) -> bool:
        return self._position > self._settled_to

    async def read(self, max_records: int, wait: float, *, oversize: bool = True) -> Sequence[StoredBatch]:
        until = time.monotonic() + wait
        while await self._log.grown_beyond(self._position, until - time.monotonic()):
            after = self._position
            rows = self._take(max_records, oversize)
            if rows or self._position == after:
                return rows
        return []

    def _take(self, max_records: int, oversize: bool) -> list[StoredBatch]:
        rows: list[StoredBatch] = []
        records = 0
        for batch in self._log.after(self._position):
            if self._is_mine(batch):
                if records + batch.records > max_records and (rows or not oversize):
                    return rows
                rows.append(batch)
                records += batch.records
            self._position = batch.seq
        self._position = self._log.head
        return rows

    def _is_mine(self, batch: StoredBatch) -> bool:
        partition = partition_of(batch.user)
        return (
            batch.input == self._cursors.input
            and partition in self._partitions
            and batch.seq > self._settled[partition]
        )

    async def settle(self, settlement: Settlement) -> None:
        position = self._position
        self._log.park(settlement.letters)
        self._log.unpark(self._connection, settlement.replayed)
        for partition in self._partitions:
            self._cursors.positions[partition] = max(self._cursors.positions[partition], position)
        for record in settlement.held:
            self._cursors.held[record.record_id] = record  # a known id keeps its place in the order
        for record_id in settlement.released:
            self._cursors.held.pop(record_id, None)
        self._settled_to = position

    async def held(self) -> Sequence[HeldRecord]:
        found = [record for record in self._cursors.held.values() if partition_of(record.user) in self._partitions]
        return sorted(found, key=lambda record: record.seq)

    async def replays(self) -> Sequence[tuple[DeadLetter, StoredBatch]]:
        return self._log.replays(self._connection, self._partitions)


def _size(batch: StoredBatch) -> int:
    return len(batch.body) + len(batch.headers) + _ROW_BYTES
