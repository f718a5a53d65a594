"""The search for a record that makes a call fail, and the line that says what a plugin did wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_core.errors import CallRefused, InvalidCredentials, Throttled, Unavailable
from router_core.isolation import fault_of, isolate
from router_core.records import Record
from router_core.testing import custom_event, event_batch, records_of, run_in_virtual_time


def records(count: int) -> list[Record]:
    return records_of(event_batch(*(custom_event() for _ in range(count))))


class Search:
    """Attempts that fail on bad records, and what they brought."""

    def __init__(self, bad: set[str], error: Exception | None = None) -> None:
        self._bad = bad
        self._error = error or CallRefused("bad", "not this one")
        self.calls: list[list[str]] = []
        self.good: list[str] = []
        self.given_up: list[str] = []

    async def attempt(self, part: Sequence[Record]) -> None:
        self.calls.append([record.id for record in part])
        if self._bad & set(self.calls[-1]):
            raise self._error
        self.good += self.calls[-1]

    async def give_up(self, record: Record, error: Exception) -> None:
        assert error is self._error
        self.given_up.append(record.id)


@given(st.integers(1, 40), st.sets(st.integers(0, 39)))
def test_every_bad_record_is_given_up_and_every_other_goes_through_in_order(count: int, bad: set[int]) -> None:
    search = Search({f"1.{n}" for n in bad})
    run_in_virtual_time(isolate(records(count), search.attempt, search.give_up))
    ids = [f"1.{n}" for n in range(count)]
    assert search.good == [record_id for record_id in ids if int(record_id[2:]) not in bad]
    assert search.given_up == [record_id for record_id in ids if int(record_id[2:]) in bad]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 100, 1000])
async def test_one_bad_record_costs_no_more_than_two_calls_a_level(count: int) -> None:
    for position in {0, count // 2, count - 1}:
        search = Search({f"1.{position}"})
        await isolate(records(count), search.attempt, search.give_up)
        assert len(search.calls) - 1 <= 2 * math.ceil(math.log2(count)) + 1


async def test_without_a_bad_record_there_is_one_call() -> None:
    search = Search(set())
    await isolate(records(9), search.attempt, search.give_up)
    assert len(search.calls) == 1


async def test_nothing_to_attempt_is_no_call() -> None:
    search = Search(set())
    await isolate([], search.attempt, search.give_up)
    assert search.calls == []


@pytest.mark.parametrize("error", [Throttled(), Unavailable(), InvalidCredentials()], ids=lambda e: type(e).__name__)
async def test_an_error_that_says_nothing_of_a_record_passes_through_at_once(error: Exception) -> None:
    search = Search({"1.0"}, error)
    with pytest.raises(type(error)):
        await isolate(records(8), search.attempt, search.give_up)
    assert len(search.calls) == 1
    assert search.given_up == []


async def test_what_is_not_to_be_attempted_any_more_is_left_out_of_later_halves() -> None:
    search = Search({"1.0"})
    await isolate(
        records(4), search.attempt, search.give_up, lambda part: [r for r in part if r.id != "1.2" or not search.good]
    )
    assert search.calls == [["1.0", "1.1", "1.2", "1.3"], ["1.0", "1.1"], ["1.0"], ["1.1"], ["1.3"]]


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("plan"), "KeyError: 'plan' (test_isolation.py:"),
        (ValueError("two\nlines"), "two\nlines (test_isolation.py:"),
        (RuntimeError(), "RuntimeError (test_isolation.py:"),
    ],
    ids=["key", "lines", "empty"],
)
def test_a_fault_is_the_last_line_of_the_traceback_and_its_place(error: Exception, text: str) -> None:
    assert text in fault_of(raised(error))
    assert "/" not in fault_of(raised(error)), "a fault shows no path of the machine"


def test_a_fault_can_be_written_down_whatever_it_says() -> None:
    assert fault_of(raised(ValueError("file-\udcff.csv"))).startswith("ValueError: file-?.csv (test_isolation.py:")
    long = fault_of(raised(ValueError("x" * 10_000)))
    assert len(long) < 2001
    assert "(test_isolation.py:" in long


def test_a_fault_of_syntax_shows_the_line_that_cannot_be_read() -> None:
    with pytest.raises(SyntaxError) as caught:
        compile("a = 1\nb = = 2\n", "/home/ann/mapping.py", "exec")
    assert fault_of(caught.value) == "SyntaxError: invalid syntax (mapping.py:2)"


def test_a_fault_that_was_never_raised_has_no_place() -> None:
    assert fault_of(KeyError("plan")) == "KeyError: 'plan'"
