"""Silent damage of `profileData`: reserved fields, lists, nested values."""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import phonenumbers

from router_clevertap.sandbox import rules
from router_clevertap.sandbox.damage import Damage, damage
from router_clevertap.sandbox.key_damage import OF_PROFILES, key_damage
from router_clevertap.sandbox.value_damage import exceeds, is_clevertap_date, value_damage

_PATH: Final = "profileData."
_RESERVED: Final = frozenset(rules.RESERVED_FIELDS.values())


def profile_damage(data: dict[str, Any]) -> Iterator[Damage]:
    """Damage of the data of one profile record."""
    yield from key_damage(data, _PATH, OF_PROFILES)
    if sum(not is_reserved(key) for key in data) > rules.MAX_PROFILE_PROPERTIES:
        yield damage("too_many_profile_keys", "profileData")
    for key, value in data.items():
        path = _PATH + key
        if isinstance(value, dict):
            yield from _object_damage(key, value, path)
        elif isinstance(value, list):
            yield from _list_damage(value, path)
        elif key == "DOB" and value not in (None, "") and not is_clevertap_date(value):
            yield damage("date_of_birth_as_text", path)
        else:
            yield from value_damage(value, path, is_text=key in _RESERVED)
            if value is not None and key in _FIELDS:
                is_good, code = _FIELDS[key]
                if not is_good(value):
                    yield damage(code, path)


def is_reserved(key: str) -> bool:
    """Whether a key of `profileData` is a field of CleverTap's, not a custom property."""
    return key in _RESERVED


def _object_damage(key: str, value: dict[str, Any], path: str) -> Iterator[Damage]:
    operand = next(iter(value.values())) if len(value) == 1 and value.keys() <= rules.OPERATORS else None
    if isinstance(operand, list):
        yield from _list_damage(operand, path)
    elif operand is None and key not in rules.NESTED_FIELDS:
        yield damage("nested_value" if value else "empty_value", path)


def _list_damage(items: list[Any], path: str) -> Iterator[Damage]:
    if len(items) > rules.MAX_LIST_ITEMS:
        yield damage("list_too_long", path)
    texts = [item for item in items if isinstance(item, str)]
    if len(set(texts)) < len(texts):
        yield damage("repeated_list_item", path)
    if len(texts) < len(items):
        nested = any(isinstance(item, dict | list) for item in items)
        yield damage("nested_value" if nested else "list_item_not_text", path)
    if "" in texts:
        yield damage("empty_value", path)
    if any(exceeds(item, rules.MAX_VALUE_BYTES) for item in texts):
        yield damage("value_too_long", path)


def _is_possible_phone(value: object) -> bool:
    """Whether a number can be called; of one that the checks refuse nothing is said."""
    number = value if isinstance(value, str) else f"+{value}"  # the checks turn good text into a number
    return not rules.PHONE.fullmatch(number) or _is_possible(number)


@lru_cache(maxsize=4096)  # reading a number costs more than all other checks
def _is_possible(number: str) -> bool:
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(number, None))
    except phonenumbers.NumberParseException:
        return False


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_url(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://"))


_FIELDS: Final[Mapping[str, tuple[Callable[[object], bool], str]]] = {
    "Phone": (_is_possible_phone, "impossible_phone"),
    "Photo": (_is_url, "photo_not_url"),
    **dict.fromkeys(("Name", "Customer Type", "Tz"), (_is_text, "field_not_text")),
    **dict.fromkeys(rules.SWITCHES, (lambda value: isinstance(value, bool), "switch_not_boolean")),
}
