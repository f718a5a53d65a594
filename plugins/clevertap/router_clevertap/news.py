"""What a delivery group has said of its users already, so that no profile is told the same twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from router_core.records import Record

_ROOT_IDS: Final = ("identity", "objectId", "FBID", "GPID")
Said = dict[str, tuple[Any, str]]
"""Key of a profile to its last value and the record that said it."""


class News:
    """Knows the last value of each profile's keys in one delivery group.

    A user may have two root ids in a group, before and after a login, which CleverTap may hold as one profile: when
    the id changes, what both said is forgotten.
    """

    def __init__(self) -> None:
        self._said: dict[str, Said] = {}
        self._root_of_user: dict[int, str] = {}

    def said_by(self, record: Record, item: Mapping[str, Any]) -> set[str]:
        """The records that have said all that the profile item says; empty if something of it is new."""
        root = next(f"{key}:{item[key]}" for key in _ROOT_IDS if key in item)
        user = record.context.user
        before = self._root_of_user.get(user)
        if before != root:
            self._root_of_user[user] = root
            if before is not None:
                self._said.pop(before, None)
                self._said.pop(root, None)
        said = self._said.setdefault(root, {})
        data = item["profileData"]
        if said:
            known = [said.get(key) for key in data]
            if all(one is not None and _equal(one[0], value) for one, value in zip(known, data.values(), strict=True)):
                return {one[1] for one in known if one is not None}
        for key, value in data.items():
            said[key] = (value, record.id)
        return set()


def _equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other  # 1 and True are equal to Python only
