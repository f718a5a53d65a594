"""Phone numbers in E.164, the only form that never costs a record (code 516, recorded answers of 2018)."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberType

_E164: Final = re.compile(r"\+[1-9][0-9]{7,14}")
_PLUS: Final = re.compile("[+\uff0b]")  # also the wide one of East Asian keyboards
_LONGEST: Final = 64  # characters of a number as people write it
_MOST_REMEMBERED: Final = 4096
_MOBILE: Final = (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE)


def phone(value: Any, region: str = "") -> str | None:
    """A number in E.164, or None.

    A number with `+` is taken if it is possible. Others must be valid, as they can be read in several ways: as one of
    `region` (ISO 3166, two letters), `00…` as `+…`, and with a region also digits that lack their `+`. If both are
    valid within the region, the only mobile one is meant; if that does not tell, the number is none.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**15:
        value = str(value)
    if not isinstance(value, str) or len(value) > _LONGEST:
        return None
    written = value.strip()
    if _PLUS.search(written):
        number = _parsed(written, region)
        return _e164(number) if number and phonenumbers.is_possible_number(number) else None
    number = _without_plus(written, region)
    return _e164(number) if number else None


def _without_plus(written: str, region: str) -> PhoneNumber | None:
    national = _valid(written, region) if region else None
    if not region and not written.startswith("00"):
        return None
    international = _valid(f"+{written.removeprefix('00')}", region)
    if national is None or international is None or national == international:
        return national or international
    if national.country_code != international.country_code:
        return national  # the region says so: (415) 555-0100 could be Swiss
    # Germany has numbers of any length: 4915123456789 is a mobile one, or one of the town of Leer, which is not meant.
    mobile = [one for one in (national, international) if phonenumbers.number_type(one) in _MOBILE]
    return mobile[0] if len(mobile) == 1 else None


def _valid(text: str, region: str) -> PhoneNumber | None:
    number = _parsed(text, region)
    return number if number and phonenumbers.is_valid_number(number) else None


def _parsed(text: str, region: str) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(text, region or None)
    except phonenumbers.NumberParseException:
        return None


def _e164(number: PhoneNumber) -> str | None:
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return e164 if _E164.fullmatch(e164) else None


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
