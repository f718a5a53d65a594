"""One line of JSON for one record, as `file` and `console` write it."""

from __future__ import annotations

from typing import Any

import msgspec

from router_core.records import Record


def line_from_record(record: Record) -> dict[str, Any]:
    """The record with what it needs of its batch: who, when, what.

    `{"id", "event_type", "input", "platform", "received_at_ms", "mpid", "user_identities", …}` and the event's `data`
    as it came; a profile update has `user_attributes` and `deleted_user_attributes` in its place.
    """
    batch, context = record.batch, record.context
    line: dict[str, Any] = {
        "id": record.id,
        "event_type": record.event_type,
        "input": context.input,
        "platform": context.platform.value,
        "environment": batch.environment or "production",
        "received_at_ms": context.received_at_ms,
        "mpid": batch.mpid if batch.mpid is None else str(batch.mpid),
        "mp_deviceid": batch.mp_deviceid,
        "user_identities": batch.user_identities or {},
    }
    if record.event is None:
        line["user_attributes"] = batch.user_attributes or {}
        line["deleted_user_attributes"] = batch.deleted_user_attributes or []
    else:
        line["data"] = msgspec.to_builtins(record.event)
    return {name: value for name, value in line.items() if value is not None}
