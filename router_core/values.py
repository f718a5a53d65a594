"""What settings are made of: the router's own sections, and values with a unit, which plugins' settings may use too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from router_core.components import Settings

T = TypeVar("T")
_SECONDS: Final = {
    "ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600), "d": Decimal(86400),
}  # fmt: skip
_BYTES: Final = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?b|)", re.IGNORECASE)


def _duration(value: Any) -> Any:
    """`1h 30m` to a timedelta. ISO 8601 goes on to pydantic; a bare number is refused: nobody can tell its unit."""
    if isinstance(value, timedelta) or (isinstance(value, str) and value.lstrip("+-").startswith("P")):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if not re.fullmatch(f"(?:{_DURATION_PART.pattern})+", text):
        raise PydanticCustomError("router_duration", "is not a duration with a unit, such as 200ms, 30s or 24h")
    try:
        seconds = sum(Decimal(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
        return timedelta(seconds=float(seconds))
    except OverflowError:
        raise PydanticCustomError("router_duration", "is longer than a duration can be") from None


def _size(value: Any) -> Any:
    """`10GiB` (1024-based) or `10GB` (1000-based) or a number of bytes to bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2].lower() not in _BYTES:
        raise PydanticCustomError("router_size", "is not a size, such as 10GiB, 512MiB or a number of bytes")
    return int(Decimal(match[1]) * _BYTES[match[2].lower()])


def _not_empty(value: tuple[T, ...]) -> tuple[T, ...]:
    # pydantic's own `min_length` also complains of a list whose only entry is wrong.
    if not value:
        raise PydanticCustomError("router_empty", "must not be empty")
    return value


Several = Annotated[tuple[T, ...], AfterValidator(_not_empty)]
"""At least one."""

Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+(\.\d+)?\s*(ms|s|m|h|d)\s*)+$|^P"}),
]
"""A timedelta written `200ms`, `30s`, `1h 30m`, `7d` or in ISO 8601."""

Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^\d+(\.\d+)?\s*([kKmMgGtT]?[iI]?[bB])?$"},
            ]
        }
    ),
]
"""Bytes, written as a number or as `64MiB`, `10GB`."""


class Section(Settings):
    """A part of the router's own settings. Its repr shows names only, as a secret may stand at a wrong place."""

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        return ((None, name) for name in type(self).model_fields)
