"""Single values and lists."""

from typing import Any

import pytest
from router_clevertap.values import flattened, is_surely_plain, list_value, plain_value


@pytest.mark.parametrize(
    ("items", "value", "note"),
    [
        (["a", "b"], {"$set": ["a", "b"]}, ""),
        (["a", "a"], {"$set": ["a"]}, "list_changed"),
        (["a", 1, True, {"b": 2}], {"$set": ["a", "1", "true", '{"b":2}']}, "list_changed"),
        (["a", None, ""], {"$set": ["a"]}, "list_changed"),
        (["x" * 600], {"$set": ["x" * 512]}, "list_changed"),
        (["é" * 200], {"$set": ["é" * 200]}, ""),
        ([str(n) for n in range(100)], {"$set": [str(n) for n in range(100)]}, ""),
        ([str(n) for n in range(101)], {"$set": [str(n) for n in range(1, 101)]}, "list_cut"),
        ([None, ""], None, "empty_value"),
        ([[], {}, [[]]], None, "empty_value"),
        (["a", [], {}], {"$set": ["a"]}, "list_changed"),
        ([], {"$delete": True}, ""),
    ],
)
def test_a_list_holds_different_texts(items: list[Any], value: Any, note: str) -> None:
    assert list_value(items) == (value, note)


@pytest.mark.parametrize("value", [None, "", {}, [], [[]], [{}], [None, ""], {"a": None}, {"a": [{"b": ""}]}])
def test_what_holds_nothing_is_left_out(value: Any) -> None:
    assert plain_value(value) == (None, "empty_value")


@pytest.mark.parametrize(("value", "sent"), [([0], "[0]"), ({"a": False}, '{"a":false}'), ([[], 1], "[[],1]")])
def test_zero_and_false_are_something(value: Any, sent: str) -> None:
    assert plain_value(value) == (sent, "nested_as_text")


def test_a_deep_value_is_no_recursion() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert plain_value(deep) == (None, "empty_value")


@pytest.mark.parametrize(
    ("attributes", "flat"),
    [
        ({"a": 1, "b": {"c": 2, "d": {"e": 3}}, "f": 4}, [("a", 1), ("b_c", 2), ("b_d_e", 3), ("f", 4)]),
        ({"a": {}, "b": [{"c": 1}]}, [("a", {}), ("b", [{"c": 1}])]),
        ({"a": {"b": 1}, "a_b": 2}, [("a_b", 1), ("a_b", 2)]),
    ],
)
def test_objects_are_flattened_in_their_order(attributes: dict[str, Any], flat: Any) -> None:
    assert flattened(attributes) == flat


@pytest.mark.parametrize(
    "value",
    [
        *("", "x", "x" * 128, "x" * 129, "$D_1", "$D_x", "$5", "2024-01-01", "2024-xx-01"),
        *(0, 2**63 - 1, 2**63, True, 1.5, None, [], {}),
    ],
)
def test_the_quick_look_calls_nothing_plain_that_is_changed(value: Any) -> None:
    sent, note = plain_value(value)
    if is_surely_plain(value):
        assert (sent, note) == (value, "")
        assert type(sent) is type(value)


@pytest.mark.parametrize("value", ["x", 0, True, "a-b-c-d-e"])
def test_the_quick_look_knows_what_is_common(value: Any) -> None:
    assert is_surely_plain(value)
