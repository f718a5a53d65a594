"""From stored batches to the records that a destination gets: decode, judge, transform, select, judge.

| step | what it sees |
|---|---|
| decode | the bytes in the log; takes out advertising ids that nobody may use, and marks events of a feed |
| input's data plan | what the sender sent |
| suppression | the bytes in the log: whatever became of an erased user's records, they end here |
| transforms | what the input stands for, of people who may be delivered |
| advertising ids and suppression again | what transforms put back or found out |
| selection: kit, rules, filters | rules see what no filter took out |
| connection's data plan | what the partner would get |

A record that makes a step fail ends there as rejected; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
import orjson

from router_core.adtracking import AttStatus, without_withheld_ids
from router_core.components import Transform, Transformed
from router_core.events import Platform, batch_from_json
from router_core.feeds import mark_source_feed
from router_core.isolation import fault_of, isolate
from router_core.log.port import StoredBatch
from router_core.outcomes import Disposition, Outcome
from router_core.plangate import PlanGate, PlanNote
from router_core.records import BatchContext, Record, records_from_batch, without_received, wrong_change
from router_core.selection import Selection
from router_core.suppression import CODE, REASON, Suppression

WHOLE_BATCH = "b"
"""`<seq>.b` is the id of a batch that cannot be decoded at all."""

Step = Callable[[Sequence[Record]], tuple[list[Record], list[Outcome]]]
"""The records to go on with, in order, and an outcome for each other."""


class Pipeline:
    """One connection's way from the log to its destination."""

    def __init__(
        self,
        platform: Platform,
        channel: str,
        transforms: Sequence[tuple[str, Transform]],
        selection: Selection,
        *,
        feed: str | None = None,
        att_status: AttStatus | None = None,
        suppression: Suppression | None = None,
        input_plan: PlanGate | None = None,
        plan: PlanGate | None = None,
        noted: Callable[[Sequence[PlanNote]], None] = lambda notes: None,
    ) -> None:
        """`feed` is the name that events get as their source feed; `att_status` is for devices without one.

        `input_plan` acts on what came in, `plan` on what is to go out; `noted` gets what breaks them.
        """
        self._platform = platform
        self._channel = channel
        self._transforms = transforms
        self._code = "transform_error" if transforms else "plugin_error"  # whose fault it is that a later step fails
        self._select = selection
        self._feed = feed
        self._att_status = att_status
        self._input_plan = input_plan
        self._plan = plan
        self._noted = noted
        self.suppression = suppression or Suppression()

    async def prepare(
        self, batches: Sequence[StoredBatch], *, again: bool = False
    ) -> tuple[list[Record], list[Outcome]]:
        """The records to deliver, in order, and an outcome for each record that ends here.

        `again`: they were prepared before, so what breaks a data plan is not told once more.
        """
        records, outcomes = await self.transformed(batches, again=again)
        records, skipped = self.selected(records)
        records, ended = self.planned(records, again=again)
        return records, [*outcomes, *skipped, *ended]

    async def transformed(
        self, batches: Sequence[StoredBatch], *, again: bool = False
    ) -> tuple[list[Record], list[Outcome]]:
        """The records as they come out of the transforms, without those of people who are to be forgotten."""
        records: list[Record] = []
        outcomes: list[Outcome] = []
        for stored in batches:
            decoded, malformed = self._decode(stored)
            records += decoded
            outcomes += malformed
        if self._input_plan is not None:
            records, ended = self._judged(self._input_plan, records, again, "plugin_error")
            outcomes += ended
        if self.suppression.active:
            records, outcomes = self._without_suppressed(batches, records, outcomes)
        for name, transform in self._transforms:
            records, ended = await self._transform(name, transform, records)
            outcomes += ended
        if self._transforms:
            by_seq = {stored.seq: stored for stored in batches}
            records, ended = _of_each(lambda some: self._lawful_and_unsuppressed(some, by_seq), records, self._code)
            outcomes += ended
        return records, outcomes

    def selected(self, records: Sequence[Record]) -> tuple[list[Record], list[Outcome]]:
        """What rules and filters leave, and a skipped outcome for each other record."""
        return _of_each(self._select, records, self._code)

    def planned(self, records: Sequence[Record], *, again: bool = False) -> tuple[list[Record], list[Outcome]]:
        """What the connection's data plan leaves, as the destination gets it, and an outcome for each other record."""
        if self._plan is None:
            return list(records), []
        return self._judged(self._plan, records, again, self._code)

    def _judged(
        self, gate: PlanGate, records: Sequence[Record], again: bool, code: str
    ) -> tuple[list[Record], list[Outcome]]:
        notes: list[PlanNote] = []

        def judge(some: Sequence[Record]) -> tuple[list[Record], list[Outcome]]:
            nonlocal notes
            kept, outcomes, notes = gate(some)
            return kept, outcomes

        kept, outcomes = _of_each(judge, records, code)
        if notes and not again:
            self._noted(notes)
        return kept, outcomes

    def _without_suppressed(
        self, batches: Sequence[StoredBatch], records: list[Record], outcomes: list[Outcome]
    ) -> tuple[list[Record], list[Outcome]]:
        """End all records of batches whose users are to be forgotten, however they had ended already."""
        covered = {stored.seq for stored in batches if self.suppression.covers_body(stored.body)}
        if not covered:
            return records, outcomes
        self.suppression.met = True
        before = [outcome for outcome in outcomes if int(outcome.record_id.partition(".")[0]) not in covered]
        ended = [outcome.record_id for outcome in outcomes if int(outcome.record_id.partition(".")[0]) in covered]
        ended += [record.id for record in records if record.context.seq in covered]
        return [record for record in records if record.context.seq not in covered], before + suppressed(ended)

    def _decode(self, stored: StoredBatch) -> tuple[list[Record], list[Outcome]]:
        if not stored.body:
            return [], [Outcome.skipped(f"{stored.seq}.{WHOLE_BATCH}", "erased", "the user was erased")]
        context = BatchContext(
            seq=stored.seq,
            input=stored.input,
            platform=self._platform,
            channel=self._channel,
            received_at_ms=stored.received_at_ms,
            user=stored.user,
            headers=orjson.loads(stored.headers) if stored.headers else {},
            body=stored.body,
        )
        try:
            batch = batch_from_json(stored.body)
            lawful = without_withheld_ids(batch, self._att_status)
            if lawful is not batch:
                context = msgspec.structs.replace(context, body=b"")  # it holds the ids
            records, malformed = records_from_batch(lawful, context)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return [], [Outcome.rejected(f"{stored.seq}.{WHOLE_BATCH}", "malformed_batch", str(error))]
        if self._feed is not None:
            mark_source_feed(records, self._feed)
        return records, malformed

    def _lawful_and_unsuppressed(
        self, records: Sequence[Record], batches: Mapping[int, StoredBatch]
    ) -> tuple[list[Record], list[Outcome]]:
        lawful = self._lawful(records)
        covered = self.suppression.suppressed_of(lawful, batches)
        return (
            [record for record in lawful if record.id not in covered],
            suppressed(record.id for record in lawful if record.id in covered),
        )

    def _lawful(self, records: Sequence[Record]) -> list[Record]:
        """The records without ids that a transform put back, or which nobody may use by what a transform changed."""
        lawful: list[Record] = []
        taken_from: set[int] = set()
        seen = batch = None
        for record in records:
            if record.batch is not seen:
                seen, batch = record.batch, without_withheld_ids(record.batch, self._att_status)
                if batch is not seen:
                    taken_from.add(record.context.seq)
            lawful.append(record if batch is seen else msgspec.structs.replace(record, batch=batch))
        return without_received(lawful, taken_from)

    async def _transform(
        self, name: str, transform: Transform, records: Sequence[Record]
    ) -> tuple[list[Record], list[Outcome]]:
        kept: list[Record] = []
        outcomes: list[Outcome] = []

        async def apply(part: Sequence[Record]) -> None:
            result = await transform.apply(part)
            _require_each_once(part, result)
            _require_usable(part, result)
            kept.extend(result.records)
            outcomes.extend(result.outcomes)

        async def give_up(record: Record, error: Exception) -> None:
            outcomes.append(Outcome.rejected(record.id, "transform_error", f"{name}: {fault_of(error)}"))

        if records:
            await isolate(records, apply, give_up)
        return kept, outcomes


