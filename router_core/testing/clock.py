"""A clock that stands still until somebody sleeps on it or sets it."""

from __future__ import annotations

import asyncio

from router_core.testing.builders import RECEIVED_AT_MS


class FakeClock:
    """A `Clock`: `sleep` puts the time forward at once and lets other tasks run; `slept` keeps every wait.

    For code that does one thing at a time. Where several tasks wait at once, `in_virtual_time` keeps their order.
    """

    def __init__(self, now: float = RECEIVED_AT_MS / 1000) -> None:
        self._start = now
        self._passed = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        """Unix seconds."""
        return self._start + self._passed

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._passed

    async def sleep(self, seconds: float) -> None:
        """Put the time forward, and let other tasks run."""
        self.slept.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Put the time forward."""
        self._passed += max(seconds, 0.0)
