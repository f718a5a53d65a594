"""CleverTap's reserved profile fields, checked before they are sent.

One bad field costs the whole record (recorded answers of 2018), so each is checked here and left out if it is bad.
Each check returns the value as CleverTap takes it, or None. Spelling of the names matters: `Email` is the address,
`email` a property of the app's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from math import isfinite
from typing import Any, Final
from urllib.parse import urlsplit

import phonenumbers

from router_clevertap.names import cut

MAX_TEXT_BYTES: Final = 512
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")  # "1234" and "$$$$$" fail (recorded answers)
_E164: Final = re.compile(r"\+[1-9][0-9]{7,14}")
_CLEVERTAP_DATE: Final = re.compile(r"\$D_-?[0-9]{1,12}")
_TIME_ZONE: Final = re.compile(r"[A-Za-z0-9_+:/-]{1,64}")
_GENDERS: Final = {
    "m": "M", "male": "M", "f": "F", "female": "F",
    "o": "O", "other": "O", "others": "O",  # CleverTap Web SDK source; the documentation has only M and F
}  # fmt: skip
_YES_OR_NO: Final = {"y": "Y", "yes": "Y", "true": "Y", "n": "N", "no": "N", "false": "N"}
_EDUCATIONS: Final = {"school": "School", "college": "College", "graduate": "Graduate"}


def text(value: Any) -> str | None:
    """Free text of at most 512 bytes; numbers become text."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    return cut(str(value).strip(), MAX_TEXT_BYTES) or None


def email(value: Any) -> str | None:
    """An address, without blanks around it."""
    address = value.strip() if isinstance(value, str) else ""
    return address if _EMAIL.fullmatch(address) and len(address.encode()) <= MAX_TEXT_BYTES else None


def phone(value: Any) -> str | None:
    """A number in E.164. It must bring its country code: no country is assumed."""
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        number = phonenumbers.parse(value, None)
    except phonenumbers.NumberParseException:
        return None
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return e164 if phonenumbers.is_possible_number(number) and _E164.fullmatch(e164) else None


def gender(value: Any) -> str | None:
    """M, F, or O if the source says so."""
    return _word(value, _GENDERS)


def date_of_birth(value: Any) -> str | None:
    """`$D_` and the seconds of midnight, UTC, of an ISO date; the time of day and its zone are passed over."""
    if not isinstance(value, str):
        return None
    words = value.strip()
    if _CLEVERTAP_DATE.fullmatch(words):
        return words
    if words[10:11] not in ("", "T", " "):
        return None
    try:
        day = date.fromisoformat(words[:10])
    except ValueError:
        return None
    return f"$D_{int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())}"


def age(value: Any) -> int | None:
    """Whole years, 0 to 150; numeric text counts."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value.strip()[:4])
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        return None
    return int(value) if 0 <= value <= 150 else None


def yes_or_no(value: Any) -> str | None:
    """Y or N; CleverTap refuses booleans here (codes 517 and 519)."""
    return _word(str(value) if isinstance(value, bool) else value, _YES_OR_NO)


def education(value: Any) -> str | None:
    """School, College or Graduate."""
    return _word(value, _EDUCATIONS)


def image_url(value: Any) -> str | None:
    """An http or https URL; one that is too long is no URL any more when cut."""
    address = value.strip() if isinstance(value, str) else ""
    if len(address.encode()) > MAX_TEXT_BYTES or not address.startswith(("http://", "https://")):
        return None
    try:
        return address if urlsplit(address).hostname else None
    except ValueError:
        return None


def time_zone(value: Any) -> str | None:
    """A zone's abbreviation, its IANA name or an offset from GMT (Android SDK's documentation)."""
    zone = value.strip() if isinstance(value, str) else ""
    return zone if _TIME_ZONE.fullmatch(zone) else None


def switch(value: Any) -> bool | None:
    """A boolean, also as text."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else None


def _word(value: Any, words: Mapping[str, str]) -> str | None:
    return words.get(value.strip().lower()) if isinstance(value, str) else None


CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "Name": text,
    "Email": email,
    "Phone": phone,
    "Gender": gender,
    "DOB": date_of_birth,
    "Age": age,
    "Photo": image_url,
    "Tz": time_zone,
    "Married": yes_or_no,
    "Employed": yes_or_no,
    "Education": education,
    "Customer Type": text,
    "MSG-email": switch,
    "MSG-push": switch,
    "MSG-sms": switch,
    "MSG-whatsapp": switch,
    "MSG-push-all": switch,
    "MSG-dndPhone": switch,
    "MSG-dndEmail": switch,
}
"""Each reserved field to its check."""
