"""From stored batches to the records that a destination gets: decode, transform, select."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import orjson

from router_core.components import Transform, Transformed
from router_core.events import Platform, batch_from_json
from router_core.isolation import fault_of, isolate
from router_core.log.port import StoredBatch
from router_core.outcomes import Disposition, Outcome
from router_core.plangate import PlanGate, PlanNote
from router_core.records import BatchContext, Record, records_from_batch
from router_core.selection import Selection

WHOLE_BATCH = "b"
"""`<seq>.b` is the id of a batch that cannot be decoded at all."""


class Pipeline:
    """One connection's way from the log to its destination."""

    def __init__(
        self,
        platform: Platform,
        channel: str,
        transforms: Sequence[tuple[str, Transform]],
        selection: Selection,
        *,
        input_plan: PlanGate | None = None,
        plan: PlanGate | None = None,
        noted: Callable[[Sequence[PlanNote]], None] = lambda notes: None,
    ) -> None:
        """`input_plan` acts on what came in, `plan` on what is to go out; `noted` gets what breaks them."""
        self._input_plan = input_plan
        self._plan = plan
        self._noted = noted
        self._platform = platform
        self._channel = channel
        self._transforms = transforms
        self._select = selection

    async def prepare(
        self, batches: Sequence[StoredBatch], *, again: bool = False
    ) -> tuple[list[Record], list[Outcome]]:
        """The records to deliver, in order, and an outcome for each record that ends here.

        `again`: they were prepared before, so what breaks a data plan is not told once more.
        """
        records: list[Record] = []
        outcomes: list[Outcome] = []
        for stored in batches:
            decoded, malformed = self._decode(stored)
            records += decoded
            outcomes += malformed
        if self._input_plan is not None:
            records, ended = self._planned(self._input_plan, records, again)
            outcomes += ended
        for name, transform in self._transforms:
            records, ended = await self._transform(name, transform, records)
            outcomes += ended
        records, skipped = self._select(records)
        outcomes += skipped
        if self._plan is not None:
            records, ended = self._planned(self._plan, records, again)
            outcomes += ended
        return records, outcomes

    def _planned(self, gate: PlanGate, records: Sequence[Record], again: bool) -> tuple[list[Record], list[Outcome]]:
        kept, outcomes, notes = gate(records)
        if notes and not again:
            self._noted(notes)
        return kept, outcomes

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
            return records_from_batch(batch_from_json(stored.body), context)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return [], [Outcome.rejected(f"{stored.seq}.{WHOLE_BATCH}", "malformed_batch", str(error))]

    async def _transform(
        self, name: str, transform: Transform, records: Sequence[Record]
    ) -> tuple[list[Record], list[Outcome]]:
        kept: list[Record] = []
        outcomes: list[Outcome] = []

        async def apply(part: Sequence[Record]) -> None:
            result = await transform.apply(part)
            _require_each_once(part, result)
            kept.extend(result.records)
            outcomes.extend(result.outcomes)

        async def give_up(record: Record, error: Exception) -> None:
            outcomes.append(Outcome.rejected(record.id, "transform_error", f"{name}: {fault_of(error)}"))

        if records:
            await isolate(records, apply, give_up)
        return kept, outcomes


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
