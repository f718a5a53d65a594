"""What a delivery group has said of its users already, so that no profile is told the same twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from router_core.records import Record

_ROOT_IDS: Final = ("identity", "objectId", "FBID", "GPID")
_MOST_KEPT: Final = 8
"""Profiles of one user that are compared with the next; of an older one, a repetition is sent again."""


class News:
    """Knows what was said last of each user's profile in one delivery group.

    A user may have two root ids in a group, before and after a login, which CleverTap may hold as one profile: when
    the id changes, what was said of both is forgotten.
    """

    def __init__(self) -> None:
        self._said: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
        self._root_of_user: dict[int, str] = {}

    def said_by(self, record: Record, item: Mapping[str, Any]) -> set[str]:
        """The records that have said all that the profile item says; empty if something of it is new."""
        key = "identity" if "identity" in item else next(key for key in _ROOT_IDS if key in item)
        root = f"{key}:{item[key]}"
        user = record.context.user
        before = self._root_of_user.get(user)
        if before != root:
            self._root_of_user[user] = root
            if before is not None:
                self._said.pop(before, None)
                self._said.pop(root, None)
        data = item["profileData"]
        said = self._said.get(root)
        if said is None:
            self._said[root] = [(record.id, data)]
            return set()
        leaders = {_sayer(said, key, value) for key, value in data.items()}
        if "" not in leaders:
            return leaders
        said.append((record.id, data))
        del said[:-_MOST_KEPT]
        return set()


def _sayer(said: Sequence[tuple[str, Mapping[str, Any]]], key: str, value: Any) -> str:
    """The record that said last what the key is, if it said this value; empty otherwise."""
    for record_id, data in reversed(said):
        if key in data:
            return record_id if _equal(data[key], value) else ""
    return ""


def _equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other  # 1 and True are equal to Python only
