"""Retry-After in both its forms, and back-off with full jitter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_core.retry import LONGEST_RETRY_AFTER, Backoff, retry_after_seconds

NOW = datetime(2025, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("3600", 3600.0),
        ("86400", LONGEST_RETRY_AFTER),
        ("9" * 400, LONGEST_RETRY_AFTER),
        ("Sat, 01 Mar 2025 12:00:30 GMT", 30.0),
        ("Sat, 01 Mar 2025 13:00:30 +0100", 30.0),
        ("Sat, 01 Mar 2025 12:00:30 -0000", 30.0),
        ("Sat, 01 Mar 2025 12:00:30", 30.0),
        ("Sat, 01 Mar 2025 11:00:00 GMT", 0.0),
        ("Sun, 02 Mar 2025 12:00:00 GMT", LONGEST_RETRY_AFTER),
        ("Saturday, 01-Mar-25 12:01:00 GMT", 60.0),
        ("Sat Mar  1 12:00:10 2025", 10.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date_within_an_hour(value: str, seconds: float) -> None:
    assert retry_after_seconds(value, NOW.timestamp()) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", [None, "", "  ", "soon", "-5", "1.5", "٣", "²", "1e3", "32 Foo 2025 99:99:99 GMT", "0x10"]
)
def test_an_unreadable_retry_after_is_none(value: str | None) -> None:
    assert retry_after_seconds(value, NOW.timestamp()) is None


@given(st.integers(-10_000, 10_000))
def test_a_date_is_as_good_as_seconds(seconds: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert retry_after_seconds(date, NOW.timestamp()) == min(max(seconds, 0), LONGEST_RETRY_AFTER)


@given(st.text(max_size=40))
def test_no_header_makes_it_fail(value: str) -> None:
    seconds = retry_after_seconds(value, NOW.timestamp())
    assert seconds is None or 0 <= seconds <= LONGEST_RETRY_AFTER


@given(st.integers(1, 10_000))
def test_a_back_off_lies_between_a_tenth_of_its_ceiling_and_the_ceiling(failures: int) -> None:
    ceiling = min(300.0, 2.0 ** min(failures - 1, 20))
    assert ceiling / 10 <= Backoff(1.0, 300.0).seconds(failures) <= ceiling


@pytest.mark.parametrize(("failures", "low", "high"), [(1, 0.2, 2.0), (2, 0.4, 4.0), (3, 0.8, 8.0), (4, 1.0, 10.0)])
def test_the_range_doubles_up_to_the_maximum(failures: int, low: float, high: float) -> None:
    assert Backoff(2.0, 10.0, lambda a, _: a).seconds(failures) == pytest.approx(low)
    assert Backoff(2.0, 10.0, lambda _, b: b).seconds(failures) == pytest.approx(high)


@pytest.mark.parametrize(
    ("asked", "seconds"), [(None, 1.0), (0.0, 1.0), (-3.0, 1.0), (0.5, 0.5), (42.0, 42.0), (1e9, LONGEST_RETRY_AFTER)]
)
def test_what_the_partner_asks_for_counts_instead_unless_it_is_nothing(asked: float | None, seconds: float) -> None:
    assert Backoff(1.0, 10.0, lambda _, b: b).seconds(1, asked) == seconds
