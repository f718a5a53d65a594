"""Changed copies of records, for transforms. A record never changes in place: its batch is shared by others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from router_core.dataplan import name_of
from router_core.records import Record


def event_name(record: Record) -> str:
    """The event's, the screen's or the commerce action's name; empty for what has none."""
    return "" if record.event is None else name_of(record.event)


def attributes_of(record: Record) -> Mapping[str, Any]:
    """The event's custom attributes; of a profile update the user attributes. Not to be changed."""
    found = record.batch.user_attributes if record.event is None else record.event.custom_attributes
    return found or {}


def with_attributes(record: Record, changes: Mapping[str, Any] | None = None, /, **more: Any) -> Record:
    """A copy with these attributes set or replaced: an event's own, or the user attributes of a profile update."""
    return _with_all(record, {**attributes_of(record), **(changes or {}), **more})


def without_attributes(record: Record, *names: str) -> Record:
    """A copy without these attributes; itself if it has none of them."""
    attributes = attributes_of(record)
    if not any(name in attributes for name in names):
        return record
    return _with_all(record, {name: value for name, value in attributes.items() if name not in names})


def with_event(record: Record, **fields: Any) -> Record:
    """A copy whose event has these fields: `with_event(record, event_name="Read")`.

    Raises `TypeError` for a field that this type of event does not have, `ValueError` for a profile update.
    """
    if record.event is None:
        raise ValueError("a profile update has no event")
    return replace(record, event=replace(record.event, **fields))


def _with_all(record: Record, attributes: dict[str, Any]) -> Record:
    if record.event is None:
        return replace(record, batch=replace(record.batch, user_attributes=attributes))
    return replace(record, event=replace(record.event, custom_attributes=attributes))
