"""Phone numbers in E.164, the only form that never costs a record (code 516, recorded answers of 2018)."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import phonenumbers

_E164: Final = re.compile(r"\+[1-9][0-9]{7,14}")
_LONGEST: Final = 64  # characters of a number as people write it
_MOST_REMEMBERED: Final = 4096


def phone(value: Any, region: str = "") -> str | None:
    """A number in E.164, or None. A number without a country code is read as one of `region` (ISO 3166, two letters);
    without a region it is none.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**15:
        value = str(value)
    if not isinstance(value, str) or len(value) > _LONGEST:
        return None
    try:
        number = phonenumbers.parse(value, region or None)
    except phonenumbers.NumberParseException:
        return None
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return e164 if phonenumbers.is_possible_number(number) and _E164.fullmatch(e164) else None


def phone_check(region: str) -> Callable[[Any], str | None]:
    """`phone` for one region, which remembers: reading a number costs as much as the rest of a profile."""
    remembered = lru_cache(_MOST_REMEMBERED)(lambda value: phone(value, region))
    return lambda value: remembered(value) if isinstance(value, str) else phone(value, region)


def region_from_text(text: str) -> str:
    """The region's two letters, upper case; empty for none. Raises ValueError for a region without phone numbers."""
    region = text.strip().upper()
    if region and region not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("This is no region of ISO 3166. Use two letters, such as IN or DE, or leave it empty.")
    return region
