"""A record: one event, or one profile update, with the context of its batch. What transforms and destinations see."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from router_core.events import EventBatch, EventData, Platform, decoded_event
from router_core.outcomes import Outcome

PROFILE_UPDATE: Final = "profile_update"
"""The `event_type` of the record that stands for a batch's user attributes and identities."""


class BatchContext(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What core knows of a batch beyond its own words; shared by all records of the batch."""

    seq: int
    """The batch's position in the log."""
    input: str
    """Name of the input in the configuration."""
    platform: Platform
    channel: str = "server_to_server"
    """mParticle's channel: server_to_server, partner, javascript or native."""
    received_at_ms: int = 0
    """When the router acknowledged the batch, Unix milliseconds."""
    user: int = 0
    """Stable hash of the user key; records of one user share it."""
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Request headers that matter later, lower-case: `traceparent`, `x-mp-kits`, `x-mp-bundled-kits`."""
    body: bytes = b""
    """The batch as it was received, unknown fields included.

    Empty where something of the batch was taken out, so that no destination can reach it: by the connection's filters
    or a data plan (then `EventBatch.events` is empty too), or an advertising id that may not be used.
    """


class Record(msgspec.Struct, frozen=True, gc=False):
    """One event or profile update. `id` is unique in this router and the same after a restart."""

    id: str
    event_type: str
    event: EventData | None
    """The event's typed data; None for a profile update, which is all in `batch`."""
    batch: EventBatch
    context: BatchContext

    @property
    def occurred_at_ms(self) -> int:
        """When it happened, Unix milliseconds: the event's own time, else the time of acceptance."""
        value = self.event.timestamp_unixtime_ms if self.event is not None else None
        if isinstance(value, str) and len(value) < 20 and value.isascii() and value.isdigit():
            value = int(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
            return int(value)
        return self.context.received_at_ms


def records_from_batch(batch: EventBatch, context: BatchContext) -> tuple[list[Record], list[Outcome]]:
    """All records of one stored batch, the profile update first, then the events in their order.

    Ids are `<seq>.p` and `<seq>.<index>`. An event whose data has a field of the wrong type ends as rejected with
    `malformed_event`; the others go on.
    """
    seq = context.seq
    records = [Record(f"{seq}.p", PROFILE_UPDATE, None, batch, context)] if batch.updates_profile else []
    malformed: list[Outcome] = []
    for index, wire in enumerate(batch.events or ()):
        try:
            data = decoded_event(wire)
        except msgspec.ValidationError as error:
            malformed.append(Outcome.rejected(f"{seq}.{index}", "malformed_event", str(error)))
            continue
        event_type = data.event_type if type(data) is not EventData else wire.event_type
        records.append(Record(f"{seq}.{index}", event_type, data, batch, context))
    return records, malformed


def without_received(records: Sequence[Record], seqs: Collection[int]) -> list[Record]:
    """The records; those of the batches `seqs` come without what was received: `body`, and the undecoded `events`.

    For batches of which something was taken out: each record of a batch shows the whole of it.
    """
    if not seqs:
        return list(records)
    kept: list[Record] = []
    batch: EventBatch | None = None
    context: BatchContext | None = None
    for record in records:
        if record.context.seq not in seqs:
            kept.append(record)
            continue
        if record.context is not context:
            context = record.context
            clean_context = replace(context, body=b"")
        if record.batch is not batch:
            batch = record.batch
            clean_batch = replace(batch, events=None)
        kept.append(replace(record, batch=clean_batch, context=clean_context))
    return kept
