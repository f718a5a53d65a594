"""Event attributes → `evtData`. The hot path: clean attributes are found clean in one pass and sent as they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import isfinite
from typing import Any, Final

from router_clevertap.names import Remembered, clean_key
from router_clevertap.notes import NONE, Note, Notes
from router_clevertap.values import (
    LARGEST_INTEGER,
    MAX_VALUE_BYTES,
    flattened,
    looks_like_date,
    plain_value,
    short_text,
)

MAX_PROPERTIES: Final = 100  # official documentation of 2026; an account's own limit may be higher
_SURELY_SHORT: Final = MAX_VALUE_BYTES // 4  # characters; UTF-8 needs at most four bytes for one
_MOST_SHAPES: Final = 4096


class PropertyCleaner:
    """Cleans event properties; remembers the keys it has seen."""

    def __init__(
        self, max_properties: int = MAX_PROPERTIES, *, flatten: bool = False, convert_dates: bool = True
    ) -> None:
        self.max_properties = max_properties
        self._flatten = flatten
        self._convert_dates = convert_dates
        self._keys = Remembered(clean_key)
        self._clean_shapes: set[tuple[str, ...]] = set()

    def properties(
        self, attributes: Mapping[str, Any] | None, texts: Collection[str] = ()
    ) -> tuple[Mapping[str, Any], Notes]:
        """Properties that CleverTap takes, and what had to be changed. May be `attributes` itself: do not change it.

        `texts` are keys whose values are never dates, whatever they look like.
        """
        if not attributes:
            return {}, NONE
        if tuple(attributes) not in self._clean_shapes:
            return self._cleaned(attributes, texts)
        if _all_clean(attributes.values()):
            return attributes, NONE
        return self._cleaned(attributes, texts)

    def _cleaned(self, attributes: Mapping[str, Any], texts: Collection[str]) -> tuple[Mapping[str, Any], Notes]:
        self._remember_if_clean(attributes)
        properties: dict[str, Any] = {}
        taken: set[str] = set()
        notes: list[Note] = []
        for raw, raw_value in self._flat(attributes, notes):
            key = self._keys[raw]
            if not key.text:
                notes.append(Note(key.note, raw))
                continue
            value: Any
            if raw in texts and raw_value and isinstance(raw_value, str):
                value, changed = short_text(raw_value)
            else:
                value, changed = plain_value(raw_value, convert_dates=self._convert_dates)
            if value is None:
                notes.append(Note(changed, raw))
            elif key.compared in taken:
                notes.append(Note("key_collision", raw))
            elif len(properties) == self.max_properties:
                notes.append(Note("too_many_properties", raw))
            else:
                properties[key.text] = value
                taken.add(key.compared)
                notes.extend(Note(code, raw) for code in (key.note, changed) if code)
        return properties, tuple(notes)

    def _flat(self, attributes: Mapping[str, Any], notes: list[Note]) -> Iterable[tuple[str, Any]]:
        if not self._flatten:
            return attributes.items()
        nested = [raw for raw, value in attributes.items() if type(value) is dict and value]
        notes.extend(Note("nested_flattened", raw) for raw in nested)
        return flattened(attributes)

    def _remember_if_clean(self, attributes: Mapping[str, Any]) -> None:
        """Remember a set of keys, in its order, that can always be sent as it is."""
        keys = [self._keys[raw] for raw in attributes]
        differ = len({key.compared for key in keys}) == len(keys) <= self.max_properties
        if differ and not any(key.note for key in keys):
            if len(self._clean_shapes) >= _MOST_SHAPES:
                self._clean_shapes.clear()
            self._clean_shapes.add(tuple(attributes))


def _all_clean(values: Iterable[Any]) -> bool:
    """Whether all values can be sent as they are, as far as a quick look tells; what looks like a date cannot."""
    for value in values:
        kind = type(value)
        if kind is str:
            length = len(value)
            if length > _SURELY_SHORT:
                if len(value.encode()) > MAX_VALUE_BYTES or value[0] == "$":
                    return False
            elif not length or value[0] == "$" or (length > 9 and value[4] == "-" and looks_like_date(value)):
                return False
        elif kind is int:
            if not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
                return False
        elif kind is float:
            if not isfinite(value):
                return False
        elif kind is not bool:
            return False
    return True
