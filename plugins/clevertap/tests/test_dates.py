"""Dates."""

import pytest
from router_clevertap.dates import clevertap_date, is_clevertap_date


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("1970-01-02", "$D_86400"),
        ("1969-12-31", "$D_-86400"),
        ("0001-01-01", "$D_-62135596800"),
        ("2023-11-14T22:13:20Z", "$D_1700000000"),
        ("2023-11-14 22:13:20", "$D_1700000000"),
        ("2023-11-14T22:13", "$D_1699999980"),
        ("2023-11-14T22:13:20.999Z", "$D_1700000000"),
        ("2023-11-14T22:13:20,5+00:00", "$D_1700000000"),
        ("2023-11-15T03:43:20+0530", "$D_1700000000"),
        ("2023-11-14T17:13:20 -05", "$D_1700000000"),
        ("0001-01-01T00:00:00+14:00", "$D_-62135647200"),
        ("2023-02-30", None),
        ("2023-11-14T25:00:00Z", None),
        ("2023-11", None),
        ("20231114", None),
        ("2023-W46-2", None),
        ("on 2023-11-14", None),
        ("14/11/2023", None),
        ("", None),
    ],
)
def test_an_iso_date_becomes_cleverTaps(text: str, date: str | None) -> None:
    assert clevertap_date(text) == date
    assert date is None or is_clevertap_date(date)


@pytest.mark.parametrize("text", ["$D_", "$D_x", "$D_1700000000000", "D_1", "$D_1 ", "x$D_1"])
def test_what_is_no_date_of_cleverTaps(text: str) -> None:
    assert not is_clevertap_date(text)
