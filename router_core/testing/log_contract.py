"""What every engine of the event log must keep. Inherit `EventLogContract`, say how your log is made, run pytest.

    class TestMyLog(EventLogContract):
        def make_log(self, folder, *, max_bytes, now):
            return MyLog(folder / "log", max_bytes=max_bytes, now=now)

The checks are async and need pytest-asyncio with `asyncio_mode = "auto"`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import pytest

from router_core.errors import LogFull
from router_core.log.port import (
    PARTITIONS,
    ConnectionStats,
    DeadLetter,
    EventLog,
    HeldRecord,
    Lease,
    NewBatch,
    Settlement,
    StoredBatch,
    partition_of,
    user_hash,
)

ALL: Final = range(PARTITIONS)
CONNECTIONS: Final = {"shop_to_a": "shop", "shop_to_b": "shop", "app_to_a": "app"}
_ROOM = 64 * 1024**2


class Clock:
    """Unix seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class LogBench:
    """The log under test, with short ways to say what a test is about."""

    def __init__(self, make: Callable[[], EventLog], reopen: Callable[[EventLog], Awaitable[EventLog]]) -> None:
        self._make = make
        self._reopen = reopen
        self.log = make()

    async def open(self, connections: Mapping[str, str] = CONNECTIONS) -> None:
        await self.log.open(sorted(set(connections.values())), connections)

    async def reopen(self, connections: Mapping[str, str] = CONNECTIONS) -> None:
        """Close in order, and open what is durable again."""
        self.log = await self._reopen(self.log)
        await self.open(connections)

    async def accept(self, *users: int, records: int = 1, source: str = "shop") -> list[str]:
        """Append a batch for each user, one append each. Returns their bodies."""
        bodies = []
        for user in users:
            batch = new_batch(user, records=records, source=source)
            assert list(await self.log.append([batch])) == [True]
            bodies.append(batch.body.decode())
        return bodies

    def lease(self, connection: str = "shop_to_a", partitions: range = ALL) -> Lease:
        return self.log.lease(connection, partitions)

    async def waiting(self, connection: str = "shop_to_a", partitions: range = ALL) -> list[StoredBatch]:
        """All that a new lease reads."""
        return await read_all(self.lease(connection, partitions))

    async def take(self, connection: str = "shop_to_a", partitions: range = ALL) -> list[StoredBatch]:
        """Read all and settle it as delivered."""
        lease = self.lease(connection, partitions)
        rows = await read_all(lease)
        await lease.settle(Settlement())
        return rows

    async def stats(self, connection: str = "shop_to_a") -> ConnectionStats:
        return (await self.log.stats()).connections[connection]

    async def park(self, *users: int, connection: str = "shop_to_a") -> list[DeadLetter]:
        """Accept a batch for each user and let it end as a dead letter."""
        await self.accept(*users)
        lease = self.lease(connection)
        letters = [(dead_letter(row, connection), row) for row in await read_all(lease)]
        await lease.settle(Settlement(letters=letters))
        return [letter for letter, _ in letters]

    async def letter_numbers(self, connection: str | None = None) -> list[int]:
        return [number for number, _ in await self.log.letters(connection)]


_count = iter(range(10**9))


def new_batch(
    user: int, *, records: int = 1, source: str = "shop", key: bytes | None = None, body: bytes | None = None
) -> NewBatch:
    """A batch whose body says whose it is and differs from all others. The user's number is its partition."""
    text = body if body is not None else b'{"user":%d,"number":%d}' % (user, next(_count))
    return NewBatch(source, user, records, text, b'{"x":"y"}', key)


class InterruptedWalk(Exception):
    """Raised by a test in the middle of an erasure."""


def of_user(user: int) -> Callable[[bytes], bool]:
    """What `EventLog.erase` asks, for a user of `new_batch`."""
    return lambda body: body.startswith(b'{"user":%d,' % user)


def held_record(row: StoredBatch, index: int = 0, *, attempts: int = 1, not_before_ms: int = 0) -> HeldRecord:
    return HeldRecord(
        seq=row.seq, record_id=f"{row.seq}.{index}", user=row.user, not_before_ms=not_before_ms, attempts=attempts,
        code="unavailable", message="try again",
    )  # fmt: skip


def dead_letter(row: StoredBatch, connection: str, index: int = 0, *, parked_at_ms: int = 1) -> DeadLetter:
    return DeadLetter(
        connection=connection, seq=row.seq, record_id=f"{row.seq}.{index}", event_type="custom_event", user=row.user,
        disposition="rejected", code="refused", message="the partner says no", attempts=1,
        received_at_ms=row.received_at_ms, parked_at_ms=parked_at_ms,
    )  # fmt: skip


def bodies(rows: Iterable[StoredBatch]) -> list[str]:
    return [row.body.decode() for row in rows]


def ids(records: Iterable[HeldRecord | DeadLetter]) -> list[str]:
    return [record.record_id for record in records]


async def read_all(lease: Lease, max_records: int = 1000) -> list[StoredBatch]:
    """All that is there, in as many reads as it takes."""
    rows: list[StoredBatch] = []
    while more := await lease.read(max_records, 0.0):
        rows += more
    return rows


