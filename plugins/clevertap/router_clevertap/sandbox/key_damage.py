"""Silent damage of the keys of one object: properties of an event, of an item, of a profile."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from router_clevertap.sandbox import rules
from router_clevertap.sandbox.damage import Damage, damage
from router_clevertap.sandbox.remembering import remembered
from router_clevertap.sandbox.value_damage import exceeds

_MAX_CHARS: Final = 4096  # of all keys that are remembered together


@dataclass(frozen=True, eq=False, slots=True)
class KeyRules:
    """What holds for the keys of one kind of object. Compared by identity: make one of each."""

    forbidden: frozenset[str]
    reserved: Mapping[str, str]
    """Names with a meaning of their own, by the form in which CleverTap compares names."""


OF_EVENTS: Final = KeyRules(rules.FORBIDDEN_IN_NAMES, {})
OF_CHARGED: Final = KeyRules(rules.FORBIDDEN_IN_NAMES, rules.CHARGED_KEYS)
OF_PROFILES: Final = KeyRules(rules.FORBIDDEN_IN_PROFILE_KEYS, rules.RESERVED_FIELDS)


def key_damage(data: Mapping[str, object], path: str, of: KeyRules) -> Iterator[Damage]:
    """Damage of all keys of an object at a path that ends with a full stop."""
    keys = tuple(data)
    look = _known_codes if sum(map(len, keys)) <= _MAX_CHARS else _codes
    for key, code in look(keys, of):
        yield damage(code, path + key)


def _codes(keys: tuple[str, ...], of: KeyRules) -> list[tuple[str, str]]:
    found = []
    seen: set[str] = set()
    for key in keys:
        compared, codes = _codes_of_one(key, of.forbidden)
        found += [(key, code) for code in codes]
        if compared in seen:
            found.append((key, "key_collision"))
        seen.add(compared)
        if of.reserved.get(compared, key) != key:
            found.append((key, "misspelt_field"))
    return found


_known_codes: Final = lru_cache(maxsize=1024)(_codes)  # a stream has few sets of keys


@remembered(8192)
def _codes_of_one(key: str, forbidden: frozenset[str]) -> tuple[str, tuple[str, ...]]:
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
