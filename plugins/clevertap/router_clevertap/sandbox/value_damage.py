"""Silent damage of keys and single values, the same for events and profiles."""

from collections.abc import Iterator, Mapping
from datetime import date
from functools import lru_cache
from typing import Any

from router_clevertap.sandbox import rules
from router_clevertap.sandbox.damage import Damage, damage


def key_damages(
    data: Mapping[str, Any], path: str, forbidden: frozenset[str], reserved: Mapping[str, str]
) -> Iterator[Damage]:
    """Damage of the keys of one object.

    `reserved` are the names with a meaning of their own, by the form in which CleverTap compares names.
    """
    seen: set[str] = set()
    for key in data:
        compared, codes = _key(key, forbidden)
        for code in codes:
            yield damage(code, path + key)
        if compared in seen:
            yield damage("key_collision", path + key)
        seen.add(compared)
        if reserved.get(compared, key) != key:
            yield damage("misspelt_field", path + key)


@lru_cache(maxsize=8192)  # a stream has few keys
def _key(key: str, forbidden: frozenset[str]) -> tuple[str, tuple[str, ...]]:
    """The key as CleverTap compares it once the SDKs' strippings are done, and the codes of its damage."""
    kept = "".join(character for character in key if character not in forbidden)
    codes = []
    if not key.strip():
        codes.append("empty_key")
    if exceeds(key, rules.MAX_KEY_BYTES):
        codes.append("key_too_long")
    if kept != key:
        codes.append("key_characters")
    if key.startswith(rules.OWN_PREFIXES):
        codes.append("system_key")
    return rules.normalised(kept), tuple(codes)


def value_damage(value: object, path: str) -> Iterator[Damage]:
    """Damage of one scalar."""
    if value is None:
        yield damage("null_value", path)
    elif isinstance(value, str):
        if not value:
            yield damage("empty_value", path)
        elif exceeds(value, rules.MAX_VALUE_BYTES):
            yield damage("value_too_long", path)
        elif value.startswith("$D_"):
            if not is_clevertap_date(value):
                yield damage("malformed_date", path)
        elif _is_iso_date(value):
            yield damage("date_as_text", path)


def is_clevertap_date(value: object) -> bool:
    """Whether a value is `$D_` and epoch seconds of the years up to 9999: more digits are milliseconds."""
    if not isinstance(value, str) or not rules.CLEVERTAP_DATE.fullmatch(value):
        return False
    return abs(int(value[3:])) <= rules.MAX_DATE_SECONDS


def _is_iso_date(text: str) -> bool:
    if not rules.ISO_DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text[:10])
    except ValueError:
        return False
    return True


def exceeds(text: str, max_bytes: int) -> bool:
    """Whether the text is longer than `max_bytes` in UTF-8. Encodes only what could be."""
    return len(text) * 4 > max_bytes and len(text.encode(errors="surrogatepass")) > max_bytes