async def fill(log: EventLog, size: int = 32 * 1024) -> int:
    """Append until `LogFull`. Returns how many batches were accepted."""
    body = b"x" * size
    for accepted in range(20_000):
        try:
            await log.append([new_batch(accepted % 50, body=body)])
        except LogFull:
            return accepted
    pytest.fail("the log takes more than its limit")


async def append_when_there_is_room(log: EventLog, batch: NewBatch) -> Sequence[bool]:
    """Try for some seconds, as a sender with a back-off does."""
    for _ in range(100):
        try:
            return await log.append([batch])
        except LogFull:
            await asyncio.sleep(0.05)
    pytest.fail("the log stays full")


class EventLogContract(ABC):
    """One check per promise of `router_core.log.port`."""

    max_bytes_when_small = 512 * 1024

    @abstractmethod
    def make_log(self, folder: Path, *, max_bytes: int, now: Callable[[], float]) -> EventLog:
        """A log that is not open yet, on what is kept in the folder."""

    async def reopen_log(self, log: EventLog, make: Callable[[], EventLog]) -> EventLog:
        """End `log` in order, and give one that goes on from what is durable, not open yet."""
        await log.close()
        return make()

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    async def empty(self, tmp_path: Path, clock: Clock) -> AsyncIterator[LogBench]:
        """Not open yet."""
        bench = self._bench(tmp_path, clock, _ROOM)
        yield bench
        await bench.log.close()

    @pytest.fixture
    async def bench(self, empty: LogBench) -> LogBench:
        await empty.open()
        return empty

    @pytest.fixture
    async def small(self, tmp_path: Path, clock: Clock) -> AsyncIterator[LogBench]:
        """Full after a few batches of `fill`."""
        bench = self._bench(tmp_path, clock, self.max_bytes_when_small)
        await bench.open()
        yield bench
        await bench.log.close()

    def _bench(self, folder: Path, clock: Clock, max_bytes: int) -> LogBench:
        def make() -> EventLog:
            return self.make_log(folder, max_bytes=max_bytes, now=clock)

        return LogBench(make, lambda log: self.reopen_log(log, make))

    # --- what is accepted is read, in order ---

    async def test_a_batch_is_read_as_it_was_accepted(self, bench: LogBench, clock: Clock) -> None:
        await bench.log.append([NewBatch("shop", 7, 3, b"body", b"headers", b"key")])
        (row,) = await bench.waiting()
        assert (row.input, row.user, row.records, row.body, row.headers) == ("shop", 7, 3, b"body", b"headers")
        assert row.received_at_ms == int(clock.now * 1000)
        assert row.total == 3

    async def test_totals_count_the_records_of_each_input(self, bench: LogBench) -> None:
        await bench.accept(1, 2, records=5)
        await bench.accept(1, records=7, source="app")
        await bench.accept(3, records=1)
        assert [row.total for row in await bench.waiting()] == [5, 10, 11]
        assert [row.total for row in await bench.waiting("app_to_a")] == [7]

    async def test_batches_are_read_in_the_order_of_their_acceptance(self, bench: LogBench) -> None:
        accepted = await bench.accept(*[number % 7 for number in range(50)])
        rows = await bench.waiting()
        assert bodies(rows) == accepted
        assert [row.seq for row in rows] == sorted({row.seq for row in rows})

    async def test_batches_of_one_append_keep_their_order(self, bench: LogBench) -> None:
        batches = [new_batch(5) for _ in range(10)]
        assert list(await bench.log.append(batches)) == [True] * 10
        assert bodies(await bench.waiting()) == [batch.body.decode() for batch in batches]

    async def test_appends_of_many_senders_are_each_read_once(self, bench: LogBench) -> None:
        batches = [new_batch(number % 64) for number in range(300)]
        await asyncio.gather(*(bench.log.append([batch]) for batch in batches))
        assert sorted(bodies(await bench.waiting())) == sorted(batch.body.decode() for batch in batches)

    async def test_an_append_of_nothing_is_accepted(self, bench: LogBench) -> None:
        assert list(await bench.log.append([])) == []
        assert await bench.waiting() == []

    async def test_a_connection_reads_its_input_only(self, bench: LogBench) -> None:
        shop = await bench.accept(1, 2)
        app = await bench.accept(1, 2, source="app")
        assert bodies(await bench.waiting("shop_to_a")) == shop
        assert bodies(await bench.waiting("app_to_a")) == app

    async def test_a_lease_reads_its_partitions_only(self, bench: LogBench) -> None:
        await bench.accept(0, 15, 16, 31, 32, 63)
        assert [row.user for row in await bench.waiting(partitions=range(16, 32))] == [16, 31]

    async def test_a_user_is_always_in_the_same_partition(self, bench: LogBench) -> None:
        users = [user_hash(name) for name in ("ann", "bob", "zoë", "\ud800")]
        assert users == [user_hash(name) for name in ("ann", "bob", "zoë", "\ud800")]
        assert len(set(users)) == 4
        await bench.accept(*users)
        for user in users:
            partition = partition_of(user)
            rows = await bench.waiting(partitions=range(partition, partition + 1))
            assert user in [row.user for row in rows]

    async def test_what_is_accepted_survives_a_restart(self, bench: LogBench) -> None:
        accepted = await bench.accept(1, 2, 3)
        await bench.reopen()
        accepted += await bench.accept(4)
        assert bodies(await bench.waiting()) == accepted

    async def test_positions_go_on_rising_after_a_restart(self, bench: LogBench) -> None:
        await bench.accept(1, 2, 3)
        await bench.take()
        before = (await bench.log.stats()).head
        await bench.reopen()
        await bench.accept(1)
        (row,) = await bench.waiting()
        assert row.seq > before
        assert row.total == 4

    # --- reading ---

    async def test_read_gives_as_many_batches_as_fit(self, bench: LogBench) -> None:
        await bench.accept(1, 2, 3, 4, 5, records=4)
        lease = bench.lease()
        assert [len(await lease.read(9, 0.0)) for _ in range(4)] == [2, 2, 1, 0]

    async def test_a_batch_larger_than_the_read_comes_alone(self, bench: LogBench) -> None:
        await bench.accept(1, records=100)
        await bench.accept(2)
        lease = bench.lease()
        assert [row.user for row in await lease.read(10, 0.0)] == [1]
        assert [row.user for row in await lease.read(10, 0.0)] == [2]

    async def test_a_batch_larger_than_the_read_waits_if_the_caller_has_others(self, bench: LogBench) -> None:
        await bench.accept(1)
        await bench.accept(2, records=100)
        lease = bench.lease()
        assert [row.user for row in await lease.read(10, 0.0)] == [1]
        assert await lease.read(9, 0.05, oversize=False) == []
        assert [row.user for row in await lease.read(10, 0.0)] == [2]

    async def test_a_batch_that_does_not_fit_is_not_settled_with_those_before_it(self, bench: LogBench) -> None:
        await bench.accept(1)
        await bench.accept(2, records=100)
        lease = bench.lease()
        await lease.read(10, 0.0)
        await lease.read(9, 0.0, oversize=False)
        await lease.settle(Settlement())
        assert [row.user for row in await bench.waiting()] == [2]

    async def test_read_returns_nothing_when_the_wait_is_over(self, bench: LogBench) -> None:
        assert await bench.lease().read(10, 0.02) == []

    async def test_read_wakes_when_a_batch_is_accepted(self, bench: LogBench) -> None:
        reading = asyncio.create_task(bench.lease().read(10, 30.0))
        await asyncio.sleep(0.01)
        accepted = await bench.accept(1)
        assert bodies(await reading) == accepted

    async def test_every_waiting_lease_wakes(self, bench: LogBench) -> None:
        leases = [bench.lease("shop_to_a"), bench.lease("shop_to_b")]
        reading = [asyncio.create_task(lease.read(10, 30.0)) for lease in leases]
        await asyncio.sleep(0.01)
        accepted = await bench.accept(1)
        assert [bodies(rows) for rows in await asyncio.gather(*reading)] == [accepted, accepted]

    async def test_a_batch_of_another_lease_does_not_end_the_wait(self, bench: LogBench) -> None:
        reading = asyncio.create_task(bench.lease(partitions=range(32)).read(10, 30.0))
        await asyncio.sleep(0.01)
        await bench.accept(50)
        await bench.accept(1, source="app")
        await asyncio.sleep(0.05)
        assert not reading.done()
        accepted = await bench.accept(5)
        assert bodies(await reading) == accepted

    async def test_a_cancelled_read_loses_nothing(self, bench: LogBench) -> None:
        lease = bench.lease()
        reading = asyncio.create_task(lease.read(10, 30.0))
        await asyncio.sleep(0.01)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        accepted = await bench.accept(1)
        assert bodies(await lease.read(10, 5.0)) == accepted

    async def test_reading_alone_settles_nothing(self, bench: LogBench) -> None:
        accepted = await bench.accept(1, 2)
        assert bodies(await bench.waiting()) == accepted
        assert bodies(await bench.waiting()) == accepted
        await bench.reopen()
        assert bodies(await bench.waiting()) == accepted

    # --- settling ---

    async def test_what_is_settled_does_not_come_back(self, bench: LogBench) -> None:
        await bench.accept(1, 2, 3)
        assert len(await bench.take()) == 3
        assert await bench.waiting() == []
        await bench.reopen()
        assert await bench.waiting() == []
        accepted = await bench.accept(4)
        assert bodies(await bench.waiting()) == accepted

    async def test_what_was_read_after_the_last_settlement_comes_back(self, bench: LogBench) -> None:
        accepted = await bench.accept(1, 2, 3, 4)
        lease = bench.lease()
        await lease.read(2, 0.0)
        await lease.settle(Settlement())
        await lease.read(2, 0.0)
        await bench.reopen()
        assert bodies(await bench.waiting()) == accepted[2:]

    async def test_a_settlement_covers_what_was_read_when_it_began(self, bench: LogBench) -> None:
        accepted = await bench.accept(1, 2)
        lease = bench.lease()
        await lease.read(1, 0.0)
        settling = asyncio.create_task(lease.settle(Settlement()))
        await asyncio.sleep(0)
        await lease.read(1, 0.0)
        await settling
        assert lease.unsettled
        assert bodies(await bench.waiting()) == accepted[1:]

    async def test_a_lease_knows_whether_it_has_read_further_than_it_settled(self, bench: LogBench) -> None:
        lease = bench.lease(partitions=range(32))
        unsettled = [lease.unsettled]
        await bench.accept(1)
        await lease.read(10, 0.0)
        unsettled.append(lease.unsettled)
        await lease.settle(Settlement())
        unsettled.append(lease.unsettled)
        await bench.accept(50)
        assert await lease.read(10, 0.0) == []
        unsettled.append(lease.unsettled)  # it went past a batch of another lease
        assert unsettled == [False, True, False, True]

    async def test_connections_do_not_disturb_each_other(self, bench: LogBench) -> None:
        accepted = await bench.accept(1, 2)
        assert bodies(await bench.take("shop_to_a")) == accepted
        assert bodies(await bench.waiting("shop_to_b")) == accepted
        await bench.reopen()
        assert await bench.waiting("shop_to_a") == []
        assert bodies(await bench.waiting("shop_to_b")) == accepted

    async def test_leases_of_one_connection_settle_for_themselves(self, bench: LogBench) -> None:
        low, high = await bench.accept(1, 50)
        assert bodies(await bench.take(partitions=range(32))) == [low]
        assert bodies(await bench.waiting(partitions=range(32, 64))) == [high]

    async def test_settlements_at_the_same_time_are_all_kept(self, bench: LogBench) -> None:
        await bench.accept(*range(64))
        leases = [bench.lease(name, range(i, i + 8)) for name in ("shop_to_a", "shop_to_b") for i in range(0, 64, 8)]
        for lease in leases:
            assert len(await read_all(lease)) == 8
        await asyncio.gather(*(lease.settle(Settlement()) for lease in leases))
        await bench.reopen()
        assert await bench.waiting("shop_to_a") == []
        assert await bench.waiting("shop_to_b") == []

    async def test_lanes_cut_in_another_way_lose_nothing_and_repeat_nothing(self, bench: LogBench) -> None:
        accepted = await bench.accept(*[number * 11 % 64 for number in range(64)])
        settled: list[str] = []
        for lanes, limit in [
            ([range(64)], 5),
            ([range(22), range(22, 43), range(43, 64)], 4),
            ([range(32), range(32, 64)], 6),
            ([range(64)], 7),
            ([range(16), range(16, 64)], 1000),
        ]:
            for number, lane in enumerate(lanes):
                lease = bench.lease(partitions=lane)
                for _ in range(1 + 2 * number):  # lanes come differently far
                    settled += bodies(await lease.read(limit, 0.0))
                    await lease.settle(Settlement())
                await lease.read(limit, 0.0)  # under way when the router ends
            await bench.reopen()
        settled += bodies(await bench.waiting())
        assert sorted(settled) == sorted(accepted)

    async def test_a_slow_partition_does_not_take_the_others_back(self, bench: LogBench) -> None:
        slow, *_ = await bench.accept(50, 1, 2, 3)
        await bench.take(partitions=range(32))
        lease = bench.lease()
        assert bodies(await lease.read(1, 0.0)) == [slow]
        await lease.settle(Settlement())
        assert await bench.waiting() == []

    # --- new connections ---

    async def test_a_new_connection_starts_at_the_end(self, bench: LogBench) -> None:
        old = await bench.accept(1, 2)
        more = {**CONNECTIONS, "shop_to_new": "shop"}
        await bench.reopen(more)
        assert await bench.waiting("shop_to_new") == []
        assert (await bench.stats("shop_to_new")).depth == 0
        new = await bench.accept(3)
        assert bodies(await bench.waiting("shop_to_new")) == new
        assert bodies(await bench.waiting("shop_to_a")) == old + new

    async def test_the_first_connection_misses_nothing_of_an_empty_log(self, bench: LogBench) -> None:
        accepted = await bench.accept(1)
        assert bodies(await bench.waiting()) == accepted

    async def test_a_connection_with_another_input_starts_at_its_end(self, bench: LogBench) -> None:
        await bench.accept(1)
        await bench.accept(1, source="app")
        moved = {**CONNECTIONS, "shop_to_a": "app"}
        await bench.reopen(moved)
        assert await bench.waiting("shop_to_a") == []
        new = await bench.accept(2, source="app")
        assert bodies(await bench.waiting("shop_to_a")) == new
        await bench.reopen(moved)
        assert bodies(await bench.waiting("shop_to_a")) == new

    # --- duplicates ---

    async def test_a_request_key_is_accepted_once(self, bench: LogBench) -> None:
        assert list(await bench.log.append([new_batch(1, key=b"k")])) == [True]
        assert list(await bench.log.append([new_batch(1, key=b"k")])) == [False]
        assert list(await bench.log.append([new_batch(1, key=b"other")])) == [True]
        assert len(await bench.waiting()) == 2

    async def test_of_two_with_one_key_in_one_append_the_first_is_accepted(self, bench: LogBench) -> None:
        first, second, other = new_batch(1, key=b"k"), new_batch(1, key=b"k"), new_batch(1)
        assert list(await bench.log.append([first, second, other])) == [True, False, True]
        assert bodies(await bench.waiting()) == [first.body.decode(), other.body.decode()]

    async def test_of_concurrent_appends_with_one_key_one_is_accepted(self, bench: LogBench) -> None:
        flags = await asyncio.gather(*(bench.log.append([new_batch(1, key=b"k")]) for _ in range(20)))
        assert sorted(flag for (flag,) in flags) == [False] * 19 + [True]
        assert len(await bench.waiting()) == 1

    async def test_batches_without_a_key_are_never_duplicates(self, bench: LogBench) -> None:
        assert list(await bench.log.append([new_batch(1, body=b"same"), new_batch(1, body=b"same")])) == [True, True]

    async def test_keys_are_remembered_over_a_restart(self, bench: LogBench) -> None:
        await bench.log.append([new_batch(1, key=b"%d" % number) for number in range(700)])
        await bench.reopen()
        again = await bench.log.append([new_batch(1, key=b"%d" % number) for number in range(701)])
        assert list(again) == [False] * 700 + [True]

    async def test_a_key_of_a_delivered_batch_is_still_a_duplicate(self, bench: LogBench) -> None:
        await bench.log.append([new_batch(1, key=b"k")])
        for name in CONNECTIONS:
            await bench.take(name)
        assert list(await bench.log.append([new_batch(1, key=b"k")])) == [False]

    async def test_an_append_that_failed_kept_nothing_and_remembers_no_key(self, small: LogBench) -> None:
        accepted = await fill(small.log)
        with pytest.raises(LogFull):
            await small.log.append([new_batch(1, key=b"k"), new_batch(1)])
        assert len(await small.take("shop_to_a")) == accepted
        await small.take("shop_to_b")
        await small.take("app_to_a")
        assert list(await append_when_there_is_room(small.log, new_batch(1, key=b"k"))) == [True]
        assert len(await small.waiting()) == 1

    # --- held records ---

    async def test_held_records_come_back_in_order_with_their_attempts(self, bench: LogBench) -> None:
        await bench.accept(1, 2, 1, records=3)
        lease = bench.lease()
        one, two, three = await read_all(lease)
        held = [
            held_record(one, 2, attempts=4, not_before_ms=123),
            held_record(one, 1, attempts=0),
            held_record(two, 0, attempts=1),
            held_record(three, 0, attempts=0),
        ]
        await lease.settle(Settlement(held=held))
        assert list(await bench.lease().held()) == held
        await bench.reopen()
        assert list(await bench.lease().held()) == held
        assert await bench.waiting() == []

    async def test_a_record_held_again_keeps_its_place(self, bench: LogBench) -> None:
        await bench.accept(1, records=3)
        lease = bench.lease()
        (row,) = await read_all(lease)
        await lease.settle(Settlement(held=[held_record(row, index) for index in (0, 1, 2)]))
        await lease.settle(Settlement(held=[held_record(row, 0, attempts=2, not_before_ms=99)]))
        held = await bench.lease().held()
        assert ids(held) == [f"{row.seq}.{index}" for index in (0, 1, 2)]
        assert (held[0].attempts, held[0].not_before_ms) == (2, 99)

    async def test_released_records_go(self, bench: LogBench) -> None:
        await bench.accept(1, records=2)
        lease = bench.lease()
        (row,) = await read_all(lease)
        await lease.settle(Settlement(held=[held_record(row, 0), held_record(row, 1)]))
        await lease.settle(Settlement(released=[f"{row.seq}.0", "unknown"]))
        assert ids(await bench.lease().held()) == [f"{row.seq}.1"]
        await bench.reopen()
        assert ids(await bench.lease().held()) == [f"{row.seq}.1"]

    async def test_a_lease_gets_the_held_records_of_its_partitions(self, bench: LogBench) -> None:
        await bench.accept(1, 50)
        lease = bench.lease()
        await lease.settle(Settlement(held=[held_record(row) for row in await read_all(lease)]))
        assert [record.user for record in await bench.lease(partitions=range(32)).held()] == [1]
        assert [record.user for record in await bench.lease(partitions=range(32, 64)).held()] == [50]
        assert list(await bench.lease("shop_to_b").held()) == []

    async def test_the_batch_of_a_held_record_can_be_fetched(self, bench: LogBench) -> None:
        await bench.accept(1, 2)
        lease = bench.lease()
        one, two = await read_all(lease)
        await lease.settle(Settlement(held=[held_record(one)]))
        await bench.reopen()
        assert await bench.log.fetch({one.seq, two.seq + 1000}) == {one.seq: one}
        assert await bench.log.fetch(set()) == {}

    async def test_a_full_log_keeps_the_batch_of_a_held_record(self, small: LogBench) -> None:
        await small.accept(1)
        lease = small.lease()
        (first,) = await read_all(lease)
        await lease.settle(Settlement(held=[held_record(first)]))
        await fill(small.log)
        for name in CONNECTIONS:
            await small.take(name)
        for _ in range(6):
            with suppress(LogFull):
                await small.log.append([new_batch(1)])
            await asyncio.sleep(0.06)
        assert first.seq in await small.log.fetch([first.seq])

    # --- dead letters ---

    async def test_letters_are_listed_oldest_first_and_page_by_page(self, bench: LogBench) -> None:
        letters = await bench.park(1, 2, 3)
        listed = await bench.log.letters()
        assert [letter for _, letter in listed] == letters
        assert [number for number, _ in listed] == sorted(number for number, _ in listed)
        assert [letter for _, letter in await bench.log.letters(limit=2)] == letters[:2]
        assert [letter for _, letter in await bench.log.letters(after=listed[0][0])] == letters[1:]
        assert await bench.log.letters("shop_to_b") == []

    async def test_a_letter_has_its_batch_with_it(self, bench: LogBench) -> None:
        (letter,) = await bench.park(1)
        (number,) = await bench.letter_numbers()
        await bench.reopen()
        found = await bench.log.letter(number)
        assert found is not None
        assert found[0] == letter
        assert (found[1].seq, found[1].input, found[1].user) == (letter.seq, "shop", 1)
        assert found[1].body.startswith(b'{"user":1,')
        assert await bench.log.letter(number + 1) is None

    async def test_a_letter_parked_again_is_renewed_not_doubled(self, bench: LogBench) -> None:
        (letter,) = await bench.park(1)
        (number,) = await bench.letter_numbers()
        _, row = await bench.log.letter(number) or pytest.fail("the letter is gone")
        again = msgspec.structs.replace(letter, code="again", parked_at_ms=2)
        await bench.lease().settle(Settlement(letters=[(again, row)]))
        await bench.lease().settle(Settlement(letters=[(again, row)]))  # the same settlement, tried again
        ((same, renewed),) = await bench.log.letters()
        assert same == number
        assert (renewed.code, renewed.attempts) == ("again", 2)

    async def test_letters_of_two_connections_from_one_batch_are_apart(self, bench: LogBench) -> None:
        await bench.accept(1)
        for name in ("shop_to_a", "shop_to_b"):
            lease = bench.lease(name)
            rows = await read_all(lease)
            await lease.settle(Settlement(letters=[(dead_letter(row, name), row) for row in rows]))
        assert await bench.log.drop_letters(None, "shop_to_a") == 1
        (number,) = await bench.letter_numbers("shop_to_b")
        found = await bench.log.letter(number)
        assert found is not None
        assert found[1].body

    async def test_a_letter_comes_to_be_replayed_until_its_replay_ends_well(self, bench: LogBench) -> None:
        (letter, _) = await bench.park(1, 2)
        assert list(await bench.lease().replays()) == []
        (number, _) = await bench.letter_numbers()
        assert await bench.log.replay_letters([number]) == 1
        await bench.reopen()
        ((replayed, row),) = await bench.lease().replays()
        assert replayed == msgspec.structs.replace(letter, replaying=True)
        assert row.seq == letter.seq
        assert row.body
        await bench.lease().settle(Settlement(replayed=[letter.record_id]))
        assert list(await bench.lease().replays()) == []
        assert len(await bench.log.letters()) == 1

    async def test_a_replay_that_is_rejected_again_waits_for_a_person(self, bench: LogBench) -> None:
        await bench.park(1)
        await bench.log.replay_letters(None)
        ((letter, row),) = await bench.lease().replays()
        again = msgspec.structs.replace(letter, parked_at_ms=9)
        await bench.lease().settle(Settlement(letters=[(again, row)]))
        assert list(await bench.lease().replays()) == []
        ((_, listed),) = await bench.log.letters()
        assert not listed.replaying

    async def test_replays_come_to_the_lease_of_their_partition_oldest_first(self, bench: LogBench) -> None:
        await bench.park(50, 1, 2)
        await bench.park(3, connection="shop_to_b")
        assert await bench.log.replay_letters(None, "shop_to_a") == 3
        low = await bench.lease(partitions=range(32)).replays()
        assert [letter.user for letter, _ in low] == [1, 2]
        assert [letter.user for letter, _ in await bench.lease(partitions=range(32, 64)).replays()] == [50]
        assert list(await bench.lease("shop_to_b").replays()) == []

    async def test_letters_are_dropped_by_number_and_by_connection(self, bench: LogBench) -> None:
        await bench.park(1, 2, 3)
        numbers = await bench.letter_numbers()
        assert await bench.log.drop_letters(numbers[:1], "shop_to_b") == 0
        assert await bench.log.drop_letters(numbers[:1]) == 1
        assert await bench.log.drop_letters(numbers[:1]) == 0
        assert await bench.log.drop_letters(None, "shop_to_b") == 0
        assert await bench.log.drop_letters(None) == 2
        assert await bench.log.letters() == []

    async def test_a_dropped_letter_does_not_come_back(self, bench: LogBench) -> None:
        await bench.park(1)
        await bench.log.drop_letters(None)
        assert await bench.log.replay_letters(None) == 0
        await bench.reopen()
        assert await bench.log.letters() == []
        assert await bench.waiting() == []

    # --- erasing and seeking ---

    async def test_erasing_empties_what_waits_and_leaves_other_users_alone(self, bench: LogBench) -> None:
        await bench.accept(1, 2, 1)
        assert await bench.log.erase(of_user(1)) == 2
        assert await bench.log.erase(of_user(1)) == 0
        rows = await bench.waiting()
        assert [(row.user, bool(row.body), bool(row.headers)) for row in rows] == [
            (1, False, False), (2, True, True), (1, False, False),
        ]  # fmt: skip
        await bench.reopen()
        assert await bench.waiting() == rows

    async def test_erasing_removes_held_records_and_letters(self, bench: LogBench) -> None:
        await bench.park(1, 2)
        await bench.accept(1, 2)
        lease = bench.lease()
        await lease.settle(Settlement(held=[held_record(row) for row in await read_all(lease)]))
        await bench.log.erase(of_user(1))
        assert [letter.user for _, letter in await bench.log.letters()] == [2]
        assert [record.user for record in await bench.lease().held()] == [2]
        await bench.reopen()
        assert [letter.user for _, letter in await bench.log.letters()] == [2]
        assert [record.user for record in await bench.lease().held()] == [2]

    async def test_erasing_looks_at_bodies_and_not_at_user_hashes(self, bench: LogBench) -> None:
        stamped, known = new_batch(1, body=b'{"device":"d"}'), new_batch(1, body=b'{"device":"d","name":"ann"}')
        await bench.log.append([stamped, known, new_batch(2, body=b'{"name":"ann"}')])
        assert await bench.log.erase(lambda body: b"ann" in body) == 2
        assert bodies(await bench.waiting()) == ['{"device":"d"}', "", ""]

    async def test_a_walk_that_erases_nobody_sees_every_body(self, bench: LogBench) -> None:
        await bench.park(1)
        accepted = await bench.accept(2, 3)
        seen: list[str] = []

        def look(body: bytes) -> bool:
            seen.append(body.decode())
            return False

        assert await bench.log.erase(look) == 0
        assert set(seen) >= set(accepted)
        assert len(set(seen)) == 3
        assert len(await bench.waiting()) >= 2
        assert len(await bench.log.letters()) == 1

    async def test_a_walk_ends_with_what_it_raises(self, bench: LogBench) -> None:
        await bench.accept(1, 2)

        def stop(body: bytes) -> bool:
            raise InterruptedWalk

        with pytest.raises(InterruptedWalk):
            await bench.log.erase(stop)
        assert all(row.body for row in await bench.waiting())
        assert await bench.log.erase(of_user(1)) == 1

    async def test_an_erased_user_can_send_again(self, bench: LogBench) -> None:
        await bench.accept(1)
        await bench.log.erase(of_user(1))
        accepted = await bench.accept(1)
        assert bodies(await bench.waiting()) == ["", *accepted]

    async def test_seeking_back_reads_again(self, bench: LogBench) -> None:
        accepted = await bench.accept(1, 50, 3)
        rows = await bench.take()
        await bench.log.seek("shop_to_a", rows[0].seq)
        assert bodies(await bench.waiting()) == accepted[1:]
        await bench.reopen()
        assert bodies(await bench.take()) == accepted[1:]
        await bench.log.seek("shop_to_a", 0)
        assert bodies(await bench.waiting()) == accepted

    async def test_seeking_forward_passes_over_what_waits(self, bench: LogBench) -> None:
        accepted = await bench.accept(1, 2, 3)
        rows = await bench.waiting()
        await bench.log.seek("shop_to_a", rows[1].seq)
        assert bodies(await bench.waiting()) == accepted[2:]
        assert (await bench.stats()).depth == 1

    async def test_seeking_beyond_the_end_does_not_pass_over_what_is_still_to_come(self, bench: LogBench) -> None:
        await bench.accept(1)
        await bench.log.seek("shop_to_a", 1_000_000)
        assert await bench.waiting() == []
        accepted = await bench.accept(2)
        assert bodies(await bench.waiting()) == accepted

    async def test_seeking_moves_one_connection_only(self, bench: LogBench) -> None:
        await bench.accept(1, 2)
        await bench.take("shop_to_a")
        await bench.take("shop_to_b")
        await bench.log.seek("shop_to_a", 0)
        assert len(await bench.waiting("shop_to_a")) == 2
        assert await bench.waiting("shop_to_b") == []

    async def test_seeking_and_erasing_beside_settlements_lose_none_of_them(self, bench: LogBench) -> None:
        await bench.accept(1, 2, 3)
        lease = bench.lease("shop_to_b")
        rows = await read_all(lease)
        settling = asyncio.create_task(lease.settle(Settlement(held=[held_record(row) for row in rows])))
        for _ in range(8):
            await asyncio.sleep(0)
            await bench.log.seek("shop_to_a", rows[1].seq)
        await asyncio.gather(settling, bench.log.erase(of_user(99)))
        await bench.reopen()
        assert ids(await bench.lease("shop_to_b").held()) == [f"{row.seq}.0" for row in rows]
        assert await bench.waiting("shop_to_b") == []
        assert len(await bench.waiting("shop_to_a")) == 1

    # --- figures ---

    async def test_depth_counts_records_that_are_not_settled(self, bench: LogBench) -> None:
        assert await bench.stats() == ConnectionStats(depth=0, oldest_ms=None, held=0, letters=0)
        await bench.accept(1, 2, records=5)
        await bench.accept(1, records=100, source="app")
        assert (await bench.stats()).depth == 10
        assert (await bench.stats("app_to_a")).depth == 100
        await bench.take()
        assert (await bench.stats()).depth == 0
        assert (await bench.stats("shop_to_b")).depth == 10
        await bench.reopen()
        assert (await bench.stats()).depth == 0
        assert (await bench.stats("shop_to_b")).depth == 10

    async def test_held_records_and_letters_are_counted(self, bench: LogBench) -> None:
        await bench.accept(1, records=9)
        lease = bench.lease()
        (row,) = await read_all(lease)
        await lease.settle(Settlement(held=[held_record(row, 0), held_record(row, 1)]))
        await bench.park(2)
        stats = await bench.stats()
        assert (stats.depth, stats.held, stats.letters) == (2, 2, 1)

    async def test_the_age_is_that_of_the_oldest_batch_not_settled(self, bench: LogBench, clock: Clock) -> None:
        await bench.accept(1)
        clock.now += 100
        await bench.accept(2, source="app")
        clock.now += 100
        await bench.accept(3)
        assert (await bench.stats()).oldest_ms == int((clock.now - 200) * 1000)
        lease = bench.lease()
        (row,) = await lease.read(1, 0.0)
        await lease.settle(Settlement(held=[held_record(row)]))
        assert (await bench.stats()).oldest_ms == int((clock.now - 200) * 1000), "a held record has not ended"
        await lease.settle(Settlement(released=[f"{row.seq}.0"]))
        assert (await bench.stats()).oldest_ms == int(clock.now * 1000)
        await bench.take()
        assert (await bench.stats()).oldest_ms is None

    async def test_the_head_and_the_size_grow_with_what_is_accepted(self, bench: LogBench) -> None:
        await bench.accept(1)
        before = await bench.log.stats()
        await bench.log.append([new_batch(1, body=b"x" * 100_000)])
        after = await bench.log.stats()
        assert after.head > before.head
        assert after.bytes > before.bytes + 50_000
        assert after.damaged == 0

    # --- room ---

    async def test_a_full_log_says_so_and_takes_more_when_deliveries_are_settled(self, small: LogBench) -> None:
        accepted = await fill(small.log)
        assert accepted > 0
        assert (await small.log.stats()).full
        for name in CONNECTIONS:
            rows = await small.take(name)
            assert len(rows) == (accepted if name.startswith("shop") else 0)
        assert list(await append_when_there_is_room(small.log, new_batch(1))) == [True]
        assert not (await small.log.stats()).full
        assert len(await small.waiting()) == 1

    async def test_a_full_log_gives_up_nothing_that_one_connection_still_needs(self, small: LogBench) -> None:
        accepted = await fill(small.log)
        await small.take("shop_to_a")
        with pytest.raises(LogFull):
            await small.log.append([new_batch(1)])
        assert len(await small.waiting("shop_to_b")) == accepted

    async def test_deliveries_are_settled_while_the_log_is_full(self, small: LogBench) -> None:
        await fill(small.log)
        lease = small.lease()
        rows = await read_all(lease)
        await lease.settle(
            Settlement(held=[held_record(rows[0])], letters=[(dead_letter(rows[1], "shop_to_a"), rows[1])])
        )
        assert len(await small.lease().held()) == 1
        assert len(await small.log.letters()) == 1

    # --- cancellation and end ---

    async def test_a_sender_who_gives_up_does_no_harm_to_others(self, bench: LogBench) -> None:
        batches = [new_batch(number % 10) for number in range(60)]
        tasks = [asyncio.create_task(bench.log.append([batch])) for batch in batches]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        rows = bodies(await bench.waiting())
        stayed = {batch.body.decode() for number, batch in enumerate(batches) if number % 3}
        assert stayed <= set(rows)
        assert len(rows) == len(set(rows))
        assert bodies(await bench.waiting())[: len(rows)] == rows

    async def test_a_cancelled_settlement_is_whole_or_not_at_all(self, bench: LogBench) -> None:
        await bench.accept(1, 2)
        lease = bench.lease()
        rows = await read_all(lease)
        settling = asyncio.create_task(lease.settle(Settlement(held=[held_record(row) for row in rows])))
        await asyncio.sleep(0)
        settling.cancel()
        await asyncio.gather(settling, return_exceptions=True)
        await bench.reopen()
        assert (len(await bench.waiting()), len(await bench.lease().held())) in [(0, 2), (2, 0)]

    async def test_appends_under_way_are_kept_when_the_log_is_closed(self, bench: LogBench) -> None:
        tasks = [asyncio.create_task(bench.log.append([new_batch(number)])) for number in range(20)]
        await asyncio.sleep(0)
        await bench.reopen()
        assert [list(flags) for flags in await asyncio.gather(*tasks)] == [[True]] * 20
        assert len(await bench.waiting()) == 20

    async def test_closing_twice_does_no_harm(self, bench: LogBench) -> None:
        await bench.accept(1)
        await bench.log.close()
        await bench.log.close()
