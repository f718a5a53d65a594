"""A connection's filters as the hashed lists that kits in apps and pages get: all they name is blocked.

hash(s) = `31 * h + c` over the lower-cased text, wrapped to 32 bits with sign (mParticle web SDK, `generateHash`). The
web and Android SDKs take UTF-16 units for c, Apple's takes UTF-8 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from router_core.events import UserIdentity
from router_core.filters import Filters
from router_core.names import EVERYWHERE, AttributeChoice, Choice
from router_core.taxonomy import COMMERCE_NUMBERS, CUSTOM_EVENT_NUMBERS, USER_IDENTITIES, CommerceType, CustomEventType

_SCREEN: Final = 0


class Encoding(StrEnum):
    """What an SDK makes of text before it hashes."""

    UTF_16 = "utf_16"
    """Web, Android."""
    UTF_8 = "utf_8"
    """iOS, tvOS."""


def filter_hash(text: str | None, encoding: Encoding = Encoding.UTF_16) -> int:
    """The SDKs' hash; 0 for None and for nothing."""
    lowered = (text or "").lower()
    if encoding is Encoding.UTF_8:
        units: Iterable[int] = lowered.encode("utf-8", "surrogatepass")
    else:
        raw = lowered.encode("utf-16-le", "surrogatepass")
        units = struct.unpack(f"<{len(raw) // 2}H", raw)
    value = 0
    for unit in units:
        value = (31 * value + unit) & 0xFFFFFFFF
    return value - 2**32 if value >= 2**31 else value


@dataclass(frozen=True, kw_only=True)
class KitFilters:
    """What a kit must not get: hashes, and for user identities mParticle's numbers.

    A kit's lists can only block, and only names that are known beforehand. `unexpressed` names the settings of which
    the kit would let through more than the router does: with one there, a kit must not be handed out. Kits read
    device identities for themselves, so that filter is the router's alone.
    """

    event_types: Collection[int]
    event_names: Collection[int]
    event_attributes: Collection[int]
    screen_names: Collection[int]
    screen_attributes: Collection[int]
    user_attributes: Collection[int]
    user_identities: Collection[int]
    unexpressed: tuple[str, ...]


def kit_filters(filters: Filters, encoding: Encoding = Encoding.UTF_16) -> KitFilters:
    """The same filters as a kit gets them."""
    kinds = list(CUSTOM_EVENT_NUMBERS.values())

    def hashes(texts: Iterable[str]) -> tuple[int, ...]:
        return tuple(sorted({filter_hash(text, encoding) for text in texts}))

    return KitFilters(
        event_types=hashes(map(str, _blocked_types(filters))),
        event_names=hashes(f"{kind}{name}" for name in _blocked(filters.event_names) for kind in kinds),
        event_attributes=hashes(
            f"{kind}{event}{name}" for event, name in _blocked_attributes(filters.event_attributes) for kind in kinds
        ),
        screen_names=hashes(f"{_SCREEN}{name}" for name in _blocked(filters.screen_names)),
        screen_attributes=hashes(
            f"{_SCREEN}{screen}{name}" for screen, name in _blocked_attributes(filters.screen_attributes)
        ),
        user_attributes=hashes(_blocked(filters.user_attributes)),
        user_identities=tuple(
            USER_IDENTITIES.index(one)
            for one in sorted(_not_sent(filters, filters.user_identities, UserIdentity), key=USER_IDENTITIES.index)
        ),
        unexpressed=tuple(_unexpressed(filters)),
    )


def _blocked(choice: Choice[str] | None) -> Iterable[str]:
    return choice.block or () if choice is not None else ()


def _blocked_attributes(choice: AttributeChoice | None) -> Iterator[tuple[str, str]]:
    for place, names in (choice.block or {} if choice is not None else {}).items():
        if place.strip() != EVERYWHERE:
            yield from ((place, name) for name in names)


def _not_sent(filters: Filters, choice: Choice[Any] | None, known: type[StrEnum]) -> list[Any]:
    """Of a kind whose members are all known beforehand, those that are not sent."""
    if choice is None:
        return [] if filters.send_new_data_points else list(known)
    if choice.allow is not None:
        return [one for one in known if one not in choice.allow]
    return list(choice.block or ())


def _blocked_types(filters: Filters) -> Iterator[int]:
    numbers: Mapping[Any, int] = {**CUSTOM_EVENT_NUMBERS, **COMMERCE_NUMBERS}
    for choice, known in ((filters.event_types, CustomEventType), (filters.commerce, CommerceType)):
        yield from (numbers[kind] for kind in _not_sent(filters, choice, known) if kind in numbers)


def _unexpressed(filters: Filters) -> Iterator[str]:
    """Settings that no list of hashes can tell: open-ended names that must be blocked unseen."""
    for name in ("event_names", "event_attributes", "screen_names", "screen_attributes", "user_attributes"):
        choice = getattr(filters, name)
        if choice is None:
            if not filters.send_new_data_points:
                yield name
        elif choice.allow is not None or EVERYWHERE in map(str.strip, choice.block or ()):
            yield name  # a list of names that holds `*` has an odd name: to be on the safe side
    if filters.commerce_attributes is not None or not filters.send_new_data_points:
        yield "commerce_attributes"  # kits in pages have no such filter
