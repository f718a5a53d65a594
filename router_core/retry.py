"""When to try again: Retry-After in both its forms, and back-off with full jitter."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_RETRY_AFTER = 3600.0
"""Seconds; a partner that names more is asked again after an hour."""


def retry_after_seconds(value: str | None, now: float) -> float | None:
    """Seconds to wait by a `Retry-After` header, whole seconds or an HTTP date; None if it is missing or unreadable.

    `now` is in Unix seconds. The answer lies in 0 … one hour.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_RETRY_AFTER)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:  # "-0000" and missing zones: HTTP dates are in GMT
        date = date.replace(tzinfo=UTC)
    return min(max(date.timestamp() - now, 0.0), LONGEST_RETRY_AFTER)


class Backoff:
    """Exponential back-off with full jitter: the n-th wait lies in 0 … min(maximum, initial·2ⁿ⁻¹) seconds.

    A tenth of the range is always waited, so that unlucky draws do not hammer a partner that is down.
    """

    def __init__(
        self, initial: float, maximum: float, jitter: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._initial = initial
        self._maximum = maximum
        self._jitter = jitter

    def seconds(self, failures: int, asked: float | None = None) -> float:
        """The wait after this many failures in a row (1 or more).

        What the partner `asked` for counts instead, up to an hour. One that asks for no wait at all gets the back-off:
        it would be called without a pause for ever.
        """
        if asked is not None and asked > 0:
            return min(asked, LONGEST_RETRY_AFTER)
        ceiling = min(self._maximum, self._initial * 2.0 ** min(failures - 1, 30))
        return self._jitter(ceiling / 10, ceiling)
