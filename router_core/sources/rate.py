"""A token bucket for what comes in."""

from __future__ import annotations

from collections.abc import Callable


class TokenBucket:
    """Lets `per_second` batches through, with bursts of one second's worth."""

    def __init__(self, per_second: float, monotonic: Callable[[], float]) -> None:
        self._per_second = per_second
        self._monotonic = monotonic
        self._tokens = per_second
        self._at = monotonic()

    def take(self, amount: float) -> float:
        """Take tokens if any are left and return 0; else the seconds until there are. A large take leaves a debt."""
        now = self._monotonic()
        self._tokens = min(self._per_second, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        if self._tokens <= 0:
            return (1 - self._tokens) / self._per_second
        self._tokens -= amount
        return 0.0
