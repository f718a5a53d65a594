"""When a record happened, in Unix seconds: anything else costs the record (code 525, recorded answers of 2018)."""

from __future__ import annotations

from math import isfinite
from typing import Any, Final

from router_core.records import Record

_EARLIEST: Final = 1_000_000_000  # ten digits, so that a time in the wrong unit does not pass
_LATEST: Final = 9_999_999_999


def seconds_of(record: Record) -> tuple[int, bool]:
    """The record's time, and whether it is the event's own or the event has none.

    Where the event's own time makes no sense, the time of acceptance is nearer to it than CleverTap's of arrival;
    0 if that makes no sense either.
    """
    raw = None if record.event is None else record.event.timestamp_unixtime_ms
    if raw is not None:
        seconds = raw // 1000 if type(raw) is int else _seconds(raw)
        if _EARLIEST <= seconds <= _LATEST:
            return seconds, True
    accepted = record.context.received_at_ms // 1000
    return accepted if _EARLIEST <= accepted <= _LATEST else 0, raw is None


def dated(item: dict[str, Any], ts: int) -> dict[str, Any]:
    """The item with its time; without any, CleverTap takes that of arrival."""
    if ts:
        item["ts"] = ts
    return item


def _seconds(milliseconds: Any) -> int:
    """Milliseconds that came as text or with a fraction, in seconds; 0 if they are no time."""
    if isinstance(milliseconds, str) and len(milliseconds) < 20 and milliseconds.isascii() and milliseconds.isdigit():
        return int(milliseconds) // 1000
    is_number = isinstance(milliseconds, float) and isfinite(milliseconds)
    return int(milliseconds) // 1000 if is_number else 0
