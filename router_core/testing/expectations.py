"""Compares what was expected with what came: names that are not mentioned may have any value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

ABSENT: Final = "<absent>"
"""Expected of a name that must not be there."""
ANY: Final = "<any>"
"""Expected of a name that must be there, with any value."""


def differences(expected: Any, found: Any, place: str) -> Iterator[str]:
    """One line for each difference, with its place. Of a mapping only the names that are expected count; a list must
    have as many items as expected, in the same order.
    """
    if expected == ANY:
        return
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for name, value in expected.items():
            below = f"{place}.{name}"
            if value == ABSENT:
                if name in found:
                    yield f"{below}: expected none, got {_shown(found[name])}"
            elif name in found:
                yield from differences(value, found[name], below)
            else:
                yield f"{below}: expected {_shown(value)}, but there are only: {', '.join(map(str, found)) or 'none'}"
    elif isinstance(expected, list) and isinstance(found, list):
        for at, (value, other) in enumerate(zip(expected, found, strict=False)):
            yield from differences(value, other, f"{place}[{at}]")
        for at, value in enumerate(expected[len(found) :], start=len(found)):
            yield f"{place}[{at}]: expected {_shown(value)}, got no more than {len(found)}"
        for at, other in enumerate(found[len(expected) :], start=len(expected)):
            yield f"{place}[{at}]: expected no more than {len(expected)}, got {_shown(other)}"
    elif expected != found or isinstance(expected, bool) is not isinstance(found, bool):
        yield f"{place}: expected {_shown(expected)}, got {_shown(found)}"


def _shown(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # a whole number beyond 64 bits
        return repr(value)
