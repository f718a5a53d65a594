"""Which names pass a filter: a list of those that may, or of those that may not.

Names are compared without regard to case, as the kits in apps and pages compare their hashes, and without spaces at
their ends, which a partner may cut off.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import filterfalse
from typing import Any, Final, Generic, TypeVar

from pydantic import model_validator

from router_core.components import setting
from router_core.values import Section

T = TypeVar("T")
EVERYWHERE: Final = "*"
"""In the place of an event's or a screen's name: all of them."""
_MOST_REMEMBERED: Final = 2000  # senders can make up names without end


def folded(name: str) -> str:
    """The form in which names are compared."""
    return name.strip().lower()


class _Choice(Section):
    @model_validator(mode="after")
    def _one_list(self) -> _Choice:
        given = vars(self)
        if (given["allow"] is None) == (given["block"] is None):
            raise ValueError("needs one of the two lists: `allow`, or `block`.")
        return self


class Choice(_Choice, Generic[T]):
    """Either what may be sent, or what may not."""

    allow: tuple[T, ...] | None = setting(None, title="Allow", help="Only these are sent.")
    block: tuple[T, ...] | None = setting(None, title="Block", help="All but these are sent.")


class AttributeChoice(_Choice):
    """Either the attributes that may be sent, or those that may not, by their event's or screen's name; `*` is any."""

    allow: dict[str, tuple[str, ...]] | None = setting(
        None, title="Allow", help="By event or screen: only these attributes are sent; of others, none."
    )
    block: dict[str, tuple[str, ...]] | None = setting(
        None, title="Block", help="By event or screen: all attributes but these are sent."
    )


class _Verdicts(dict[str, bool]):
    """Whether each name passes; a dict, as one that knows a name already answers without a call of ours."""

    def __init__(self, listed: Collection[str], *, if_listed: bool, if_not: bool) -> None:
        super().__init__()
        self._listed, self._if_listed, self._if_not = listed, if_listed, if_not

    def __missing__(self, name: str) -> bool:
        passes = self._if_listed if folded(name) in self._listed else self._if_not
        if len(self) < _MOST_REMEMBERED:
            self[name] = passes
        return passes


class NameTest:
    """Whether a name passes. `always` passes whatever the lists say, if it is spelled like this."""

    def __init__(
        self,
        allow: Iterable[str] | None = None,
        block: Iterable[str] | None = None,
        *,
        default: bool = True,
        always: Iterable[str] = (),
    ) -> None:
        """`default` is for what no list names, where there is no list at all."""
        listed = frozenset(folded(name) for name in (allow if allow is not None else block or ()))
        self._verdicts = _Verdicts(listed, if_listed=allow is not None, if_not=default and allow is None)
        self._verdicts.update(dict.fromkeys(always, True))
        self.passes_all = default and allow is None and not listed
        """No name can fail."""

    def __call__(self, name: str) -> bool:
        """Whether it may be sent."""
        return self._verdicts[name]

    def kept(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values whose names pass; the same mapping if all do."""
        if self.passes_all:
            return values
        held_back = list(filterfalse(self._verdicts.__getitem__, values))
        if not held_back:
            return values
        kept = values.copy()
        for name in held_back:
            del kept[name]
        return kept


def name_test(choice: Choice[Any] | None, default: bool, always: Iterable[str] = ()) -> NameTest:
    """The test that a setting asks for. `default` is whether new names are sent, where there is no list."""
    if choice is None:
        return NameTest(default=default, always=always)
    return NameTest(choice.allow, choice.block, default=default, always=always)


class AttributeTest:
    """Which attributes of an event or screen pass."""

    def __init__(self, choice: AttributeChoice | None, default: bool, always: Iterable[str] = ()) -> None:
        self._known: dict[str, NameTest] = {}
        allow, block = (choice.allow, choice.block) if choice is not None else (None, None)
        lists = _merged(allow if allow is not None else block or {})
        everywhere = lists.pop(EVERYWHERE, [])

        def test(names: Iterable[str]) -> NameTest:
            if allow is not None:
                return NameTest(names, always=always)
            return NameTest(None, names, default=default, always=always)

        self._tests = {place: test([*names, *everywhere]) for place, names in lists.items()}
        self._others = test(everywhere)

    def of(self, place: str) -> NameTest:
        """The test for the attributes of one event or screen; empty for events without a name."""
        try:
            return self._known[place]
        except KeyError:
            test = self._tests.get(folded(place), self._others)
            if len(self._known) < _MOST_REMEMBERED:
                self._known[place] = test
            return test


def _merged(lists: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Two spellings of one name are one list."""
    merged: dict[str, list[str]] = {}
    for place, names in lists.items():
        merged.setdefault(folded(place), []).extend(names)
    return merged
