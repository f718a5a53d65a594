"""Reserved profile fields."""

from typing import Any

import pytest
from router_clevertap.fields import CHECKS


@pytest.mark.parametrize(
    ("field", "value", "sent"),
    [
        ("Email", " a.user@example.com ", "a.user@example.com"),
        ("Email", "1234", None),
        ("Email", "$$$$$", None),
        ("Email", "a@b", None),
        ("Email", "a b@example.com", None),
        ("Email", 7, None),
        ("Phone", "+35922333232", "+35922333232"),
        ("Phone", "+1 (415) 555-0100", "+14155550100"),
        ("Phone", "tel:+1-415-555-0100", "+14155550100"),
        ("Phone", "223", None),
        ("Phone", "4155550100", None),
        ("Phone", "+999999", None),
        ("Phone", "+112345678", None),
        ("Phone", 35922333232, None),
        ("Phone", "+" + "1" * 100, None),
        ("Gender", "male", "M"),
        ("Gender", "M", "M"),
        ("Gender", "Female", "F"),
        ("Gender", "f", "F"),
        ("Gender", "other", "O"),
        ("Gender", "NA", None),
        ("Gender", "unknown", None),
        ("Gender", 1, None),
        ("DOB", "1970-01-02", "$D_86400"),
        ("DOB", "1969-12-31", "$D_-86400"),
        ("DOB", "1990-05-17T23:30:00+05:30", "$D_642902400"),
        ("DOB", "1990-05-17 00:00:00 +0000", "$D_642902400"),
        ("DOB", "$D_642902400", "$D_642902400"),
        ("DOB", "17/05/1990", None),
        ("DOB", "1990-02-30", None),
        ("DOB", "1990-05-170", None),
        ("DOB", 642902400, None),
        ("Age", 36, 36),
        ("Age", "36", 36),
        ("Age", 36.0, 36),
        ("Age", "aa", None),
        ("Age", -1, None),
        ("Age", 5000, None),
        ("Age", "9" * 5000, None),
        ("Age", True, None),
        ("Age", float("nan"), None),
        ("Married", True, "Y"),
        ("Married", "no", "N"),
        ("Married", "maybe", None),
        ("Employed", "Y", "Y"),
        ("Employed", False, "N"),
        ("Education", "graduate", "Graduate"),
        ("Education", "PhD", None),
        ("Photo", "https://cdn.example/a.png", "https://cdn.example/a.png"),
        ("Photo", "javascript:alert(1)", None),
        ("Photo", "http://[", None),
        ("Photo", "https://x/" + "a" * 600, None),
        ("Tz", "Europe/Berlin", "Europe/Berlin"),
        ("Tz", "GMT+05:30", "GMT+05:30"),
        ("Tz", "", None),
        ("Tz", 5, None),
        ("MSG-email", False, False),
        ("MSG-push", "TRUE", True),
        ("MSG-sms", 1, None),
        ("Age", "0036", None),
        ("DOB", "$D_1700000000000", None),
        ("category-unsubscribe", {"email": ["Offers", "Offers"]}, {"email": ["Offers"]}),
        ("category-unsubscribe", '{"email": ["Offers"]}', {"email": ["Offers"]}),
        ("category-resubscribe", {"$set": ["Offers"]}, None),
        ("category-resubscribe", {"email": []}, None),
        ("category-resubscribe", {"email": "Offers"}, None),
        ("category-resubscribe", {}, None),
        ("category-resubscribe", "[1", None),
        ("category-resubscribe", {"email": ["x" * 513]}, None),
        ("Name", "Ada", "Ada"),
        ("Name", "  ", None),
        ("Name", "n" * 600, "n" * 512),
        ("Name", ["Ada"], None),
    ],
)
def test_a_field_is_sent_as_cleverTap_takes_it_or_not_at_all(field: str, value: Any, sent: Any) -> None:
    checked = CHECKS[field](value)
    assert checked == sent
    assert type(checked) is type(sent)


@pytest.mark.parametrize("field", CHECKS)
@pytest.mark.parametrize("value", [None, {}, [], {"a": 1}, ["a"], 2**80, float("inf"), "\x00", "💥" * 400])
def test_no_value_breaks_a_check(field: str, value: Any) -> None:
    CHECKS[field](value)
