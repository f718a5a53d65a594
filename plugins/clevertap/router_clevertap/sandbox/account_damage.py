"""Silent damage that only an account's history tells."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from router_clevertap.sandbox import rules
from router_clevertap.sandbox.damage import Damage, damage
from router_clevertap.sandbox.damage_checks import damage_of
from router_clevertap.sandbox.people import People, root_id
from router_clevertap.sandbox.person import PersonId
from router_clevertap.sandbox.profile_checks import id_text
from router_clevertap.sandbox.profile_damage import is_reserved

_MOST_ERASED: Final = 100_000  # ids; ours, to bound memory
_OWN_EVENT_NAMES: Final = rules.MAX_EVENT_NAMES - len(rules.RESTRICTED)  # system events count too


@dataclass(slots=True)
class AccountHistory:
    """What an account was sent before: event names, custom profile keys, erased ids."""

    devices: frozenset[str] = frozenset()
    """objectIds that apps have made; empty: not known, so only the form of an objectId tells a ghost."""
    event_names: set[str] = field(default_factory=set)
    profile_keys: set[str] = field(default_factory=set)
    erased: dict[PersonId, None] = field(default_factory=dict)

    def erase(self, ids: Iterable[PersonId]) -> None:
        """Remember that these ids were deleted; the oldest are forgotten."""
        for person_id in ids:
            self.erased[person_id] = None
        while len(self.erased) > _MOST_ERASED:
            del self.erased[next(iter(self.erased))]

    def damage_of(self, record: dict[str, Any], people: People) -> list[Damage]:
        """The silent damage of a record that passed the checks and that `people` have not taken in yet."""
        found = [*damage_of(record), *self._people_damage(record, people), *self._names_damage(record)]
        object_id = record.get("objectId")
        if self.devices and object_id:
            found = [one for one in found if one.code != "ghost_profile"]
            if object_id not in self.devices:
                found.append(damage("ghost_profile", "objectId"))
        return found

    def _people_damage(self, record: dict[str, Any], people: People) -> Iterator[Damage]:
        root = root_id(record)
        if root in self.erased:
            yield damage("profile_after_erasure", root[0])
        if record["type"] != "profile" or "identity" not in record["profileData"]:
            return
        linked = ("identity", id_text(record["profileData"]["identity"]))
        if linked in self.erased:
            yield damage("profile_after_erasure", "profileData.identity")
        one, other = people.find(*root), people.find(*linked)
        if one and other and one is not other and one.values("identity") and other.values("identity"):
            yield damage("people_merged", "profileData.identity")

    def _names_damage(self, record: dict[str, Any]) -> Iterator[Damage]:
        if record["type"] == "event":
            if not _is_taken(self.event_names, rules.normalised(record["evtName"]), _OWN_EVENT_NAMES):
                yield damage("too_many_event_names", "evtName")
        elif record["type"] == "profile":
            for key in record["profileData"]:
                if not is_reserved(key) and not _is_taken(
                    self.profile_keys, rules.normalised(key), rules.MAX_PROFILE_PROPERTIES
                ):
                    yield damage("too_many_profile_keys", f"profileData.{key}")


def _is_taken(known: set[str], name: str, maximum: int) -> bool:
    """Add a name unless the account is full of others."""
    if name not in known and len(known) >= maximum:
        return False
    known.add(name)
    return True
