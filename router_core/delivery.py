"""Delivery: lease, transform, select, deliver, settle.

A connection is cut into lanes, each with its own users. A lane does one thing at a time, so the order of a user is kept
by construction; several lanes have several calls in flight. A group of batches is settled as a whole when every record
of it has an outcome; until then a crash brings all of it back, which is the only source of duplicates.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from router_core.connection import Connection
from router_core.errors import CallRefused, DeliveryError, InvalidCredentials, LogFull, Throttled, Unavailable
from router_core.events import batch_from_json
from router_core.holding import HoldLane
from router_core.isolation import fault_of, isolate
from router_core.log.port import DeadLetter, HeldRecord, Lease, Settlement, StoredBatch
from router_core.outcomes import Disposition, Outcome
from router_core.pipeline import WHOLE_BATCH, suppressed
from router_core.records import PROFILE_UPDATE, Record

_LOOK_FOR_REPLAYS_EVERY = 1.0
_REPLAY_AGAIN_AFTER = 30.0
_ADVANCE_IDLE_AFTER = 2.0
_SETTLE_CUT_OFF_WITHIN = 2.0
"""Seconds for writing down a group that a stop has cut off in the middle."""
_ALL_BUT_FULL = 0.9
_DELIVERED, _SKIPPED = Disposition.DELIVERED, Disposition.SKIPPED  # looked up for every record


class Stopping(Exception):  # not an error: what is unsettled stays in the log
    """The router stops; no new call is begun."""


class NotNow(DeliveryError):
    """No call may begin: the router stops, or another lane has learned meanwhile that the partner wants a pause."""


@dataclass
class Group:
    """What one round of a lane is about."""

    batches: dict[int, StoredBatch] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    """To be delivered, in order."""
    outcomes: list[Outcome] = field(default_factory=list)
    """Of records that ended before the call, then of all."""
    failed: dict[str, Record] = field(default_factory=dict)
    """Those of `records` that were tried and not delivered."""
    held: dict[str, HeldRecord] = field(default_factory=dict)
    """Those of the group that come out of the hold lane."""
    waiting: list[HeldRecord] = field(default_factory=list)
    """Records that must wait behind an earlier one of their user."""
    replays: dict[str, DeadLetter] = field(default_factory=dict)
    """Dead letters that somebody asked to replay."""
    suppressed: set[str] = field(default_factory=set)
    """Those of `records` whose users are to be forgotten since the group was made; see `Lane._suppressed_of`."""
    looked_at: int = -1
    """The version of the suppressions as of which this is so."""
    types: dict[int, list[str]] = field(default_factory=dict)
    """Of batches with a record that ended before the call: the types of their events."""
    parked_at_ms: int | None = None
    waits: dict[tuple[int, float | None], float] = field(default_factory=dict)
    """Back-off by attempts and time asked for: what failed together is tried together."""


class Lane:
    """Some partitions of one connection."""

    def __init__(self, connection: Connection, partitions: range) -> None:
        self._connection = connection
        self._partitions = partitions
        self._clock = connection.clock
        self._next_replays = 0.0
        self._settled_at = 0.0
        self._suppression = connection.suppression
        self.stopping = False
        self.restart()

    def restart(self) -> None:
        """Begin again from what is settled."""
        self._lease: Lease = self._connection.log.lease(self._connection.name, self._partitions)
        self._hold = HoldLane(self._connection.hold_limits)
        self._settle_until = math.inf
        self.busy = False
        """Whether a call or its settlement is under way, so that a stop should wait for it."""
        self.under_way: int | None = None
        """The version of the suppressions that the call or settlement under way was made with; None if none is.

        What began before somebody was suppressed may still hand out or write down the person's records.
        """

    async def run(self) -> None:
        """Deliver until cancelled or stopped."""
        self._hold.load(await self._lease.held())
        try:
            while not self.stopping:
                group = await self._due() or await self._replayed() or await self._arrived()
                if group is not None:
                    await self._deliver(group)
        except Stopping:
            return

    # --- lease ---

    async def _arrived(self) -> Group | None:
        """New batches, up to one call's worth; waits for more until the linger is over."""
        limit = self._connection.limits.records
        if self._hold.full:
            await self._clock.sleep(min(self._hold.seconds_to_due(self._clock.now()), 1.0))
            return None
        batches = await self._lease.read(limit, self._idle_wait())
        if not batches:
            await self._settle_idle()
            return None
        group = Group(looked_at=self._suppression.version)
        linger = self._connection.linger
        until = self._clock.monotonic() + linger
        room = limit
        while batches:
            await self._fill(group, batches)
            if sum(batch.records for batch in batches) < room * _ALL_BUT_FULL:
                # The log has no more for now: a few larger reads cost less than many small ones.
                await self._clock.sleep(min(linger / 4, max(until - self._clock.monotonic(), 0.0)))
            room = limit - len(group.records)
            left = until - self._clock.monotonic()
            if room <= 0 or left <= 0 or self.stopping:
                break
            batches = await self._lease.read(room, left, oversize=False)
        return group

    def _idle_wait(self) -> float:
        return max(min(_LOOK_FOR_REPLAYS_EVERY, self._hold.seconds_to_due(self._clock.now())), 0.01)

    async def _settle_idle(self) -> None:
        """Move the cursor past other lanes' batches now and then, so that the log can give up their room."""
        if self._lease.unsettled and self._clock.monotonic() - self._settled_at > _ADVANCE_IDLE_AFTER:
            await self._commit(Settlement)

    async def _fill(self, group: Group, batches: Sequence[StoredBatch]) -> None:
        records, outcomes = await self._connection.pipeline.prepare(batches)
        for batch in batches:
            group.batches[batch.seq] = batch
        group.outcomes += outcomes
        if not self._hold.users:
            group.records += records
            return
        for record in records:
            if record.context.user in self._hold.users:
                group.waiting.append(self._hold.behind(record))
            else:
                group.records.append(record)

    async def _due(self) -> Group | None:
        """Held records whose time has come, with all of their users' later ones."""
        due = self._hold.take_due(self._clock.now(), self._connection.limits.records)
        if not due:
            return None
        group = Group(held={record.record_id: record for record in due}, looked_at=self._suppression.version)
        group.batches = dict(sorted((await self._connection.log.fetch({record.seq for record in due})).items()))
        await self._fill_only(group, group.held.keys())
        return group

    async def _replayed(self) -> Group | None:
        """Dead letters to deliver once more; not in the order of their users, whose later records went long ago."""
        if self._clock.monotonic() < self._next_replays:
            return None
        self._next_replays = self._clock.monotonic() + _LOOK_FOR_REPLAYS_EVERY
        letters = await self._lease.replays()
        if not letters:
            return None
        group = Group(replays={letter.record_id: letter for letter, _ in letters}, looked_at=self._suppression.version)
        group.batches = {batch.seq: batch for _, batch in letters}
        await self._fill_only(group, group.replays.keys())
        return group

    async def _fill_only(self, group: Group, wanted: Iterable[str]) -> None:
        """Prepare whole batches again and keep the wanted records; one that is not there any more is skipped."""
        ids = set(wanted)
        whole = {record_id.partition(".")[0] for record_id in ids if record_id.endswith(f".{WHOLE_BATCH}")}
        records, outcomes = await self._connection.pipeline.prepare(list(group.batches.values()), again=True)
        group.records = [r for r in records if r.id in ids or r.id.partition(".")[0] in whole]
        group.outcomes = [o for o in outcomes if o.record_id in ids or o.record_id.partition(".")[0] in whole]
        found = {record.id for record in group.records} | {outcome.record_id for outcome in group.outcomes}
        group.outcomes += [
            Outcome.skipped(i, "gone", "the record is no longer in the log or no longer comes out of the transforms")
            for i in ids - found
            if not i.endswith(f".{WHOLE_BATCH}")
        ]

    # --- deliver ---

    async def _deliver(self, group: Group) -> None:
        size = self._connection.limits.records
        waiting: Sequence[Record] = group.records
        called = False
        try:
            while waiting:
                outcomes = await self._call(group, waiting[:size])
                group.outcomes += outcomes
                waiting, called = _not_behind(group.records, waiting[size:], outcomes), True
        except (Stopping, asyncio.CancelledError) as error:
            if not (called and self.stopping):
                raise
            if isinstance(error, asyncio.CancelledError):
                self._settle_until = self._clock.monotonic() + _SETTLE_CUT_OFF_WITHIN
            # Part of the group is at the partner: settle that, and hold the rest for the next start.
        if len(group.records) > size:
            group.outcomes += _held_back(group.records, group.outcomes, "behind", "waits for an earlier call")
        self.busy = True
        await self._settle(group)
        self.busy = False

    async def _call(self, group: Group, records: Sequence[Record]) -> list[Outcome]:
        """Call until the partner has answered for these records, however long it takes; or until they are too old."""
        connection = self._connection
        while records:
            if self.stopping:
                raise Stopping
            records = self._suppress(group, records)
            if not records:
                break
            await connection.breaker.ready()
            try:
                return await self._attempt(group, records)
            except NotNow:
                connection.breaker.gave_up_probe()
            except InvalidCredentials as error:
                connection.pause(str(error))
            except DeliveryError as error:
                wait = connection.call_failed(str(error), _retry_after(error))
                records = self._expire(group, records, str(error))
                if self.stopping:
                    raise Stopping from None
                await self._clock.sleep(wait)
            except BaseException:
                connection.breaker.gave_up_probe()
                raise
        return []

    async def _attempt(self, group: Group, records: Sequence[Record]) -> list[Outcome]:
        """One call, or several where one record makes it fail; all outcomes, each record exactly once."""
        connection = self._connection
        outcomes: list[Outcome] = []
        called = False

        async def call(part: Sequence[Record]) -> None:
            nonlocal called
            async with connection.account.call():
                if self.stopping or connection.breaker.shut:
                    raise NotNow("another call has failed meanwhile")
                answered = await self._ask(group, part)
                called = called or len(answered) > 0
                outcomes.extend(answered)
                outcomes.extend(suppressed(record.id for record in part if record.id in group.suppressed))

        def still(part: Sequence[Record]) -> Sequence[Record]:
            return _not_behind(records, part, outcomes) if outcomes else part

        async def give_up(record: Record, error: Exception) -> None:
            if isinstance(error, CallRefused):
                outcomes.append(Outcome.rejected(record.id, error.code, error.message))
            else:
                outcomes.append(Outcome.rejected(record.id, "plugin_error", fault_of(error)))

        self.busy = True
        try:
            await isolate(records, call, give_up, still)
        except DeliveryError as error:
            if not outcomes:
                raise
            # Halves that came before were answered; only the rest is tried again, as held records.
            if isinstance(error, NotNow):
                connection.breaker.gave_up_probe()
            elif isinstance(error, InvalidCredentials):
                connection.pause(str(error))
            else:
                connection.call_failed(str(error), _retry_after(error))
            outcomes += _held_back(records, outcomes, "unavailable", str(error))
        else:
            if called:
                connection.breaker.succeeded()
            else:
                connection.breaker.gave_up_probe()
            if len(outcomes) < len(records):
                outcomes += _held_back(records, outcomes, "behind", "waits for an earlier record of its user")
        finally:
            self.busy = False
        return self._note_failed(group, records, outcomes)

    async def _ask(self, group: Group, records: Sequence[Record]) -> Sequence[Outcome]:
        """The partner's answer for those records whose users are not to be forgotten: waiting may have taken long."""
        if self._suppressed_of(group):
            records = [record for record in records if record.id not in group.suppressed]
        if not records:
            return ()
        self.under_way = self._suppression.version
        try:
            return self._exactly_once(records, await self._connection.call(records))
        finally:
            self.under_way = None

    def _suppressed_of(self, group: Group) -> set[str]:
        """The ids of those of the group's records whose users are to be forgotten as of now."""
        if group.looked_at != self._suppression.version:
            group.looked_at = self._suppression.version
            group.suppressed = self._suppression.suppressed_of(group.records, group.batches)
        return group.suppressed

    def _suppress(self, group: Group, records: Sequence[Record]) -> Sequence[Record]:
        """End the records of users who are to be forgotten; returns the others."""
        if not self._suppressed_of(group):
            return records
        group.outcomes += suppressed(record.id for record in records if record.id in group.suppressed)
        return [record for record in records if record.id not in group.suppressed]

    def _exactly_once(self, records: Sequence[Record], outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """What a destination did not report is tried again; what it made up or said twice does not count."""
        if len(outcomes) == len(records) and all(
            outcome.record_id == record.id for outcome, record in zip(outcomes, records, strict=True)
        ):
            return outcomes  # in the order of the records, in which those to be retried are held
        reported: dict[str, Outcome] = {}
        for outcome in outcomes:
            reported.setdefault(outcome.record_id, outcome)
        unreported = sum(1 for record in records if record.id not in reported)
        if unreported:
            self._connection.count("unreported_records", unreported)
        return [
            reported.get(record.id) or Outcome.retry(record.id, "unreported", "the destination gave no outcome")
            for record in records
        ]

    def _note_failed(self, group: Group, records: Sequence[Record], outcomes: list[Outcome]) -> list[Outcome]:
        """Keep the records that were not delivered; returns the outcomes, expired where a retry would be too old."""
        failed = {
            outcome.record_id
            for outcome in outcomes
            if outcome.disposition is not _DELIVERED and outcome.disposition is not _SKIPPED
        }
        if not failed:
            return outcomes
        group.failed |= {record.id: record for record in records if record.id in failed}
        return [
            Outcome.expired(outcome.record_id, "too_old", f"{outcome.code}: {outcome.message}")
            if outcome.disposition is Disposition.RETRY and self._too_old(group, group.failed[outcome.record_id])
            else outcome
            for outcome in outcomes
        ]

    def _expire(self, group: Group, records: Sequence[Record], reason: str) -> Sequence[Record]:
        """End the records that are too old to go on trying; returns the others."""
        expired = {record.id: record for record in records if self._too_old(group, record)}
        if not expired:
            return records
        group.outcomes += [Outcome.expired(record_id, "too_old", reason) for record_id in expired]
        group.failed |= expired
        return [record for record in records if record.id not in expired]

    def _too_old(self, group: Group, record: Record) -> bool:
        """Whether to give up after a failed try. What somebody asked to replay is not given up for its age."""
        age = self._clock.now() - record.context.received_at_ms / 1000
        return age > self._connection.give_up_after and not group.replays

    # --- settle ---

    async def _settle(self, group: Group) -> None:
        """Write down how all of the group ended, then tell the observers."""
        settlement = await self._commit(lambda: self._settlement(group))
        self._hold.settle(settlement.released, settlement.held)
        self._connection.settled(group.outcomes, group.batches.values(), len(settlement.replayed))

    async def _commit(self, make: Callable[[], Settlement]) -> Settlement:
        """Write a settlement down, however long it takes; returns it as it was written."""
        while True:
            try:
                self.under_way = self._suppression.version
                settlement = make()
                await self._lease.settle(settlement)
            except LogFull as error:
                # The partner has the records; only our note of it waits for room.
                self._connection.note_error(f"cannot write down what was delivered: {error}")
                if self._clock.monotonic() > self._settle_until:
                    raise Stopping from None  # nobody will cut us off again; the next start delivers it once more
                self.under_way = None
                await self._clock.sleep(1.0)
            else:
                self._settled_at = self._clock.monotonic()
                return settlement
            finally:
                self.under_way = None

    def _settlement(self, group: Group) -> Settlement:
        held: list[HeldRecord] = []
        released: list[str] = []
        letters: list[tuple[DeadLetter, StoredBatch]] = []
        stay: set[str] = set()
        self._forget_suppressed(group)
        for outcome in group.outcomes:
            if not group.held and (outcome.disposition is _DELIVERED or outcome.disposition is _SKIPPED):
                continue
            before = group.held.get(outcome.record_id)
            if outcome.disposition is Disposition.RETRY:
                if group.replays:
                    # Its letter stays marked, and a later look takes it up again.
                    stay |= {outcome.record_id, f"{outcome.record_id.partition('.')[0]}.{WHOLE_BATCH}"}
                    self._next_replays = self._clock.monotonic() + _REPLAY_AGAIN_AFTER
                else:
                    held.append(self._retried(group, outcome, before))
                continue
            if before is not None:
                released.append(outcome.record_id)
            if outcome.disposition in (Disposition.REJECTED, Disposition.EXPIRED):
                letters += self._letter(group, outcome, before)
                stay.add(outcome.record_id)
        return Settlement(
            held=[*held, *group.waiting], released=released, letters=letters, replayed=group.replays.keys() - stay
        )

    def _forget_suppressed(self, group: Group) -> None:
        """Neither hold nor park anything of users who are to be forgotten, whatever became of it before."""
        if not self._suppression.active:
            return
        gone = self._suppressed_of(group)
        for index, outcome in enumerate(group.outcomes):
            if outcome.disposition is _DELIVERED or outcome.disposition is _SKIPPED:
                continue
            batch = group.batches.get(int(outcome.record_id.partition(".")[0]))
            if outcome.record_id in gone or (batch is not None and self._suppression.covers_body(batch.body)):
                group.outcomes[index : index + 1] = suppressed([outcome.record_id])

    def _retried(self, group: Group, outcome: Outcome, before: HeldRecord | None) -> HeldRecord:
        """A record that was tried waits as its outcome says; one that was not goes as soon as its user's turn comes."""
        seq = int(outcome.record_id.partition(".")[0])
        tried = outcome.record_id in group.failed
        attempts = (before.attempts if before is not None else 0) + tried
        wait = 0.0
        if tried:
            key = (attempts, outcome.retry_after)
            wait = group.waits.setdefault(key, self._connection.backoff.seconds(*key))
        return HeldRecord(
            seq=seq,
            record_id=outcome.record_id,
            user=group.batches[seq].user,
            not_before_ms=int((self._clock.now() + wait) * 1000),
            attempts=attempts,
            code=outcome.code,
            message=outcome.message,
        )

    def _letter(
        self, group: Group, outcome: Outcome, before: HeldRecord | None
    ) -> Sequence[tuple[DeadLetter, StoredBatch]]:
        seq = int(outcome.record_id.partition(".")[0])
        batch = group.batches.get(seq)
        if batch is None:
            return ()
        record = group.failed.get(outcome.record_id)
        if group.parked_at_ms is None:  # the same in every try to write it down
            group.parked_at_ms = int(self._clock.now() * 1000)
        letter = DeadLetter(
            connection=self._connection.name,
            seq=seq,
            record_id=outcome.record_id,
            event_type=record.event_type if record is not None else self._type_of(group, batch, outcome.record_id),
            user=batch.user,
            disposition=outcome.disposition.value,
            code=outcome.code,
            message=outcome.message,
            attempts=(before.attempts if before is not None else 0) + 1,
            received_at_ms=batch.received_at_ms,
            parked_at_ms=group.parked_at_ms,
        )
        return ((letter, batch),)

    def _type_of(self, group: Group, batch: StoredBatch, record_id: str) -> str:
        """The event type of a record that ended before the call, from its batch as it was received."""
        which = record_id.partition(".")[2]
        if which == "p":
            return PROFILE_UPDATE
        if batch.seq not in group.types:
            try:
                events = batch_from_json(batch.body).events or ()
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                events = ()
            group.types[batch.seq] = [event.event_type for event in events]
        types = group.types[batch.seq]
        return types[int(which)] if which.isdecimal() and int(which) < len(types) else "unknown"


def _not_behind(records: Sequence[Record], waiting: Sequence[Record], outcomes: Sequence[Outcome]) -> Sequence[Record]:
    """Those of `waiting` whose user has no record that is to be retried. Only a call that is split needs to ask."""
    retried = {outcome.record_id for outcome in outcomes if outcome.disposition is Disposition.RETRY}
    if not retried:
        return waiting
    users = {record.context.user for record in records if record.id in retried}
    return [record for record in waiting if record.context.user not in users]


def _held_back(records: Sequence[Record], outcomes: Sequence[Outcome], code: str, message: str) -> list[Outcome]:
    """A retry for each record that has no outcome yet."""
    ended = {outcome.record_id for outcome in outcomes}
    return [Outcome.retry(record.id, code, message) for record in records if record.id not in ended]


def _retry_after(error: DeliveryError) -> float | None:
    return error.retry_after if isinstance(error, (Throttled, Unavailable)) else None
