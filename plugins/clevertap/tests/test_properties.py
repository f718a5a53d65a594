"""Event attributes."""

from typing import Any

import pytest
from router_clevertap.properties import PropertyCleaner


def test_clean_attributes_are_sent_as_they_are_without_a_copy() -> None:
    cleaner = PropertyCleaner()
    first = {"category": "news", "words": 812, "ratio": 0.5, "premium": True}
    assert cleaner.properties(first) == (first, ())
    second = dict(first, category="é" * 200)
    sent, notes = cleaner.properties(second)
    assert sent is second
    assert notes == ()


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(
    ("value", "sent", "note"),
    [
        (None, None, "empty_value"),
        ("", None, "empty_value"),
        (float("nan"), None, "empty_value"),
        (float("inf"), None, "empty_value"),
        (2**70, str(2**70), "number_as_text"),
        ("x" * 600, "x" * 512, "value_cut"),
        ("é" * 300, "é" * 256, "value_cut"),
        (["a", 1], '["a",1]', "nested_as_text"),
        ({"a": {"b": [None, 1]}}, '{"a":{"b":[null,1]}}', "nested_as_text"),
        ({"a": {"b": None}}, None, "empty_value"),
        ([2**70], f"[{2**70}]", "nested_as_text"),
        (0, 0, ""),
        (False, False, ""),
        ("$D_1700000000", "$D_1700000000", ""),
        ('it\'s "fine" & well', 'it\'s "fine" & well', ""),
    ],
)
def test_a_value_becomes_what_cleverTap_takes(value: Any, sent: Any, note: str, warm: bool) -> None:
    cleaner = PropertyCleaner()
    if warm:  # the shape is known as clean, so the quick pass sees the value first
        cleaner.properties({"before": 1, "key": "clean"})
    properties, notes = cleaner.properties({"before": 1, "key": value})
    assert properties == ({"before": 1} if sent is None else {"before": 1, "key": sent})
    assert notes == (((note, "key"),) if note else ())


def test_no_attributes_are_an_empty_object() -> None:
    assert PropertyCleaner().properties(None) == ({}, ())


def test_of_two_keys_that_cleverTap_cannot_tell_apart_the_first_is_sent() -> None:
    cleaner = PropertyCleaner()
    for _ in range(2):
        properties, notes = cleaner.properties({"Plan": 1, "p lan": 2, "a.b": 3, "ab": 4, "CT x": 5})
        assert properties == {"Plan": 1, "ab": 3}
        assert notes == (
            ("key_collision", "p lan"),
            ("key_changed", "a.b"),
            ("key_collision", "ab"),
            ("reserved_key", "CT x"),
        )


def test_an_empty_value_leaves_its_key_to_the_next() -> None:
    assert PropertyCleaner().properties({"Plan": None, "plan": 2})[0] == {"plan": 2}


def test_more_than_a_hundred_properties_are_left_out_and_noted() -> None:
    cleaner = PropertyCleaner()
    for _ in range(2):
        properties, notes = cleaner.properties({f"k{n}": n for n in range(103)})
        assert list(properties) == [f"k{n}" for n in range(100)]
        assert notes == tuple(("too_many_properties", f"k{n}") for n in range(100, 103))
