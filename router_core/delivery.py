"""Delivery: lease, transform, select, deliver, settle.

A connection is cut into lanes, each with its own users. A lane does one thing at a time, so the order of a user is kept
by construction; several lanes have several calls in flight. A group of batches is settled as a whole when every record
of it has an outcome; until then a crash brings all of it back, which is the only source of duplicates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from router_core.connection import Connection
from router_core.errors import DeliveryError, InvalidCredentials, LogFull, Throttled, Unavailable
from router_core.holding import HoldLane
from router_core.isolation import fault_of, isolate
from router_core.log.port import DeadLetter, HeldRecord, Lease, Settlement, StoredBatch
from router_core.outcomes import Disposition, Outcome
from router_core.pipeline import WHOLE_BATCH
from router_core.records import Record

_LOOK_FOR_REPLAYS_EVERY = 1.0
_REPLAY_AGAIN_AFTER = 30.0
_ADVANCE_IDLE_AFTER = 2.0


class Stopping(Exception):  # not an error: what is unsettled stays in the log
    """The router stops; no new call is begun."""


@dataclass
class Group:
    """What one round of a lane is about."""

    batches: dict[int, StoredBatch] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    """To be delivered, in order."""
    outcomes: list[Outcome] = field(default_factory=list)
    """Of records that ended before the call, then of all."""
    failed: dict[str, Record] = field(default_factory=dict)
    """Those of `records` that were not delivered, for their dead letters."""
    held: dict[str, HeldRecord] = field(default_factory=dict)
    """Those of the group that come out of the hold lane."""
    waiting: list[HeldRecord] = field(default_factory=list)
    """Records that must wait behind an earlier one of their user."""
    replays: dict[str, DeadLetter] = field(default_factory=dict)
    """Dead letters that somebody asked to replay."""


class Lane:
    """Some partitions of one connection."""

    def __init__(self, connection: Connection, partitions: range) -> None:
        self._connection = connection
        self._partitions = partitions
        self._clock = connection.clock
        self._next_replays = 0.0
        self._settled_at = 0.0
        self.stopping = False
        self.restart()

    def restart(self) -> None:
        """Begin again from what is settled."""
        self._lease: Lease = self._connection.log.lease(self._connection.name, self._partitions)
        self._hold = HoldLane(self._connection.hold_limits)
        self.busy = False
        """Whether a call or its settlement is under way, so that a stop should wait for it."""

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
        group = Group()
        until = self._clock.monotonic() + self._connection.linger
        while batches:
            await self._fill(group, batches)
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
            await self._commit(Settlement())

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
        group = Group(held={record.record_id: record for record in due})
        group.batches = dict(await self._connection.log.fetch({record.seq for record in due}))
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
        group = Group(replays={letter.record_id: letter for letter, _ in letters})
        group.batches = {batch.seq: batch for _, batch in letters}
        await self._fill_only(group, group.replays.keys())
        return group

    async def _fill_only(self, group: Group, wanted: Iterable[str]) -> None:
        """Prepare whole batches again and keep the wanted records; one that is not there any more is skipped."""
        ids = set(wanted)
        whole = {record_id.partition(".")[0] for record_id in ids if record_id.endswith(f".{WHOLE_BATCH}")}
        records, outcomes = await self._connection.pipeline.prepare(list(group.batches.values()))
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
                waiting, called = self._behind_retried(group, waiting[size:], outcomes), True
        except Stopping:
            if not called:
                raise
            # Part of the group is at the partner: settle that, and hold the rest for the next start.
            group.outcomes += [Outcome.retry(r.id, "stopping", retry_after=0.0) for r in waiting]
        self.busy = True
        await self._settle(group)
        self.busy = False

    def _behind_retried(self, group: Group, waiting: Sequence[Record], outcomes: Sequence[Outcome]) -> Sequence[Record]:
        """Hold what comes behind a record that will be retried; returns the rest. Only large groups get here."""
        retried = {outcome.record_id for outcome in outcomes if outcome.disposition is Disposition.RETRY}
        if not retried or not waiting:
            return waiting
        users = {record.context.user for record in group.records if record.id in retried}
        group.outcomes += [
            Outcome.retry(r.id, "behind", "waits for an earlier record of its user", 0.0)
            for r in waiting
            if r.context.user in users
        ]
        return [record for record in waiting if record.context.user not in users]

    async def _call(self, group: Group, records: Sequence[Record]) -> list[Outcome]:
        """Call until the partner has answered for these records, however long it takes; or until they are too old."""
        connection = self._connection
        while records:
            if self.stopping:
                raise Stopping
            await connection.breaker.ready()
            try:
                return await self._attempt(group, records)
            except InvalidCredentials as error:
                connection.pause(str(error))
            except (DeliveryError, TimeoutError) as error:
                reason, retry_after = _failure(error)
                wait = connection.call_failed(reason, retry_after)
                records = self._expire(group, records, reason)
                if self.stopping:
                    raise Stopping from None
                await self._clock.sleep(wait)
        return []

    async def _attempt(self, group: Group, records: Sequence[Record]) -> list[Outcome]:
        """One call, or several where one record makes it fail; all outcomes, each record exactly once."""
        connection = self._connection
        outcomes: list[Outcome] = []

        async def call(part: Sequence[Record]) -> None:
            outcomes.extend(self._exactly_once(part, await connection.call(part)))

        async def give_up(record: Record, error: Exception) -> None:
            code = getattr(error, "code", "plugin_error")
            message = str(error) if code != "plugin_error" else fault_of(error)
            outcomes.append(Outcome.rejected(record.id, code, message))

        self.busy = True
        try:
            await isolate(records, call, give_up)
        except (DeliveryError, TimeoutError) as error:
            if not outcomes:
                raise
            # Halves that came before were answered; only the rest is tried again, as held records.
            reason, retry_after = _failure(error)
            if isinstance(error, InvalidCredentials):
                connection.pause(reason)
            else:
                connection.call_failed(reason, retry_after)
            done = {outcome.record_id for outcome in outcomes}
            outcomes += [Outcome.retry(r.id, "unavailable", reason, 0.0) for r in records if r.id not in done]
        else:
            connection.breaker.succeeded()
        finally:
            self.busy = False
        self._note_failed(group, records, outcomes)
        return outcomes

    def _exactly_once(self, records: Sequence[Record], outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """What a destination did not report is tried again; what it made up or said twice does not count."""
        if len(outcomes) == len(records) and all(
            outcome.record_id == record.id for outcome, record in zip(outcomes, records, strict=True)
        ):
            return outcomes
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

    def _note_failed(self, group: Group, records: Sequence[Record], outcomes: Sequence[Outcome]) -> None:
        failed = {outcome.record_id for outcome in outcomes if outcome.disposition is not Disposition.DELIVERED}
        if failed:
            group.failed |= {record.id: record for record in records if record.id in failed}

    def _expire(self, group: Group, records: Sequence[Record], reason: str) -> Sequence[Record]:
        """End the records that are too old to go on trying; returns the others."""
        oldest = (self._clock.now() - self._connection.give_up_after) * 1000
        expired = [record for record in records if record.context.received_at_ms < oldest]
        if not expired:
            return records
        group.outcomes += [Outcome.expired(record.id, "too_old", reason) for record in expired]
        group.failed |= {record.id: record for record in expired}
        return [record for record in records if record.context.received_at_ms >= oldest]

    # --- settle ---

    async def _settle(self, group: Group) -> None:
        """Write down how all of the group ended, then tell the observers."""
        settlement = self._settlement(group)
        await self._commit(settlement)
        self._hold.settle(settlement.released, settlement.held)
        self._connection.settled(group.outcomes, group.batches.values(), len(group.replays))

    async def _commit(self, settlement: Settlement) -> None:
        while True:
            try:
                await self._lease.settle(settlement)
            except LogFull as error:
                # The partner has the records; only our note of it waits for room.
                self._connection.note_error(f"cannot write down what was delivered: {error}")
                await self._clock.sleep(1.0)
            else:
                self._settled_at = self._clock.monotonic()
                return

    def _settlement(self, group: Group) -> Settlement:
        held: list[HeldRecord] = []
        released: list[str] = []
        letters: list[tuple[DeadLetter, StoredBatch]] = []
        stay: set[str] = set()
        for outcome in group.outcomes:
            before = group.held.get(outcome.record_id)
            end: Outcome | HeldRecord = outcome
            if outcome.disposition is Disposition.RETRY:
                if group.replays:
                    # Its letter stays marked, and a later look takes it up again.
                    stay |= {outcome.record_id, f"{outcome.record_id.partition('.')[0]}.{WHOLE_BATCH}"}
                    self._next_replays = self._clock.monotonic() + _REPLAY_AGAIN_AFTER
                    continue
                end = self._retried(group, outcome, before)
            if isinstance(end, HeldRecord):
                held.append(end)
                continue
            if before is not None:
                released.append(end.record_id)
            if end.disposition in (Disposition.REJECTED, Disposition.EXPIRED):
                letters += self._letter(group, end, before)
                stay.add(end.record_id)
        return Settlement(
            held=[*held, *group.waiting], released=released, letters=letters, replayed=group.replays.keys() - stay
        )

    def _retried(self, group: Group, outcome: Outcome, before: HeldRecord | None) -> HeldRecord | Outcome:
        seq = int(outcome.record_id.partition(".")[0])
        batch = group.batches.get(seq)
        now = self._clock.now()
        if batch is not None and now - batch.received_at_ms / 1000 > self._connection.give_up_after:
            return Outcome.expired(outcome.record_id, "too_old", outcome.message)
        attempts = (before.attempts if before is not None else 0) + 1
        wait = self._connection.backoff.seconds(attempts) if outcome.retry_after is None else outcome.retry_after
        return HeldRecord(
            seq=seq,
            record_id=outcome.record_id,
            user=batch.user if batch is not None else 0,
            not_before_ms=int((now + wait) * 1000),
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
        letter = DeadLetter(
            connection=self._connection.name,
            seq=seq,
            record_id=outcome.record_id,
            event_type=record.event_type if record is not None else "unknown",
            user=batch.user,
            disposition=outcome.disposition.value,
            code=outcome.code,
            message=outcome.message,
            attempts=(before.attempts if before is not None else 0) + 1,
            received_at_ms=batch.received_at_ms,
            parked_at_ms=int(self._clock.now() * 1000),
        )
        return ((letter, batch),)


def _failure(error: BaseException) -> tuple[str, float | None]:
    """What to say of a failed call, and how long the partner asked to wait."""
    if isinstance(error, (Throttled, Unavailable)):
        return str(error), error.retry_after
    return (str(error) or "the call took too long"), None
