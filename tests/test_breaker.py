"""When a connection may call: at once, after a wait, one at a time, or not until it is mended."""

from __future__ import annotations

import asyncio

import pytest

from router_core.breaker import OPEN_AFTER, Breaker, BreakerState
from router_core.retry import Backoff
from router_core.testing import VirtualClock, in_virtual_time


def breaker() -> Breaker:
    """One whose waits are 10, 20, 40 … seconds."""
    return Breaker(Backoff(10.0, 300.0, lambda _, high: high), VirtualClock(), probe_paused_after=300.0)


def opened() -> Breaker:
    """One after three failures: it waits 40 seconds."""
    made = breaker()
    for _ in range(OPEN_AFTER):
        made.failed("down")
    return made


async def waited(made: Breaker) -> float:
    """Seconds until a call may be made."""
    before = asyncio.get_running_loop().time()
    await made.ready()
    return asyncio.get_running_loop().time() - before


@in_virtual_time
async def test_a_closed_breaker_lets_everybody_through() -> None:
    made = breaker()
    assert [await waited(made) for _ in range(3)] == [0, 0, 0]
    assert not made.shut


@in_virtual_time
async def test_failures_below_the_limit_make_only_their_own_lane_wait() -> None:
    made = breaker()
    assert [made.failed("down") for _ in range(OPEN_AFTER - 1)] == [10.0, 20.0]
    assert made.state is BreakerState.CLOSED
    assert await waited(made) == 0


@in_virtual_time
async def test_at_the_limit_everybody_waits() -> None:
    made = opened()
    assert (made.state, made.shut) == (BreakerState.OPEN, True)
    assert await waited(made) == pytest.approx(40.0)
    assert made.state is BreakerState.HALF_OPEN


@in_virtual_time
async def test_a_success_in_between_starts_the_count_again() -> None:
    made = breaker()
    made.failed("down")
    made.failed("down")
    made.succeeded()
    made.failed("down")
    assert made.state is BreakerState.CLOSED


@in_virtual_time
async def test_a_time_that_the_partner_names_holds_for_everybody_from_the_first_failure() -> None:
    made = breaker()
    assert made.failed("slow down", retry_after=60.0) == 60.0
    assert await waited(made) == pytest.approx(60.0)


@in_virtual_time
async def test_a_shorter_wait_does_not_cut_a_longer_one_short() -> None:
    made = breaker()
    made.failed("slow down", retry_after=60.0)
    made.failed("slow down", retry_after=5.0)
    assert await waited(made) == pytest.approx(60.0)


@in_virtual_time
async def test_a_stale_success_does_not_end_the_pause_that_the_partner_asked_for() -> None:
    made = breaker()
    made.failed("slow down", retry_after=60.0)
    made.succeeded()
    assert await waited(made) == pytest.approx(60.0)


@in_virtual_time
async def test_one_caller_goes_first_and_the_others_see_how_it_fares() -> None:
    made = opened()
    let_through: list[int] = []

    async def call(number: int) -> None:
        await made.ready()
        let_through.append(number)

    callers = [asyncio.create_task(call(number)) for number in range(3)]
    await asyncio.sleep(1000.0)
    assert len(let_through) == 1
    made.succeeded()
    await asyncio.gather(*callers)
    assert made.state is BreakerState.CLOSED


@in_virtual_time
async def test_a_probe_that_fails_makes_the_others_wait_again() -> None:
    made = opened()
    await made.ready()
    made.failed("still down")
    assert await waited(made) == pytest.approx(80.0)


@in_virtual_time
async def test_a_probe_given_up_lets_the_next_one_go_at_once() -> None:
    made = opened()
    await made.ready()
    waiting = asyncio.create_task(waited(made))
    await asyncio.sleep(5.0)
    made.gave_up_probe()
    assert await waiting == pytest.approx(5.0)
    assert made.state is BreakerState.HALF_OPEN


@in_virtual_time
async def test_giving_up_a_probe_changes_nothing_in_any_other_state() -> None:
    made = breaker()
    made.gave_up_probe()
    assert made.state is BreakerState.CLOSED


@in_virtual_time
async def test_a_paused_breaker_lets_one_caller_try_after_a_while() -> None:
    made = breaker()
    made.paused("wrong passcode")
    assert made.shut
    assert await waited(made) == pytest.approx(300.0)
    assert made.state is BreakerState.HALF_OPEN


@in_virtual_time
async def test_a_resumed_breaker_lets_one_caller_try_at_once() -> None:
    made = breaker()
    made.paused("wrong passcode")
    waiting = [asyncio.create_task(waited(made)) for _ in range(2)]
    await asyncio.sleep(7.0)
    made.resume()
    await asyncio.sleep(1.0)
    assert sorted(task.done() for task in waiting) == [False, True]
    made.succeeded()
    assert sorted([await task for task in waiting]) == pytest.approx([7.0, 8.0])


@in_virtual_time
async def test_neither_failures_of_older_calls_nor_their_times_end_a_pause() -> None:
    made = breaker()
    made.paused("wrong passcode")
    for _ in range(5):
        made.failed("down", retry_after=1.0)
    assert made.state is BreakerState.PAUSED
    assert await waited(made) == pytest.approx(300.0)


@in_virtual_time
async def test_the_last_error_is_kept_with_its_time() -> None:
    made = breaker()
    await asyncio.sleep(3.0)
    made.failed("down")
    made.succeeded()
    assert (made.last_error, made.last_error_at) == ("down", VirtualClock().now())


@in_virtual_time
async def test_mended_settings_end_a_wait_that_the_partner_asked_for() -> None:
    made = breaker()
    made.failed("slow down", retry_after=3600.0)
    waiting = asyncio.create_task(waited(made))
    await asyncio.sleep(5.0)
    made.resume()
    assert await waiting == 5.0
