"""One person of an account: ids, properties, devices, and a summary of their events."""

from dataclasses import dataclass, field
from typing import Any, Final

from router_clevertap.sandbox.rules import MAX_EVENT_NAMES

MAX_TOKENS: Final = 20  # per person; ours, to bound memory

# (root id name, value as text), as ("identity", "18") or ("objectId", "__g1234")
PersonId = tuple[str, str]


@dataclass(slots=True)
class EventSummary:
    """How often an event happened, and when first and last: epoch seconds, by `ts` or else arrival."""

    count: int
    first_seen: int
    last_seen: int

    def add(self, other: "EventSummary") -> None:
        self.count += other.count
        self.first_seen = min(self.first_seen, other.first_seen)
        self.last_seen = max(self.last_seen, other.last_seen)


@dataclass(slots=True, eq=False)
class Person:
    """A profile. Events themselves are in the ledger, which names the person they came to."""

    updated_at: float
    ids: set[PersonId] = field(default_factory=set)
    properties: dict[str, Any] = field(default_factory=dict)
    tokens: list[dict[str, Any]] = field(default_factory=list)
    events: dict[str, EventSummary] = field(default_factory=dict)
    merged_into: "Person | None" = None
    erased: bool = False

    def current(self) -> "Person":
        """This person, or the one it was merged into."""
        person = self
        while person.merged_into is not None:
            person = person.merged_into
        return person

    def values(self, name: str) -> list[str]:
        """The values of one kind of id, sorted."""
        return sorted(value for kind, value in self.ids if kind == name)

    def saw_event(self, name: str, at: int) -> None:
        """Count an event; of names beyond the account's limit nothing is stored."""
        if summary := self.events.get(name):
            summary.add(EventSummary(1, at, at))
        elif len(self.events) < MAX_EVENT_NAMES:
            self.events[name] = EventSummary(1, at, at)

    def saw_token(self, object_id: str, token: dict[str, Any]) -> None:
        """Keep a device token; the same token moves from another device to this one."""
        others = [held for held in self.tokens if held["id"] != token["id"]]
        self.tokens = [*others, {"objectId": object_id, **token}][-MAX_TOKENS:]

    def absorb(self, other: "Person") -> None:
        """Merge `other` into this person. Of two values of a property the one updated later stays."""
        older, newer = sorted((self, other), key=lambda person: person.updated_at)
        self.properties = older.properties | newer.properties
        self.ids |= other.ids
        for token in other.tokens:
            self.saw_token(token["objectId"], {key: value for key, value in token.items() if key != "objectId"})
        for name, summary in other.events.items():
            if held := self.events.get(name):
                held.add(summary)
            else:
                self.events[name] = summary
        other.merged_into = self

    def as_record(self) -> dict[str, Any]:
        """The `record` of `GET /1/profile.json` (official documentation: Get User Profiles).

        `sandbox` is ours: the ids and tokens known of the person.
        """
        data = self.properties
        record: dict[str, Any] = {
            "profileData": data,
            "events": {
                name: {"count": seen.count, "first_seen": seen.first_seen, "last_seen": seen.last_seen}
                for name, seen in self.events.items()
            },
            "platformInfo": [self._platform(object_id) for object_id in self.values("objectId")],
            "sandbox": {
                "ids": [{"type": kind, "value": value} for kind, value in sorted(self.ids)],
                "tokens": self.tokens,
                "updated_at": self.updated_at,
            },
        }
        if identities := self.values("identity"):
            record["identity"] = identities[0]
        return record | {name.lower(): data[name] for name in ("Name", "Email") if name in data}

    def _platform(self, object_id: str) -> dict[str, Any]:
        platform = "Android" if object_id.startswith("__") else "iOS" if object_id.startswith("-") else "Web"
        info: dict[str, Any] = {"platform": platform, "objectId": object_id}
        for token in self.tokens:
            if token["objectId"] == object_id:
                info["push_token"] = token["id"]
        return info
