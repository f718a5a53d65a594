"""Records cut down for the page, which asks for many of them every other second."""

from typing import Any, Final

import orjson

MAX_SHOWN_BYTES: Final = 4096  # of the JSON of one record; smaller ones are shown whole
_MAX_CHARS: Final = 120
_MAX_ELEMENTS: Final = 12


def shortened(value: Any) -> Any:
    """A value as it is if its JSON is small, or else without its long texts, later elements and inner levels."""
    for levels in (3, 2, 1):
        if len(orjson.dumps(value)) <= MAX_SHOWN_BYTES:
            break
        value = _cut(value, levels)
    return value


def shortened_json(raw: bytes) -> Any:
    """As `shortened`, of JSON; small JSON is not parsed."""
    return orjson.Fragment(raw) if len(raw) <= MAX_SHOWN_BYTES else shortened(orjson.loads(raw))


def _cut(value: Any, levels: int) -> Any:
    if isinstance(value, str):
        return f"{value[:_MAX_CHARS]}… ({len(value)} characters)" if len(value) > _MAX_CHARS else value
    if not isinstance(value, dict | list):
        return value
    if not levels:
        return f"… ({len(value)} elements)"
    more = f"{len(value) - _MAX_ELEMENTS} more" if len(value) > _MAX_ELEMENTS else ""
    if isinstance(value, list):
        return [*(_cut(inner, levels - 1) for inner in value[:_MAX_ELEMENTS]), *([f"… {more}"] if more else [])]
    first = list(value.items())[:_MAX_ELEMENTS]
    return {_cut(key, 0): _cut(inner, levels - 1) for key, inner in first} | ({"…": more} if more else {})
