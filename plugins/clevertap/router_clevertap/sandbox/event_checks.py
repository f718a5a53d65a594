"""Checks of an event record: its name, then its properties."""

from functools import lru_cache
from typing import Any

from router_clevertap.sandbox import refusals, rules
from router_clevertap.sandbox.refusals import Refusal
from router_clevertap.sandbox.settings import SandboxSettings


def event_refusal(record: dict[str, Any], settings: SandboxSettings) -> Refusal | None:
    """The first fault of an event whose id and `ts` are good, or None."""
    name = record.get("evtName")
    if not isinstance(name, str) or not name.strip():
        return refusals.NO_EVENT_NAME
    return _name_refusal(name, settings.discarded_names) or _data_refusal(
        record.get("evtData"), settings.max_event_properties
    )


@lru_cache(maxsize=2048)  # a stream of events has few names
def _name_refusal(name: str, discarded: frozenset[str]) -> Refusal | None:
    plain = rules.normalised(name)
    if plain in rules.RESTRICTED or name.startswith(rules.OWN_PREFIXES):
        return refusals.RESTRICTED_NAME
    if plain in discarded:
        return refusals.DISCARDED_NAME
    # No code is documented for these two; 512 is "invalid event structure". SDKs cut and strip before they
    # send.
    if len(name) > rules.MAX_EVENT_NAME_CHARS:
        return refusals.event_name(512, f"Event name exceeds {rules.MAX_EVENT_NAME_CHARS} characters")
    if not rules.FORBIDDEN_IN_NAMES.isdisjoint(name):
        return refusals.event_name(512, "Event name contains characters that are not allowed")
    return None


def _data_refusal(data: object, max_properties: int) -> Refusal | None:
    if not isinstance(data, dict):  # a missing evtData is undocumented; an empty one is in the Node SDK's README
        return refusals.event_data(512, "evtData is mandatory")
    if len(data) > max_properties:
        return refusals.too_many_properties(max_properties)
    for key, value in data.items():
        is_items = key == "Items" and isinstance(value, list)
        if refusal := _items_refusal(value) if is_items else _property_refusal(key, value):
            return refusal
    return None


def _items_refusal(items: list[object]) -> Refusal | None:
    if len(items) > rules.MAX_CHARGED_ITEMS:
        return refusals.event_data(512, f"Items exceeds {rules.MAX_CHARGED_ITEMS} objects")
    for item in items:
        if not isinstance(item, dict):
            return refusals.nested("Items")
        for key, value in item.items():
            if refusal := _property_refusal(key, value):
                return refusal
    return None


def _property_refusal(key: str, value: object) -> Refusal | None:
    if isinstance(value, dict | list):
        return refusals.nested(key)
    if not _key_is_allowed(key):
        return refusals.event_data(512, f"Incorrect property name for field : {key}")
    if value is None:  # undocumented; SDKs drop nulls before they send
        return refusals.event_data(512, f"Property value is null for field : {key}")
    if isinstance(value, str) and exceeds(value, rules.MAX_VALUE_BYTES):
        return refusals.event_data(512, f"Property value exceeds {rules.MAX_VALUE_BYTES} bytes for field : {key}")
    return None


@lru_cache(maxsize=8192)
def _key_is_allowed(key: str) -> bool:
    return (
        bool(key)
        and not exceeds(key, rules.MAX_KEY_BYTES)
        and rules.FORBIDDEN_IN_NAMES.isdisjoint(key)
        and not key.startswith(rules.OWN_PREFIXES)
    )


def exceeds(text: str, max_bytes: int) -> bool:
    """Whether the text is longer than `max_bytes` in UTF-8. Encodes only what could be."""
    return len(text) * 4 > max_bytes and len(text.encode(errors="surrogatepass")) > max_bytes
