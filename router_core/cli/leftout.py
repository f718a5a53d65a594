"""What filters and ad-tracking rules took out of a record that is sent all the same, each with what made it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from router_core.adtracking import AttStatus, withheld_ids
from router_core.events import CommerceEvent, CustomEvent, EventBatch, EventData, ScreenView, batch_from_json
from router_core.filters import DEVICE_IDENTITIES
from router_core.log.port import StoredBatch
from router_core.records import Record

_FILTER_OF_ATTRIBUTES: Mapping[type, str] = {
    CustomEvent: "event_attributes",
    ScreenView: "screen_attributes",
    CommerceEvent: "commerce_attributes",
}


def withheld_of(batches: Sequence[StoredBatch], att_status: AttStatus | None) -> Mapping[int, Sequence[str]]:
    """Batch to its advertising ids that nobody gets, with the reasons."""
    found: dict[int, Sequence[str]] = {}
    for stored in batches:
        try:
            device = batch_from_json(stored.body).device_info
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if device is not None:
            ids = withheld_ids(device, att_status)
            found[stored.seq] = [f"{name} is left out: {reason}" for name, reason in ids.items()]
    return found


def left_out(before: Record, after: Record, filters: str) -> Iterator[str]:
    """What the filters took out. `filters` is the path of their setting."""
    for name, setting in _missing(before, after):
        yield f"{name} is left out by {filters}.{setting}"


def _missing(before: Record, after: Record) -> Iterator[tuple[str, str]]:
    yield from _gone(before.batch.user_attributes, after.batch.user_attributes, "user_attributes")
    deleted = before.batch.deleted_user_attributes or (), after.batch.deleted_user_attributes or ()
    yield from ((name, "user_attributes") for name in deleted[0] if name not in deleted[1])
    yield from _gone(before.batch.user_identities, after.batch.user_identities, "user_identities")
    yield from _gone(_devices(before.batch), _devices(after.batch), "device_identities")
    setting = _FILTER_OF_ATTRIBUTES.get(type(before.event), "event_attributes")
    yield from _gone(_attributes(before.event), _attributes(after.event), setting)
    if isinstance(before.event, CommerceEvent) and isinstance(after.event, CommerceEvent):
        held, kept = (dict.fromkeys(_product_attributes(event)) for event in (before.event, after.event))
        yield from ((f"{name} of a product", setting) for name in held if name not in kept)


def _gone(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, setting: str) -> Iterator[tuple[str, str]]:
    if before is not after:
        yield from ((name, setting) for name in before or () if name not in (after or ()))


def _devices(batch: EventBatch) -> Mapping[str, Any]:
    device = batch.device_info
    return {name: True for name in DEVICE_IDENTITIES if device is not None and getattr(device, name) is not None}


def _attributes(event: EventData | None) -> Mapping[str, Any] | None:
    return None if event is None else event.custom_attributes


def _product_attributes(event: CommerceEvent) -> Iterator[str]:
    holders: list[Any] = [event.product_action, event.shopping_cart, *(event.product_impressions or ())]
    for holder in holders:
        for product in (holder.products if holder is not None else None) or ():
            yield from product.custom_attributes or ()
