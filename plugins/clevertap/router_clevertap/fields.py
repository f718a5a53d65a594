"""CleverTap's reserved profile fields, checked before they are sent.

One bad field costs the whole record (recorded answers of 2018), so each is checked here and left out if it is bad.
Each check returns the value as CleverTap takes it, or None. Spelling of the names matters: `email` would be a property
of the app's own beside the address in `Email`, so every spelling is read as the field (see `profile_keys.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from router_clevertap.dates import date_of_birth
from router_clevertap.names import cut
from router_clevertap.phones import phone_check
from router_clevertap.values import MAX_LIST_ITEMS, MAX_VALUE_BYTES

MAX_ID_CHARS: Final = 120  # recorded answer of 2017, code 523
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")  # "1234" and "$$$$$" fail (recorded answers)
_TIME_ZONE: Final = re.compile(r"[A-Za-z0-9_+:/-]{1,64}")
_PLACEHOLDERS: Final = frozenset({"undefined", "null", "nil", "none", "nan", "[object object]"})
_LONGEST_PLACEHOLDER: Final = 20  # characters, with blanks around it
_DEVICE_ID: Final = re.compile("__[gi]?[0-9a-f]{32}|-[vgi]?[0-9a-f]{32}")  # official documentation, "Set CleverTap ID"
_WHOLE_YEARS: Final = re.compile("[0-9]{1,3}")
_CHANNEL: Final = re.compile(r"[A-Za-z][A-Za-z0-9_ -]{0,63}")
_GENDERS: Final = {
    "m": "M", "male": "M", "f": "F", "female": "F",
    "o": "O", "other": "O", "others": "O",  # CleverTap Web SDK source; the documentation has only M and F
}  # fmt: skip
_YES_OR_NO: Final = {"y": "Y", "yes": "Y", "true": "Y", "n": "N", "no": "N", "false": "N"}
_EDUCATIONS: Final = {"school": "School", "college": "College", "graduate": "Graduate"}
Checks = Mapping[str, Callable[[Any], Any]]


def text(value: Any) -> str | None:
    """Free text of at most 512 bytes; numbers become text."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    return cut(str(value).strip(), MAX_VALUE_BYTES).rstrip() or None


def is_usable_id(words: str) -> bool:
    """Whether the text can name one person. An id that is too long must not be cut: it would be somebody else's.

    Words for a missing value would make one person of all who have none (CleverTap's web kit at mParticle sends
    `undefined`), and a CleverTap ID names a device.
    """
    if not 0 < len(words) <= MAX_ID_CHARS or words.isspace():
        return False
    if len(words) < _LONGEST_PLACEHOLDER and words.strip().lower() in _PLACEHOLDERS:
        return False
    return words[0] not in "_-" or not _DEVICE_ID.fullmatch(words)


def id_text(value: Any) -> str | None:
    """An id, without blanks around it."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    words = str(value).strip()
    return words if is_usable_id(words) else None


def email(value: Any) -> str | None:
    """An address, without blanks around it."""
    address = value.strip() if isinstance(value, str) else ""
    return address if _EMAIL.fullmatch(address) and len(address.encode()) <= MAX_VALUE_BYTES else None


def gender(value: Any) -> str | None:
    """M, F, or O if the source says so."""
    return _word(value, _GENDERS)


def age(value: Any) -> int | None:
    """Whole years, 0 to 150; numeric text counts."""
    if isinstance(value, str) and _WHOLE_YEARS.fullmatch(value.strip()):
        value = int(value)
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
    if len(address.encode()) > MAX_VALUE_BYTES or not address.startswith(("http://", "https://")):
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


def subscription_groups(value: Any) -> dict[str, list[str]] | None:
    """Channel to names of groups: `{"email": ["Offers"]}`, also as JSON text, which is what mParticle's clients can
    send. The one field that stays nested (RudderStack source and fixtures).
    """
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return None
    if not isinstance(value, dict) or not value or not all(_CHANNEL.fullmatch(channel) for channel in value):
        return None
    groups = {channel: _texts(names) for channel, names in value.items()}
    return groups if all(groups.values()) else None


def _texts(names: Any) -> list[str]:
    """Different texts that need no cutting, or none at all."""
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        return []
    different = list(dict.fromkeys(names))
    fits = len(different) <= MAX_LIST_ITEMS and all(len(name.encode()) <= MAX_VALUE_BYTES for name in different)
    return different if fits else []


def _word(value: Any, words: Mapping[str, str]) -> str | None:
    return words.get(value.strip().lower()) if isinstance(value, str) else None


SWITCHES: Final = (
    "MSG-email", "MSG-push", "MSG-sms", "MSG-whatsapp", "MSG-push-all", "MSG-dndPhone", "MSG-dndEmail",
)  # fmt: skip


def checks(phone_region: str = "") -> Checks:
    """Each reserved field to its check. `phone_region` is what `phones.phone` assumes."""
    return {
        "Name": text,
        "Email": email,
        "Phone": phone_check(phone_region),
        "Gender": gender,
        "DOB": date_of_birth,
        "Age": age,
        "Photo": image_url,
        "Tz": time_zone,
        "Married": yes_or_no,
        "Employed": yes_or_no,
        "Education": education,
        "Customer Type": text,
        "category-unsubscribe": subscription_groups,
        "category-resubscribe": subscription_groups,
        **dict.fromkeys(SWITCHES, switch),
    }


CHECKS: Final = checks()
"""The checks where no region is assumed for phones."""
