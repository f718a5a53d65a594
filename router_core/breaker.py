"""Decides when a connection may call its partner: at once, after a wait, one at a time, or not until it is mended."""

from __future__ import annotations

import asyncio
from enum import StrEnum

from router_core.components import Clock
from router_core.retry import Backoff

OPEN_AFTER = 3
"""Failures in a row, over all lanes, after which the whole connection waits and not only the lane that failed."""


class BreakerState(StrEnum):
    """What a connection is doing about its partner."""

    CLOSED = "ok"
    OPEN = "waiting"
    HALF_OPEN = "probing"
    PAUSED = "paused"


class Breaker:
    """Shared by all lanes of one connection."""

    def __init__(self, backoff: Backoff, clock: Clock, probe_paused_after: float) -> None:
        """`probe_paused_after`: seconds after which a paused connection tries one call, in case it was mended."""
        self._backoff = backoff
        self._clock = clock
        self._probe_paused_after = probe_paused_after
        self._failures = 0
        self._until = 0.0
        self._asked_until = 0.0
        self._changed = asyncio.Event()
        self.state = BreakerState.CLOSED
        self.last_error = ""
        self.last_error_at: float | None = None

    @property
    def shut(self) -> bool:
        """Whether no call may begin, not even one that `ready` let through before."""
        return self.state in (BreakerState.OPEN, BreakerState.PAUSED)

    async def ready(self) -> None:
        """Return when a call may be made. After a wait, one caller goes first and the others see how it fares."""
        while self.state is not BreakerState.CLOSED:
            left = self._until - self._clock.monotonic()
            if self.shut and left <= 0:
                self.state = BreakerState.HALF_OPEN
                return
            self._changed.clear()
            try:
                async with asyncio.timeout(left if self.state is not BreakerState.HALF_OPEN else None):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def succeeded(self) -> None:
        """A call was answered. One that was under way when the partner asked for a pause does not end the pause."""
        self._failures = 0
        if self.state is not BreakerState.OPEN or self._asked_until <= self._clock.monotonic():
            self._set(BreakerState.CLOSED)

    def failed(self, reason: str, retry_after: float | None = None) -> float:
        """A call failed; returns the seconds that its lane should wait before it asks for `ready` again."""
        self._note(reason)
        self._failures += 1
        wait = self._backoff.seconds(self._failures, retry_after)
        if self.state is BreakerState.PAUSED:
            return wait  # a call of another lane was under way; that it failed too mends no credentials
        if retry_after is not None or self._failures >= OPEN_AFTER or self.state is BreakerState.HALF_OPEN:
            self._until = max(self._until, self._clock.monotonic() + wait)
            if retry_after is not None:
                self._asked_until = self._until
            self._set(BreakerState.OPEN)
        return wait

    def asked_to_wait(self, reason: str, seconds: float) -> None:
        """The partner asked another connection of the same account for a pause."""
        if self.state is BreakerState.PAUSED:
            return
        self._note(reason)
        self._until = self._asked_until = max(self._until, self._clock.monotonic() + seconds)
        self._set(BreakerState.OPEN)

    def paused(self, reason: str) -> None:
        """The partner refuses our credentials: keep the data and wait for `resume`."""
        self._note(reason)
        self._until = self._clock.monotonic() + self._probe_paused_after
        self._set(BreakerState.PAUSED)

    def resume(self) -> None:
        """The settings have changed: try at once, with one call."""
        self._until = 0.0
        self._failures = 0
        self._changed.set()

    def gave_up_probe(self) -> None:
        """The caller that went first ended without an answer for a reason of ours: let another one go."""
        if self.state is BreakerState.HALF_OPEN:
            self._set(BreakerState.OPEN)

    def _note(self, reason: str) -> None:
        self.last_error = reason
        self.last_error_at = self._clock.now()

    def _set(self, state: BreakerState) -> None:
        if self.state is not state:
            self.state = state
            self._changed.set()
