"""Phone numbers."""

from typing import Any

import pytest
from pydantic import ValidationError
from router_clevertap.phones import phone, phone_check
from router_clevertap.settings import ClevertapConnection


@pytest.mark.parametrize(
    ("value", "region", "e164"),
    [
        ("+35922333232", "", "+35922333232"),
        ("(415) 555-0100", "US", "+14155550100"),
        ("(415) 555-0100", "", None),
        (4155550100, "US", "+14155550100"),
        (4155550100, "", None),
        ("098765 43210", "IN", "+919876543210"),
        ("+44 20 7946 0000", "US", "+442079460000"),
        ("4915123456789", "DE", "+4915123456789"),
        (4915123456789, "DE", "+4915123456789"),
        ("015123456789", "DE", "+4915123456789"),
        ("4915123456", "DE", "+494915123456"),
        ("4915123456789", "", None),
        ("919876543210", "IN", "+919876543210"),
        ("9198765432", "IN", "+919198765432"),
        ("447911123456", "US", "+447911123456"),
        ("483066267", "PL", None),
        ("0049 151 23456789", "", "+4915123456789"),
        ("0049 151 23456789", "US", "+4915123456789"),
        ("0049 151 23456789", "DE", "+4915123456789"),
        ("00", "", None),
        ("", "US", None),
        ("223", "US", None),
        ("+44+441234", "", None),
        ("hello", "US", None),
        (True, "US", None),
        (-4155550100, "US", None),
        (10**30, "US", None),
        (41.5, "US", None),
        (["+35922333232"], "US", None),
        (None, "US", None),
    ],
)
def test_a_number_is_e164_or_none(value: Any, region: str, e164: str | None) -> None:
    for _ in range(2):  # the second answer is a remembered one
        assert phone(value, region) == phone_check(region)(value) == e164


@pytest.mark.parametrize(("text", "region"), [("", ""), ("in", "IN"), (" US ", "US")])
def test_a_region_is_two_letters(text: str, region: str) -> None:
    assert ClevertapConnection(phone_region=text).phone_region == region


@pytest.mark.parametrize("text", ["USA", "XX", "+1", "India"])
def test_what_is_no_region_is_an_error_at_the_start(text: str) -> None:
    with pytest.raises(ValidationError, match="ISO 3166"):
        ClevertapConnection(phone_region=text)
