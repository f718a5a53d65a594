"""A record: one event, or one profile update, with the context of its batch. What transforms and destinations see."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from router_core.events import (
    ApplicationInfo,
    DeviceInfo,
    EventBatch,
    EventData,
    Platform,
    WireEvent,
    decoded_event,
)
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
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf:
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


def wrong_change(before: Record, after: Any) -> str | None:
    """What no later step could use of a record that a transform gave back, for people; None if nothing is seen.

    Only what changed is looked at, and types alone: a transform is code of somebody else.
    """
    if after is before:
        return None
    if not isinstance(after, Record):
        return f"returned {_kind(after)}, not a Record"
    event_type: Any = after.event_type
    if not isinstance(event_type, str):
        return f"event_type is {_kind(event_type)}, not text"
    wrong = None
    if after.context is not before.context:
        wrong = _wrong_context(before.context, after.context)
    if wrong is None and after.event is not before.event:
        wrong = _wrong_event(after.event)
    if wrong is None and after.batch is not before.batch:
        wrong = _wrong_batch(after.batch)
    return wrong


def _wrong_context(before: BatchContext, after: Any) -> str | None:
    if isinstance(after, BatchContext) and (after.seq, after.user) == (before.seq, before.user):
        return None
    return "the context is not that of the record's batch"


def _wrong_event(event: Any) -> str | None:
    if event is None:
        return None
    if not isinstance(event, EventData):
        return f"event is {_kind(event)}, not EventData"
    return _wrong_map("event.custom_attributes", event.custom_attributes) or _wrong_map(
        "event.custom_flags", event.custom_flags
    )


def _wrong_batch(batch: Any) -> str | None:
    if not isinstance(batch, EventBatch):
        return f"batch is {_kind(batch)}, not an EventBatch"
    for name, kind in (("device_info", DeviceInfo), ("application_info", ApplicationInfo)):
        if not isinstance(value := getattr(batch, name), (kind, type(None))):
            return f"batch.{name} is {_kind(value)}, not {kind.__name__}"
    if batch.events is not None and not (
        isinstance(batch.events, list) and all(isinstance(event, WireEvent) for event in batch.events)
    ):
        return "batch.events is no list of WireEvent"
    for name in ("user_attributes", "user_identities", "integration_attributes"):
        if (wrong := _wrong_map(f"batch.{name}", getattr(batch, name))) is not None:
            return wrong
    return None


def _wrong_map(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        return f"{name} is {_kind(value)}, not dict"
    odd = next((key for key in value if not isinstance(key, str)), None)
    if odd is None and None not in value:
        return None
    return f"{name} has a key that is {_kind(odd)}, not text"


def _kind(value: object) -> str:
    return type(value).__name__
