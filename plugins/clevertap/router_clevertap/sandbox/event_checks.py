"""Checks of an event record: its name, then its properties.

Limits and characters of names, keys and values have no documented code: what breaks them is silent damage.
"""

from typing import Any

from router_clevertap.sandbox import refusals, rules
from router_clevertap.sandbox.refusals import Refusal
from router_clevertap.sandbox.remembering import remembered
from router_clevertap.sandbox.settings import SandboxSettings


def event_refusal(record: dict[str, Any], settings: SandboxSettings) -> Refusal | None:
    """The first fault of an event whose id and `ts` are good, or None."""
    name = record.get("evtName")
    if not isinstance(name, str) or not name.strip():
        return refusals.NO_EVENT_NAME
    return _name_refusal(name, settings.discarded_names) or _data_refusal(
        record.get("evtData"), settings.max_event_properties
    )


@remembered(2048)
def _name_refusal(name: str, discarded: frozenset[str]) -> Refusal | None:
    plain = rules.normalised(name)
    if plain in rules.RESTRICTED or name.startswith(rules.OWN_PREFIXES):
        return refusals.RESTRICTED_NAME
    if plain in discarded:
        return refusals.DISCARDED_NAME
    return None


def _data_refusal(data: object, max_properties: int) -> Refusal | None:
    if not isinstance(data, dict):  # a missing evtData is undocumented; an empty one is in the Node SDK's README
        return refusals.event_data(512, "evtData is mandatory")
    if len(data) > max_properties:
        return refusals.too_many_properties(max_properties)
    for key, value in data.items():
        if key == "Items" and isinstance(value, list):
            if refusal := _items_refusal(value):
                return refusal
        elif isinstance(value, dict | list):
            return refusals.nested(key)
    return None


def _items_refusal(items: list[object]) -> Refusal | None:
    for item in items:
        if not isinstance(item, dict):
            return refusals.nested("Items")
        for key, value in item.items():
            if isinstance(value, dict | list):
                return refusals.nested(key)
    return None
