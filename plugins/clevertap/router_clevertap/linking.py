"""Anonymous to known: one record that gives a device's CleverTap profile the identity of the person who logged in.

A CleverTap ID is linked once, to the first person who is seen with it. mParticle's Apple kit tells the id that it had
when the app started, which stays there when another person logs in; linked again, CleverTap would merge the two people
(official user documentation, "How profiles merge").
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b, sha256
from hmac import compare_digest
from secrets import token_bytes
from typing import Any, Final, NamedTuple

from router_core.components import KeyValueStore
from router_core.outcomes import Disposition, Outcome

_MOST_REMEMBERED: Final = 100_000
_SALT_BYTES: Final = 16
_FREE: Final = b""


def link(device: str, person: str) -> dict[str, Any]:
    """The linking record: root `objectId`, and the identity inside."""
    return {"type": "profile", "objectId": device, "profileData": {"identity": person}}


class Linking(NamedTuple):
    """A linking record of an upload."""

    person: str
    record_id: str
    upload: int
    """The number of the upload that it is in."""
    is_alone: bool
    """Whether its record sends nothing else, so that a refusal is one of the link."""

    def was_refused(self, outcomes: Mapping[str, Outcome]) -> bool:
        """Whether CleverTap has said that it did not take the link."""
        end = outcomes.get(self.record_id)
        return self.is_alone and end is not None and end.disposition is not Disposition.DELIVERED


def linkings(links: Mapping[str, str], uploads: Sequence[tuple[Sequence[str], Sequence[Mapping[str, Any]]]]) -> (
    dict[str, Linking]
):  # fmt: skip
    """CleverTap ID to its linking record. `links`: CleverTap ID to record id; `uploads`: record ids and items."""
    found: dict[str, Linking] = {}
    if not links:
        return found
    for number, (record_ids, items) in enumerate(uploads):
        for record_id, item in zip(record_ids, items, strict=True):
            device = item.get("objectId", "")
            if device not in found and links.get(device) == record_id:  # the link is the first item of its record
                alone = record_ids.count(record_id) == 1
                found[device] = Linking(item["profileData"]["identity"], record_id, number, alone)
    return found


class Links:
    """To whom each CleverTap ID is linked, or is being linked just now.

    Durable, as hashes with a salt each, with those used last in memory. `recall` before asking; between asking and
    `reserve` nothing may be awaited, or two lanes could link one device to two people.
    """

    def __init__(self, store: KeyValueStore | None = None) -> None:
        self._store = store
        self._known: OrderedDict[str, bytes] = OrderedDict()
        self._reserved: OrderedDict[str, bytes] = OrderedDict()
        self._unwritten: dict[str, bytes] = {}

    def allows(self, device: str, person: str) -> bool:
        """Whether a record may link the device to the person: nobody is linked, and nobody else about to be."""
        if self._linked(device):
            return False
        reserved = self._reserved.get(device, _FREE)
        return not reserved or _is_of(reserved, person)

    def is_of_somebody_else(self, device: str, people: Iterable[str]) -> bool:
        """Whether the device is linked, or about to be, and to none of these people."""
        holder = self._linked(device) or self._reserved.get(device, _FREE)
        return bool(holder) and not any(_is_of(holder, person) for person in people)

    def reserve(self, people: Mapping[str, str]) -> Collection[str]:
        """From now on nobody else may link these devices: CleverTap ID to person. Returns those that were free.

        Of the others nobody knows whether an earlier link was taken, so a refusal of a later one frees nothing.
        """
        fresh = people.keys() - self._reserved.keys()
        for device in fresh:
            self._reserved[device] = _hash_of(people[device])
            if len(self._reserved) > _MOST_REMEMBERED:
                self._reserved.popitem(last=False)
        return fresh

    def release(self, devices: Iterable[str]) -> None:
        """CleverTap has not linked these devices for certain."""
        for device in devices:
            self._reserved.pop(device, None)

    def linked(self, devices: Mapping[str, str]) -> None:
        """CleverTap has linked these devices: CleverTap ID to person."""
        for device, person in devices.items():
            self._reserved.pop(device, None)
            self._unwritten[device] = _hash_of(person)
            self._remember(device, self._unwritten[device])

    async def recall(self, devices: Iterable[str]) -> None:
        """Bring into memory what is known of these devices."""
        for device in devices:
            if device in self._known:
                self._known.move_to_end(device)
            elif self._store is not None:
                kept = await self._store.get(_key(device))
                if device not in self._known:  # else another lane has learned more meanwhile
                    self._remember(device, kept or _FREE)

    async def flush(self) -> None:
        """Write down what was linked since; durable on return. After an error, the next call tries again."""
        changed, self._unwritten = self._unwritten, {}
        if not changed or self._store is None:
            return
        try:
            await self._store.put({_key(device): holder for device, holder in changed.items()})
        except BaseException:
            self._unwritten = changed | self._unwritten
            raise

    async def forget(self, devices: Collection[str]) -> None:
        """Their profiles are gone: whoever comes next may be linked."""
        for device in devices:
            self._known.pop(device, None)
            self._reserved.pop(device, None)
            self._unwritten.pop(device, None)
        if self._store is not None and devices:
            await self._store.delete([_key(device) for device in devices])

    def _linked(self, device: str) -> bytes:
        return self._known.get(device) or self._unwritten.get(device, _FREE)

    def _remember(self, device: str, holder: bytes) -> None:
        self._known[device] = holder
        if len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)


def _key(device: str) -> str:
    return f"linked/{sha256(device.encode()).hexdigest()}"


def _hash_of(person: str, salt: bytes | None = None) -> bytes:
    """The salt, and a hash that stands for the person under it."""
    salt = salt or token_bytes(_SALT_BYTES)
    return salt + blake2b(person.encode("utf-8", "surrogatepass"), digest_size=16, key=salt).digest()


def _is_of(holder: bytes, person: str) -> bool:
    return compare_digest(holder, _hash_of(person, holder[:_SALT_BYTES]))
