"""Single values of events and profiles in the form that CleverTap takes.

Each function returns the value, None to leave it out, and the code of what was changed (see `notes.py`), empty if
nothing was.
"""

from __future__ import annotations

from collections.abc import Mapping
from json import dumps
from math import isfinite
from typing import Any, Final

import orjson

from router_clevertap.dates import clevertap_date, is_clevertap_date
from router_clevertap.names import cut

MAX_VALUE_BYTES: Final = 512  # official documentation, "Platform considerations"
_SURELY_SHORT: Final = MAX_VALUE_BYTES // 4  # characters; UTF-8 needs at most four bytes for one
MAX_LIST_ITEMS: Final = 100  # official documentation: multi-value properties; the oldest items fall out
LARGEST_INTEGER: Final = 2**63 - 1  # the JSON encoder takes no more, and CleverTap's numbers are doubles at best


def plain_value(value: Any, *, convert_dates: bool = True) -> tuple[Any, str]:
    """A scalar as CleverTap takes it; an object or a list as JSON text.

    Null and empty values are left out as CleverTap's SDKs do. Nested values become text because `evtData` is flat
    (code 512, recorded answer of 2024).
    """
    if isinstance(value, str):
        return text_value(value, convert_dates)
    if value is None:
        return None, "empty_value"
    if isinstance(value, (bool, int, float)):
        return number_value(value)
    if is_empty(value):
        return None, "empty_value"
    text = json_text(value)
    short = cut(text, MAX_VALUE_BYTES)
    return short, "nested_as_text" if len(short) == len(text) else "nested_cut"


def is_empty(value: Any) -> bool:
    """Whether a value is null, empty text, or an object or a list that holds nothing else: `{}`, `[[]]`."""
    waiting = [value]
    while waiting:  # no recursion: the depth is the sender's
        one = waiting.pop()
        if isinstance(one, (dict, list)):
            waiting.extend(one.values() if isinstance(one, dict) else one)
        elif one is not None and one != "":
            return False
    return True


def is_surely_plain(value: Any) -> bool:
    """A quick look: whether `plain_value` would return the value as it is. False means only: look closer."""
    kind = type(value)
    if kind is str:
        length = len(value)
        return 0 < length <= _SURELY_SHORT and value[0] != "$" and (length < 10 or value[4] != "-")
    if kind is int:
        return bool(-LARGEST_INTEGER <= value <= LARGEST_INTEGER)
    return kind is bool


def text_value(text: str, convert_dates: bool) -> tuple[str | None, str]:
    """Text of at most 512 bytes, or a date."""
    if not text:
        return None, "empty_value"
    if text.startswith("$D_"):
        return (text, "") if is_clevertap_date(text) else (None, "bad_date")
    if convert_dates and looks_like_date(text):
        date = clevertap_date(text)
        if date is not None:
            return date, "date_converted"
    return short_text(text)


def short_text(text: str) -> tuple[str, str]:
    """Text of at most 512 bytes, whatever it looks like."""
    short = cut(text, MAX_VALUE_BYTES)
    return short, "value_cut" if len(short) != len(text) else ""


def looks_like_date(text: str) -> bool:
    """A quick look, true for every ISO date."""
    return len(text) >= 10 and text[4] == "-" and text[7] == "-"


def number_value(value: bool | int | float) -> tuple[Any, str]:
    """A number that JSON can carry: no NaN or infinity, and integers beyond 64 bits as text."""
    if isinstance(value, float) and not isfinite(value):
        return None, "empty_value"
    if isinstance(value, int) and not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
        return str(value)[:MAX_VALUE_BYTES], "number_as_text"
    return value, ""


def list_value(items: list[Any]) -> tuple[Any, str]:
    """A replacement of a whole list of a profile: different texts, at most the last 100.

    `$set` is what CleverTap's SDKs send; the API's documentation does not list it. An empty list removes the property,
    as taking away its last value does (official documentation).
    """
    if not items:
        return {"$delete": True}, ""
    if len(items) <= MAX_LIST_ITEMS and all(map(_is_short_text, items)) and len(set(items)) == len(items):
        return {"$set": items}, ""
    words = [item if isinstance(item, str) else json_text(item) for item in items if not is_empty(item)]
    different = list(dict.fromkeys(cut(word, MAX_VALUE_BYTES) for word in words))
    if not different:
        return None, "empty_value"
    kept = different[-MAX_LIST_ITEMS:]
    note = "list_cut" if len(kept) < len(different) else "list_changed" if kept != items else ""
    return {"$set": kept}, note


def _is_short_text(item: Any) -> bool:
    return type(item) is str and 0 < len(item) <= _SURELY_SHORT


def json_text(value: Any) -> str:
    """A nested value as compact JSON text."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # integers beyond 64 bits
        return dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)


def flattened(attributes: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Keys and values in order, with objects replaced by their values under keys joined with `_`. Lists stay."""
    flat: list[tuple[str, Any]] = []
    waiting = list(attributes.items())[::-1]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict) and value:
            waiting.extend((f"{key}_{inner}", one) for inner, one in reversed(value.items()))
        else:
            flat.append((key, value))
    return flat
