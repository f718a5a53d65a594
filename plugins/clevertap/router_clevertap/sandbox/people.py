"""The people of one account, found by their ids, linked and merged as CleverTap does it."""

from collections.abc import Iterator
from typing import Any

from router_clevertap.sandbox.operations import apply_update
from router_clevertap.sandbox.person import Person, PersonId
from router_clevertap.sandbox.profile_checks import id_text
from router_clevertap.sandbox.rules import ROOT_IDS


class People:
    """Profiles by id. At most `maximum` are kept; those not heard of for longest fall out."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._by_id: dict[PersonId, Person] = {}
        self._by_update: dict[Person, None] = {}  # oldest update first

    def __len__(self) -> int:
        return len(self._by_update)

    def latest(self) -> Iterator[Person]:
        """People, the one updated last first."""
        return reversed(self._by_update)

    def find(self, name: str, value: str) -> Person | None:
        """The person with an id, or, for `email`, the one updated last with that address."""
        if name == "email":
            return next((person for person in self.latest() if person.properties.get("Email") == value), None)
        return self._by_id.get((name, value))

    def apply(self, record: dict[str, Any], at: float) -> Person:
        """Take in an accepted record that arrived `at` (epoch seconds); answers the person it belongs to.

        An unknown id makes a new profile without a word (official documentation).
        """
        root = root_id(record)
        person = self._by_id.get(root) or self._new(root)
        match record["type"]:
            case "event":
                person.saw_event(record["evtName"], record.get("ts", int(at)))
            case "token":
                person.saw_token(root[1], record["tokenData"])
            case "profile":
                data = dict(record["profileData"])
                identity = data.pop("identity", None)
                if identity is not None:
                    person = self._linked(person, ("identity", identity))
                apply_update(person.properties, data)
        return self._touched(person, at)

    def erase(self, name: str, value: str) -> set[PersonId]:
        """Forget a person, if known; answers all ids that are gone.

        Data that comes later makes a new profile (official documentation).
        """
        person = self._by_id.get((name, value))
        if person is None:
            return set()
        self._drop(person)
        person.erased = True
        return person.ids

    def demerge(self, identity: str, at: float) -> None:
        """Give an identity that shares a profile an empty one of its own.

        Official documentation: event data may be lost. Which data goes where is not written; here it all
        stays.
        """
        person = self._by_id.get(("identity", identity))
        if person is None or len(person.ids) == 1:
            return
        person.ids.discard(("identity", identity))
        self._touched(self._new(("identity", identity)), at)

    def disassociate(self, phone: str) -> bool:
        """Take a phone number off whoever has it as an identity; answers whether somebody had."""
        person = self._by_id.get(("identity", phone))
        if person is None:
            return False
        del self._by_id[("identity", phone)]
        person.ids.discard(("identity", phone))
        if str(person.properties.get("Phone")) == phone.removeprefix("+"):
            del person.properties["Phone"]
        if not person.ids:
            self._by_update.pop(person, None)
        return True

    def _new(self, root: PersonId) -> Person:
        person = Person(updated_at=0, ids={root})
        self._by_id[root] = person
        if len(self._by_update) >= self._maximum:
            self._drop(next(iter(self._by_update)))
        return person

    def _touched(self, person: Person, at: float) -> Person:
        person.updated_at = at
        self._by_update.pop(person, None)
        self._by_update[person] = None
        return person

    def _linked(self, person: Person, identity: PersonId) -> Person:
        """`profileData.identity` adds an identity; if somebody else has it, the two become one.

        Official user documentation: How profiles merge.
        """
        other = self._by_id.get(identity)
        if other is person:
            return person
        if other is None:
            self._by_id[identity] = person
            person.ids.add(identity)
            return person
        other.absorb(person)
        self._by_update.pop(person, None)
        for person_id in person.ids:
            self._by_id[person_id] = other
        return other

    def _drop(self, person: Person) -> None:
        self._by_update.pop(person, None)
        for person_id in person.ids:
            self._by_id.pop(person_id, None)


def root_id(record: dict[str, Any]) -> PersonId:
    """The id at the root of a checked record, as (name, text)."""
    name = next(name for name in ROOT_IDS if record.get(name) not in (None, ""))
    return name, id_text(record[name])
