"""From stored batches to the records that a destination gets: decode, transform, select."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec
import orjson

from router_core.adtracking import AttStatus, without_withheld_ids
from router_core.components import Transform, Transformed
from router_core.events import Platform, batch_from_json
from router_core.feeds import mark_source_feed
from router_core.isolation import fault_of, isolate
from router_core.log.port import StoredBatch
from router_core.outcomes import Disposition, Outcome
from router_core.records import BatchContext, Record, records_from_batch
from router_core.selection import Selection
from router_core.suppression import CODE, REASON, Suppression

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
        feed: str | None = None,
        att_status: AttStatus | None = None,
        suppression: Suppression | None = None,
    ) -> None:
        """`feed` is the name that events get as their source feed; `att_status` is for devices without one."""
        self._platform = platform
        self._channel = channel
        self._transforms = transforms
        self._select = selection
        self._feed = feed
        self._att_status = att_status
        self.suppression = suppression or Suppression()

    async def prepare(self, batches: Sequence[StoredBatch]) -> tuple[list[Record], list[Outcome]]:
        """The records to deliver, in order, and an outcome for each record that ends here."""
        records, outcomes = await self.transformed(batches)
        records, skipped = self.selected(records)
        return records, outcomes + skipped

    async def transformed(self, batches: Sequence[StoredBatch]) -> tuple[list[Record], list[Outcome]]:
        """The records as they come out of the transforms."""
        records: list[Record] = []
        outcomes: list[Outcome] = []
        for stored in batches:
            decoded, malformed = self._decode(stored)
            if self.suppression.active and self.suppression.covers_body(stored.body):
                self.suppression.met = True
                malformed = suppressed(o.record_id for o in malformed) + suppressed(r.id for r in decoded)
                decoded = []
            records += decoded
            outcomes += malformed
        for name, transform in self._transforms:
            records, ended = await self._transform(name, transform, records)
            outcomes += ended
        if self.suppression.active and self._transforms:  # they may have found out who it is
            covered = self.suppression.suppressed_of(records)
            outcomes += suppressed(record.id for record in records if record.id in covered)
            records = [record for record in records if record.id not in covered]
        return records, outcomes

    def selected(self, records: Sequence[Record]) -> tuple[list[Record], list[Outcome]]:
        """The records to send, as the destination gets them, and a skipped outcome for each other."""
        if self._transforms:  # one may have put back what was withheld
            records = list(self._lawful(records))
        return self._select(records)

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

    def _lawful(self, records: Sequence[Record]) -> Iterator[Record]:
        seen = lawful = None
        for record in records:
            if record.batch is not seen:
                seen, lawful = record.batch, without_withheld_ids(record.batch, self._att_status)
            yield record if lawful is seen else msgspec.structs.replace(record, batch=lawful)

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
