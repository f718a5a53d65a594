"""Which record a refusal in CleverTap's answer is about.

1. The record number at the end of its text, counted from 1 (recorded answers of 2018 and 2024).
2. Without a usable number: the record it echoes, by kind, root id and event name, and by how much of its data agrees.
   Equality is no help: the service echoes what it holds, with a phone as a number and ids as text (recorded).
3. If several records fit equally well, or none does, all that may be meant get the refusal. They become dead letters
   (or are retried, if the fault passes): nothing is lost, and nothing that may have been taken is sent again by itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from router_clevertap.mapping import Item

_NUMBER: Final = re.compile(r"record number\s*:?\s*([0-9]{1,6})\s*\.?\s*$", re.IGNORECASE)
_ROOT_IDS: Final = ("identity", "objectId", "FBID", "GPID")


class Refusal(NamedTuple):
    """Why CleverTap refused one record."""

    code: int | str
    """CleverTap's record code; `unknown` if it named none."""
    text: str

    @property
    def passes(self) -> bool:
        """Whether a later try may work: 555 is a miscellaneous server error (official documentation)."""
        return self.code == 555


def placed_refusals(entries: Sequence[Any], items: Sequence[Item]) -> dict[int, Refusal]:
    """Place in `items`, counted from 0, to the refusal of that item."""
    placed: dict[int, Refusal] = {}
    echoed = []
    for entry in entries:
        number = _NUMBER.search(_text(entry))
        place = int(number[1]) - 1 if number else -1
        if 0 <= place < len(items) and place not in placed:
            placed[place] = _refusal(entry)
        else:
            echoed.append(entry)
    if echoed:
        known = _by_name(items)
        doubtful = [entry for entry in echoed if not _place_by_echo(entry, items, known, placed)]
        _spread(doubtful, items, known, placed)
    return placed


Known = Mapping[tuple[str, str, str], Sequence[int]]
"""Kind, root id and event name of a record to the places of such records in the call."""


def _by_name(items: Sequence[Item]) -> Known:
    known: dict[tuple[str, str, str], list[int]] = {}
    for place, item in enumerate(items):
        known.setdefault(_names(item)[0], []).append(place)
    return known


def _names(record: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """One for each root id; an echo may have gained ids, and shows a number where text was sent."""
    kind, name = str(record.get("type")), str(record.get("evtName", ""))
    ids = [str(record[key]) for key in _ROOT_IDS if record.get(key) is not None]
    return [(kind, one, name) for one in ids]


def _place_by_echo(entry: Any, items: Sequence[Item], known: Known, placed: dict[int, Refusal]) -> bool:
    candidates = _best(entry, items, known, placed)
    if not candidates or any(items[other] != items[candidates[0]] for other in candidates):
        return False
    placed[candidates[0]] = _refusal(entry)  # among equal records, any is the right one
    return True


def _spread(entries: Sequence[Any], items: Sequence[Item], known: Known, placed: dict[int, Refusal]) -> None:
    """Give each refusal to all records that it may be about."""
    certain = frozenset(placed)
    everything = [place for place in range(len(items)) if place not in certain]
    for entry in entries:
        suspects = _best(entry, items, known, certain) or everything
        code, text = _refusal(entry)
        doubt = Refusal(code, f"{text} (CleverTap does not say which of {len(suspects)} records it means.)".lstrip())
        for place in suspects:
            if place not in placed or placed[place].passes:  # a lasting fault weighs more
                placed[place] = doubt


def _best(entry: Any, items: Sequence[Item], known: Known, placed: Collection[int]) -> list[int]:
    """The places of the records that agree best with the echo."""
    echo = entry.get("record") if isinstance(entry, dict) else None
    if not isinstance(echo, dict):
        return []
    alike = [place for name in _names(echo) for place in known.get(name, ()) if place not in placed]
    agreeing = [_agreement(items[place], echo) for place in alike]
    best = max(agreeing, default=0)
    return [place for place, agreement in zip(alike, agreeing, strict=True) if agreement == best]


def _agreement(item: Item, echo: Mapping[str, Any]) -> int:
    ours = item.get("evtData") or item.get("profileData") or {}
    theirs = echo.get("evtData") or echo.get("profileData")
    if not isinstance(theirs, dict):
        return 0
    same = sum(1 for key, value in ours.items() if key in theirs and theirs[key] == value)
    return 2 * same - len(ours) - len(theirs) + (item.get("ts") == echo.get("ts"))


def _refusal(entry: Any) -> Refusal:
    code = entry.get("code") if isinstance(entry, dict) else None
    return Refusal(code if type(code) is int else "unknown", _text(entry))


def _text(entry: Any) -> str:
    text = entry.get("error") if isinstance(entry, dict) else None
    return text if isinstance(text, str) else ""
