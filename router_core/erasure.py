"""Erasures: requests to forget a person, how far each has come, and who is suppressed from then on.

All of it stands in `erasures.db` in the data folder. The command line and the admin listener add requests; the
delivering process carries them out (`eraser`). What the person is called stands there in plain text only until the
erasure is complete; then salted hashes are left, for suppression.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from router_core.components import Subject
from router_core.errors import RouterError
from router_core.events import UserIdentity
from router_core.identifiers import (
    DEVICE_STAMP,
    DEVICE_TYPES,
    MPID,
    USER_TYPES,
    Identifier,
    integration_of,
    spelled,
    type_of,
)
from router_core.suppression import Reach

Identities = Mapping[str, Sequence[str]]
"""Type of identifier, as in `identifiers.TYPES`, to values."""


class Status(StrEnum):
    """How far a request has come, in OpenDSR's words."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class State(StrEnum):
    """How far a request has come at one connection."""

    PENDING = "pending"
    SENT = "sent"
    """The partner has acknowledged it."""
    SKIPPED = "skipped"
    """The destination cannot erase, or none of the ids means anything to it."""
    FAILED = "failed"
    """Refused; it is tried again at long intervals."""


class AtConnection(msgspec.Struct, frozen=True):
    """A request at one connection. `detail` holds no value of the person."""

    state: State = State.PENDING
    detail: str = ""
    tries: int = 0


class Person(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whom a request is about, in plain text."""

    requested: dict[str, list[str]]
    found: dict[str, list[str]] = {}
    """What batches that name a requested identity say of the person besides."""
    shared: dict[str, list[str]] = {}
    """The same, but of devices that others use too: not for partners."""

    def __repr__(self) -> str:
        return f"Person({', '.join(sorted(self.requested))})"


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """One request."""

    number: int
    id: str
    """OpenDSR's `subject_request_id`, a UUID."""
    source: str
    """`command` or `opendsr`."""
    regulation: str
    group_id: str | None
    submitted_at_ms: int
    received_at_ms: int
    status: Status
    collected: bool
    """Whether the log was searched for the person's other ids."""
    wiped: bool
    """Whether log, held records and dead letters are free of the person."""
    batches: int
    note: str
    """What stands in the way, if anything does."""
    completed_at_ms: int | None
    person: Person | None
    """None when the erasure is complete or cancelled."""
    connections: dict[str, AtConnection]


class Conflict(RouterError):
    """There is such a request already. `id` is its id."""

    def __init__(self, message: str, id: str) -> None:
        self.id = id
        super().__init__(message)


def folded(identities: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Pairs of a known type's spelling and a value as they are stored, without doubles and empty values."""
    found: dict[str, list[str]] = {}
    for name, value in identities:
        kind = type_of(name)
        if kind is None:
            raise ValueError(f"no identity is named {name!r}")
        text = value.strip()
        if spelled(kind, text) and text not in found.setdefault(kind, []):
            found[kind].append(text)
    return {kind: values for kind, values in found.items() if values}


def identifiers_of_person(identities: Identities) -> list[Identifier]:
    """The same as they are compared."""
    return [(kind, text) for kind, values in identities.items() for value in values if (text := spelled(kind, value))]


def is_of_device(kind: str) -> bool:
    """Whether ids of this type belong to a device or an installation, which may change its user."""
    return kind not in USER_TYPES and kind != MPID


def reach_of(kind: str) -> Reach:
    """In which batches an id that was found stands for its person.

    Those of devices too, all of them: partners forget the profiles that were made of them, which a later batch of
    nobody in particular on the same device would make again.
    """
    return Reach.DEVICE if is_of_device(kind) else Reach.FOUND


def identifiers_beyond(person: Person) -> list[tuple[Identifier, Reach]]:
    """What was found of the person as it is compared, and in which batches it stands for them."""
    found = [*identifiers_of_person(person.found), *identifiers_of_person(person.shared)]
    return [(one, reach_of(one[0])) for one in found]


def subject_of(person: Person) -> Subject:
    """The person as destinations get it; what was asked for comes first."""
    both: dict[str, dict[str, None]] = {}
    for identities in (person.requested, person.found):
        for name, known in identities.items():
            both.setdefault(name, {}).update(dict.fromkeys(known))
    integrations: dict[int, dict[str, tuple[str, ...]]] = {}
    for kind, values in both.items():
        if (place := integration_of(kind)) is not None:
            integrations.setdefault(place[0], {})[place[1]] = tuple(values)
    return Subject(
        user_identities={identity: tuple(both[identity]) for identity in UserIdentity if identity in both},
        device_identities={kind: tuple(both[kind]) for kind in DEVICE_TYPES if kind in both},
        mpids=tuple(both.get(MPID, ())),
        device_stamps=tuple(both.get(DEVICE_STAMP, ())),
        integration_attributes=integrations,
    )
