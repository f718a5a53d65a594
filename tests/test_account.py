"""The calls in flight of one account: fewer when the partner says so, more again when it answers."""

from __future__ import annotations

import asyncio

import pytest

from router_core.account import Account
from router_core.breaker import Breaker, BreakerState
from router_core.errors import Throttled, Unavailable
from router_core.retry import Backoff
from router_core.testing import VirtualClock, in_virtual_time


class Partner:
    """Answers after a second and counts how many calls it has at once; refuses those beyond its limit."""

    def __init__(self, account: Account, limit: int = 1000) -> None:
        self._account = account
        self.limit = limit
        self.now = self.most = self.refused = self.answered = 0

    async def call(self) -> None:
        async with self._account.call():
            self.now += 1
            self.most = max(self.most, self.now)
            refused = self.now > self.limit
            try:
                await asyncio.sleep(1.0)
            finally:
                self.now -= 1
            if refused:
                self.refused += 1
                raise Throttled
            self.answered += 1

    async def calls(self, number: int) -> None:
        await asyncio.gather(*(self.call() for _ in range(number)), return_exceptions=True)


@in_virtual_time
async def test_no_more_calls_run_at_once_than_allowed() -> None:
    partner = Partner(Account(3))
    await partner.calls(10)
    assert (partner.most, partner.answered) == (3, 10)


@in_virtual_time
async def test_calls_that_were_refused_together_halve_the_number_once() -> None:
    told: list[int] = []
    account = Account(12, told.append)
    partner = Partner(account, limit=0)
    await partner.calls(12)
    assert (partner.refused, account.allowed, told) == (12, 6, [12, 6])
    await partner.calls(6)
    assert account.allowed == 3


@in_virtual_time
async def test_one_call_is_always_allowed() -> None:
    account = Account(2)
    partner = Partner(account, limit=0)
    for _ in range(5):
        await partner.calls(2)
    assert account.allowed == 1
    partner.limit = 1
    await partner.calls(1)
    assert partner.answered == 1


@in_virtual_time
async def test_answers_bring_the_number_back_up_to_the_most_and_not_beyond() -> None:
    account = Account(8)
    partner = Partner(account, limit=0)
    await partner.calls(8)
    partner.limit = 1000
    await partner.calls(4)
    assert account.allowed in (4, 5), "about one more for as many answers as are allowed at once"
    await partner.calls(40)
    assert account.allowed == 8
    await partner.calls(40)
    assert (account.allowed, partner.most) == (8, 8)


@in_virtual_time
async def test_it_settles_near_what_a_partner_takes() -> None:
    account = Account(15)
    partner = Partner(account, limit=4)
    for _ in range(60):
        await partner.calls(15)
    assert partner.refused < partner.answered / 10
    assert 2 <= account.allowed <= 6


@in_virtual_time
async def test_other_errors_leave_the_number_alone() -> None:
    account = Account(4)
    with pytest.raises(Unavailable):
        async with account.call():
            raise Unavailable
    assert account.allowed == 4


@in_virtual_time
async def test_who_waited_and_was_cancelled_takes_no_slot_along() -> None:
    partner = Partner(Account(1))
    first, second, third = (asyncio.create_task(partner.call()) for _ in range(3))
    await asyncio.sleep(0.5)
    second.cancel()
    await asyncio.gather(first, second, third, return_exceptions=True)
    assert partner.answered == 2

    turn = asyncio.create_task(partner.call())
    waiting = asyncio.create_task(partner.call())
    last = asyncio.create_task(partner.call())
    await asyncio.sleep(0)
    turn.cancel()  # its slot goes to `waiting`, which is cancelled before it can take it
    waiting.cancel()
    await asyncio.wait_for(last, 5)
    assert partner.answered == 3


@in_virtual_time
async def test_a_pause_that_one_connection_is_asked_for_holds_for_the_others() -> None:
    clock = VirtualClock()
    account = Account(2)
    asked, other, paused = (Breaker(Backoff(1.0, 60.0), clock, 60.0) for _ in range(3))
    for breaker in (asked, other, paused):
        account.join(breaker)
    paused.paused("bad passcode")
    account.asked_to_wait(asked, "slow down", 30.0)
    assert [breaker.state for breaker in (asked, other, paused)] == [
        BreakerState.CLOSED, BreakerState.OPEN, BreakerState.PAUSED,
    ]  # fmt: skip
    other.succeeded()  # a call that was under way
    assert other.state is BreakerState.OPEN
    began = clock.monotonic()
    await other.ready()
    assert clock.monotonic() - began == pytest.approx(30.0)
    assert other.last_error == "slow down"


@in_virtual_time
async def test_who_comes_again_and_again_does_not_go_before_who_waits() -> None:
    account = Account(1)
    order: list[str] = []

    async def calls(name: str, number: int) -> None:
        for _ in range(number):
            async with account.call():
                order.append(name)
                await asyncio.sleep(1.0)

    await asyncio.gather(calls("often", 10), calls("once", 1))
    assert order.index("once") == 1
