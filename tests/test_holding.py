"""The hold lane's memory."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_core.holding import HoldLane, HoldLimits
from router_core.log.port import HeldRecord
from router_core.testing import record

NOW = 1_700_000_000.0


def held(record_id: str, user: int = 1, *, due_in: float = 0.0, attempts: int = 1) -> HeldRecord:
    return HeldRecord(
        seq=int(record_id.partition(".")[0]),
        record_id=record_id,
        user=user,
        not_before_ms=int((NOW + due_in) * 1000),
        attempts=attempts,
        code="busy",
        message="",
    )


def lane(*records: HeldRecord, limits: HoldLimits | None = None) -> HoldLane:
    made = HoldLane(limits or HoldLimits())
    made.load(records)
    return made


def due(made: HoldLane, limit: int = 100, after: float = 0.0) -> list[str]:
    return [record.record_id for record in made.take_due(NOW + after, limit)]


def test_an_empty_lane_has_nothing_due_ever() -> None:
    assert due(lane()) == []
    assert lane().seconds_to_due(NOW) == math.inf
    assert not lane().full


def test_records_are_due_from_their_time_on() -> None:
    made = lane(held("1.0", due_in=5.0))
    assert made.seconds_to_due(NOW) == pytest.approx(5.0)
    assert due(made) == []
    assert due(made, after=5.0) == ["1.0"]


def test_the_first_user_whose_turn_comes_counts() -> None:
    assert lane(held("1.0", 1, due_in=50.0), held("2.0", 2, due_in=5.0)).seconds_to_due(NOW) == pytest.approx(5.0)


def test_a_user_whose_first_record_is_not_due_holds_the_later_ones_and_no_other_user() -> None:
    made = lane(held("1.0", 1, due_in=60.0), held("2.0", 1), held("3.0", 2))
    assert due(made) == ["3.0"]


def test_a_later_record_waits_for_its_own_time_too() -> None:
    assert due(lane(held("1.0"), held("2.0", due_in=60.0), held("3.0"))) == ["1.0"]


def test_records_put_off_go_without_the_untried_ones_behind_them() -> None:
    assert due(lane(held("1.0"), held("2.0"), held("3.0", attempts=0))) == ["1.0", "2.0"]
    assert due(lane(held("1.0", attempts=0), held("2.0", attempts=0))) == ["1.0", "2.0"]


def test_no_more_than_the_limit_is_taken_and_always_from_the_front() -> None:
    made = lane(held("1.0", 1), held("1.1", 1), held("1.2", 1), held("2.0", 2), held("3.0", 3))
    assert due(made, limit=2) == ["1.0", "1.1"]
    assert due(made, limit=4) == ["1.0", "1.1", "1.2", "2.0"]


def test_what_is_released_leaves_and_the_next_one_is_first() -> None:
    made = lane(held("1.0"), held("2.0", due_in=9.0))
    made.settle({"1.0"}, [])
    assert made.seconds_to_due(NOW) == pytest.approx(9.0)
    made.settle({"2.0"}, [])
    assert made.users == {}


def test_a_record_held_again_keeps_its_place() -> None:
    made = lane(held("1.0"), held("2.0"))
    made.settle([], [held("1.0", due_in=9.0, attempts=2)])
    assert due(made) == []
    assert [item.attempts for item in made.take_due(NOW + 9.0, 10)] == [2, 1]


def test_a_new_record_of_a_held_user_goes_behind_the_others_untried() -> None:
    made = lane(held("1.0", user=record().context.user))
    behind = made.behind(record(seq=2))
    assert (behind.record_id, behind.not_before_ms, behind.attempts, behind.code) == ("2.0", 0, 0, "behind")
    assert [list(records) for records in made.users.values()] == [["1.0", "2.0"]]


@pytest.mark.parametrize(
    ("limits", "full"),
    [
        (HoldLimits(users=2), True),
        (HoldLimits(users=3), False),
        (HoldLimits(records=3), True),
        (HoldLimits(records=4), False),
    ],
)
def test_the_lane_is_full_at_either_limit(limits: HoldLimits, full: bool) -> None:
    assert lane(held("1.0", 1), held("1.1", 1), held("2.0", 2), limits=limits).full is full


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=40))
def test_the_count_is_right_whatever_comes_and_goes(steps: list[tuple[int, bool]]) -> None:
    made = lane(limits=HoldLimits(records=3))
    kept: dict[str, HeldRecord] = {}
    for number, comes in steps:
        item = held(f"{number}.0", user=number % 2)
        if comes:
            made.settle([], [item])
            kept[item.record_id] = msgspec.structs.replace(item)
        else:
            made.settle({item.record_id}, [])
            kept.pop(item.record_id, None)
        assert made.full is (len(kept) >= 3)
        assert sorted(i for records in made.users.values() for i in records) == sorted(kept)
        assert all(made.users.values())
