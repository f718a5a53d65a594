"""Small builders for what travels through the router: whole and valid by default, every part open to a test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from router_core.events import Platform, batch_from_json
from router_core.log.port import PARTITIONS, StoredBatch, user_hash
from router_core.records import BatchContext, Record, records_from_batch

RECEIVED_AT_MS = 1_700_000_000_000
"""When built batches were accepted, unless a test says otherwise; the clocks of the kit start here too."""


def custom_event(name: str = "Viewed", **data: Any) -> dict[str, Any]:
    """One entry of `events`, as it travels on the wire."""
    return {"event_type": "custom_event", "data": {"event_name": name, "custom_event_type": "other", **data}}


def event_batch(*events: Mapping[str, Any], customer_id: str | None = None, **fields: Any) -> bytes:
    """The JSON of one upload with these entries of `events` (without any: one custom event) and batch fields."""
    batch: dict[str, Any] = {"events": list(events) or [custom_event()], **fields}
    if customer_id is not None:
        batch["user_identities"] = {"customer_id": customer_id, **fields.get("user_identities", {})}
    return orjson.dumps(batch)


def stored_batch(
    body: bytes | None = None,
    *,
    seq: int = 1,
    user: int | str = "user",
    records: int = 1,
    input: str = "shop",
    received_at_ms: int = RECEIVED_AT_MS,
    headers: Mapping[str, str] | None = None,
) -> StoredBatch:
    """A batch as the log holds it. `user` is a user hash, or any text to take the hash of."""
    return StoredBatch(
        seq=seq,
        input=input,
        user=user if isinstance(user, int) else user_hash(user),
        records=records,
        total=records,
        received_at_ms=received_at_ms,
        headers=orjson.dumps(headers) if headers else b"",
        body=event_batch() if body is None else body,
    )


def records_of(
    body: bytes,
    *,
    seq: int = 1,
    user: int | str = "user",
    input: str = "shop",
    platform: Platform = Platform.DATA_FEEDS,
    channel: str = "server_to_server",
    received_at_ms: int = RECEIVED_AT_MS,
    headers: Mapping[str, str] | None = None,
) -> list[Record]:
    """All records of one upload, as transforms and destinations get them."""
    context = BatchContext(
        seq=seq,
        input=input,
        platform=platform,
        channel=channel,
        received_at_ms=received_at_ms,
        user=user if isinstance(user, int) else user_hash(user),
        headers=headers or {},
        body=body,
    )
    return records_from_batch(batch_from_json(body), context)[0]


def record(event_type: str = "custom_event", data: Mapping[str, Any] | None = None, **context: Any) -> Record:
    """One record of this type. `context` is what `records_of` takes, and `batch`, the fields of its batch."""
    batch: Mapping[str, Any] = context.pop("batch", {})
    given = dict(data) if data is not None else {}
    if event_type == "custom_event":
        given.setdefault("event_name", "Viewed")
    body = orjson.dumps({"events": [{"event_type": event_type, "data": given}], **batch})
    return records_of(body, **context)[-1]


def user_of_partition(partition: int, number: int = 0) -> int:
    """A user hash that lies in this partition; each number gives another user."""
    return PARTITIONS * (number + 1) + partition
