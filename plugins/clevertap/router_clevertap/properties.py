"""Event attributes → `evtData`. The hot path: clean attributes are found clean in one pass and sent as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from json import dumps
from math import isfinite
from typing import Any, Final

import orjson

from router_clevertap.names import CleanName, Remembered, clean_key, cut
from router_clevertap.notes import NONE, Note, Notes

MAX_PROPERTIES: Final = 100  # official documentation of 2026; an account's own limit may be higher
MAX_VALUE_BYTES: Final = 512  # official documentation, "Platform considerations"
_SURELY_SHORT: Final = MAX_VALUE_BYTES // 4  # characters; UTF-8 needs at most four bytes for one
_LARGEST_INTEGER: Final = 2**63 - 1  # the JSON encoder takes no more, and CleverTap's numbers are doubles at best
_MOST_SHAPES: Final = 4096


class PropertyCleaner:
    """Cleans event properties; remembers the keys it has seen."""

    def __init__(self) -> None:
        self._keys = Remembered(clean_key)
        self._clean_shapes: set[tuple[str, ...]] = set()

    def properties(self, attributes: Mapping[str, Any] | None) -> tuple[Mapping[str, Any], Notes]:
        """Properties that CleverTap takes, and what had to be changed. May be `attributes` itself: do not change it."""
        if not attributes:
            return {}, NONE
        if tuple(attributes) not in self._clean_shapes:
            return self._cleaned(attributes)
        for value in attributes.values():
            kind = type(value)
            if kind is str:
                if not value or (len(value) > _SURELY_SHORT and len(value.encode()) > MAX_VALUE_BYTES):
                    break
            elif kind is int:
                if not -_LARGEST_INTEGER <= value <= _LARGEST_INTEGER:
                    break
            elif kind is float:
                if not isfinite(value):
                    break
            elif kind is not bool:
                break
        else:
            return attributes, NONE
        return self._cleaned(attributes)

    def _cleaned(self, attributes: Mapping[str, Any]) -> tuple[Mapping[str, Any], Notes]:
        keys = [self._keys[raw] for raw in attributes]
        self._remember_if_clean(attributes, keys)
        properties: dict[str, Any] = {}
        taken: set[str] = set()
        notes: list[Note] = []
        for (raw, raw_value), key in zip(attributes.items(), keys, strict=True):
            value, note = property_value(raw_value) if key.text else (None, key.note)
            if value is not None and key.compared in taken:
                note = "key_collision"
            elif value is not None and len(properties) == MAX_PROPERTIES:
                note = "too_many_properties"
            elif value is not None:
                properties[key.text] = value
                taken.add(key.compared)
                note = note or key.note
            if note:
                notes.append(Note(note, raw))
        return properties, tuple(notes)

    def _remember_if_clean(self, attributes: Mapping[str, Any], keys: Sequence[CleanName]) -> None:
        """Remember a set of keys, in its order, that can always be sent as it is."""
        differ = len({key.compared for key in keys}) == len(keys) <= MAX_PROPERTIES
        if differ and not any(key.note for key in keys):
            if len(self._clean_shapes) >= _MOST_SHAPES:
                self._clean_shapes.clear()
            self._clean_shapes.add(tuple(attributes))


def property_value(value: Any) -> tuple[Any, str]:
    """A value as CleverTap takes it, and the code of what was changed; None leaves the property out.

    Null and empty values are left out as CleverTap's SDKs do. Nested values become JSON text: `evtData` is flat
    (code 512, recorded answer of 2024).
    """
    if isinstance(value, str):
        if not value:
            return None, "empty_value"
        short = cut(value, MAX_VALUE_BYTES)
        return short, "value_cut" if len(short) != len(value) else ""
    if value is None:
        return None, "empty_value"
    if isinstance(value, (bool, int, float)):
        return number_value(value)
    return cut(json_text(value), MAX_VALUE_BYTES), "nested_as_text"


def number_value(value: bool | int | float) -> tuple[Any, str]:
    """A number that JSON can carry: no NaN or infinity, and integers beyond 64 bits as text."""
    if isinstance(value, float) and not isfinite(value):
        return None, "empty_value"
    if isinstance(value, int) and not -_LARGEST_INTEGER <= value <= _LARGEST_INTEGER:
        return str(value)[:MAX_VALUE_BYTES], "number_as_text"
    return value, ""


def json_text(value: Any) -> str:
    """A nested value as compact JSON text."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # integers beyond 64 bits
        return dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)