def _of_each(step: Step, records: Sequence[Record], code: str) -> tuple[list[Record], list[Outcome]]:
    """What `step` makes of the records. If it raises, those with which it raises alone end, and the others go on.

    They go through it together, since what it takes out of one record of a batch it takes out of all. For the same
    reason they come without what was received in the batch of one that ended so: nobody has judged that.
    """
    try:
        return step(records)
    except Exception:  # noqa: S110  # whatever it is, it must not hold up the lane; each tells its own below
        pass
    sound: list[Record] = []
    outcomes: list[Outcome] = []
    for record in records:
        try:
            step([record])
        except Exception as error:
            outcomes.append(Outcome.rejected(record.id, code, fault_of(error)))
        else:
            sound.append(record)
    at_fault = {int(outcome.record_id.partition(".")[0]) for outcome in outcomes}
    try:
        kept, ended = step(sound)
    except Exception as error:
        return [], [*outcomes, *(Outcome.rejected(record.id, code, fault_of(error)) for record in sound)]
    return without_received(kept, at_fault), [*outcomes, *ended]


def suppressed(record_ids: Iterable[str]) -> list[Outcome]:
    """The end of records of somebody who is to be forgotten."""
    return [Outcome.skipped(record_id, CODE, REASON) for record_id in record_ids]


def _require_each_once(records: Sequence[Record], result: Transformed) -> None:
    """Raises `ValueError` if a record got lost, came twice or out of order, or ended as only a delivery can end it."""
    if not result.outcomes and [record.id for record in result.records] == [record.id for record in records]:
        return
    ended = {outcome.record_id for outcome in result.outcomes}
    going_on = [record.id for record in records if record.id not in ended]
    if [record.id for record in result.records] != going_on or len(going_on) + len(result.outcomes) != len(records):
        raise ValueError("each record must come back once and in its order, or have one outcome")
    for outcome in result.outcomes:
        if outcome.disposition not in (Disposition.SKIPPED, Disposition.REJECTED):
            raise ValueError(f"a transform cannot end a record as {outcome.disposition}")


def _require_usable(records: Sequence[Record], result: Transformed) -> None:
    """Raises `TypeError` if a record came back with something that no later step could use."""
    before = {record.id: record for record in records}
    for record in result.records:
        if (wrong := wrong_change(before[record.id], record)) is not None:
            raise TypeError(wrong)
