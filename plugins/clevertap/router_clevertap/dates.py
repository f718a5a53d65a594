"""Dates: ISO text → CleverTap's `$D_` and Unix seconds (official documentation, "Upload Events").

A date in any other form is stored as plain text, which no filter by date finds (official documentation, "API FAQs").
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

_CLEVERTAP: Final = re.compile(r"\$D_(-?[0-9]{1,12})")
_ISO: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"  # day
    r"(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:[.,][0-9]+)?"  # time; parts of a second fall away
    r"(?: ?(Z|[+-][0-9]{2}(?::?[0-9]{2})?))?)?"  # zone
)
_LAST: Final = 253_402_300_799  # the end of the year 9999; more is another unit
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)


def is_clevertap_date(text: str) -> bool:
    """Whether the text is `$D_` and seconds of the years up to 9999."""
    match = _CLEVERTAP.fullmatch(text)
    return match is not None and abs(int(match[1])) <= _LAST


def clevertap_date(text: str) -> str | None:
    """The `$D_` form of an ISO date (midnight, UTC) or an ISO time (UTC unless it has a zone); None for other text."""
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    day, time, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{time or '00:00'}{zone or 'Z'}")
        return f"$D_{(moment - _EPOCH) // _SECOND}"
    except (ValueError, OverflowError):  # 30 February, 25 o'clock
        return None


def date_of_birth(value: Any) -> str | None:
    """The day of an ISO date at midnight, UTC; the time of day and its zone are passed over."""
    if not isinstance(value, str):
        return None
    words = value.strip()
    if is_clevertap_date(words):
        return words
    if words[10:11] not in ("", "T", " "):
        return None
    try:
        day = date.fromisoformat(words[:10])
    except ValueError:
        return None
    return f"$D_{(datetime(day.year, day.month, day.day, tzinfo=UTC) - _EPOCH) // _SECOND}"
