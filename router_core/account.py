"""One account at a partner: how many calls may be in flight at once, over all connections of an output."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from router_core.breaker import Breaker
from router_core.errors import Throttled


def _nobody(allowed: int) -> None:
    return


class Account:
    """Halves the calls in flight when the partner says that they are too many, and feels its way up again.

    Partners such as CleverTap limit what runs at the same time and not the rate, so fewer calls at once is the answer
    to a 429, and waiting alone is not (additive increase, multiplicative decrease, as in TCP).
    """

    def __init__(self, most: int, changed: Callable[[int], None] = _nobody) -> None:
        """`changed` is told how many calls are allowed, now and after each change."""
        self._most = max(most, 1)
        self._changed = changed
        self._limit = float(self._most)
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._cuts = 0
        self._breakers: list[Breaker] = []
        changed(self.allowed)

    @property
    def allowed(self) -> int:
        """Calls that may be in flight now."""
        return int(self._limit)

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """Hold one slot around a call; a `Throttled` that passes through lowers their number."""
        await self._acquire()
        cuts = self._cuts
        try:
            yield
        except Throttled:
            if cuts == self._cuts:  # those that were in flight together say one thing, not many
                self._cuts += 1
                self._set(max(self._limit / 2, 1.0))
            raise
        else:
            if self._limit < self._most:
                self._set(min(self._limit + 1 / self._limit, self._most))
        finally:
            self._release()

    async def _acquire(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)  # also where a slot is free: those who came before go first
        self._wake()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            else:  # it was our turn: let another one have it
                self._release()
            raise

    def _release(self) -> None:
        self._in_flight -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._in_flight < self.allowed:
            self._in_flight += 1
            self._waiting.popleft().set_result(None)

    def _set(self, limit: float) -> None:
        before, self._limit = self.allowed, limit
        if self.allowed != before:
            self._changed(self.allowed)

    # --- what one connection learns for the others ---

    def join(self, breaker: Breaker) -> None:
        """Take a connection's breaker in: a pause that the partner asks for holds for the whole account."""
        self._breakers.append(breaker)

    def asked_to_wait(self, by: Breaker, reason: str, seconds: float) -> None:
        """Let the other connections wait as well."""
        for breaker in self._breakers:
            if breaker is not by:
                breaker.asked_to_wait(reason, seconds)
