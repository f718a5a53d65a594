"""The token bucket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_core.sources.rate import TokenBucket
from router_core.testing import FakeClock


def test_a_second_of_batches_may_come_at_once_and_then_the_rate_holds() -> None:
    clock = FakeClock()
    bucket = TokenBucket(10, clock.monotonic)
    assert [bucket.take(1) for _ in range(10)] == [0.0] * 10
    wait = bucket.take(1)
    assert wait == pytest.approx(0.1)
    clock.advance(wait)
    assert bucket.take(1) == 0.0


def test_a_large_take_is_let_through_and_leaves_a_debt() -> None:
    clock = FakeClock()
    bucket = TokenBucket(10, clock.monotonic)
    assert bucket.take(100) == 0.0
    assert bucket.take(1) == pytest.approx(9.1)
    clock.advance(9.0)
    assert bucket.take(1) > 0.0
    clock.advance(0.11)
    assert bucket.take(1) == 0.0


def test_a_long_silence_saves_up_no_more_than_a_second() -> None:
    clock = FakeClock()
    bucket = TokenBucket(5, clock.monotonic)
    clock.advance(3600.0)
    assert [bucket.take(1) == 0.0 for _ in range(7)] == [True] * 5 + [False] * 2


@given(st.lists(st.floats(0.0, 0.5), max_size=60), st.integers(1, 20))
def test_over_any_stretch_no_more_gets_through_than_the_rate_and_one_burst(pauses: list[float], rate: int) -> None:
    clock = FakeClock()
    bucket = TokenBucket(rate, clock.monotonic)
    taken = 0
    for pause in pauses:
        clock.advance(pause)
        taken += bucket.take(1) == 0.0
    assert taken <= rate * (clock.monotonic() + 1) + 1


@given(st.floats(0.0, 5.0), st.integers(1, 50))
def test_who_waits_as_told_is_let_through(pause: float, rate: int) -> None:
    clock = FakeClock()
    bucket = TokenBucket(rate, clock.monotonic)
    clock.advance(pause)
    bucket.take(rate * 2)
    clock.advance(bucket.take(1) + 1e-6)
    assert bucket.take(1) == 0.0
