"""Who a record is about: exactly one id at the root of each record, by an order that the connection's settings make.

1. The identity that `user_id` names.
2. The CleverTap ID that mParticle's kit left in the batch (`use_clevertap_id`).
3. A CleverTap ID derived from the device's ids (`derive_clevertap_id`).
4. Email, phone, Facebook ID, Google ID, in this order (`fall_back_to_other_identities`).
5. mParticle's own id (`fall_back_to_mpid`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from router_clevertap.choices import UserId
from router_clevertap.device import CLEVERTAP_ID, MODULE, derived_clevertap_id, given_clevertap_id
from router_clevertap.fields import email, id_text, is_usable_id
from router_clevertap.notes import NONE, Note, Notes
from router_clevertap.phones import phone_check
from router_clevertap.settings import ClevertapConnection
from router_core.events import EventBatch, UserIdentity
from router_core.outcomes import Outcome

_USUAL_SPELLINGS: Final = {UserId.CUSTOMER_ID: ("customer_id", "customerid")}  # mParticle's Python and Node clients


class Root(NamedTuple):
    """The id at the root of a record: `identity`, `objectId`, `FBID` or `GPID`, and its value."""

    key: str
    value: str


class Found(NamedTuple):
    """What a batch says of who its records are about."""

    root: Root | None
    device: str = ""
    """A CleverTap ID of the user's device that may be linked to a person; empty if there is none."""
    notes: Notes = NONE


class RootFinder:
    """Finds the root id of batches by the settings of one connection."""

    def __init__(self, settings: ClevertapConnection) -> None:
        self._settings = settings
        self._person = person_finder(settings.user_id)
        self._fallbacks = tuple(_fallbacks(settings))

    def find(self, batch: EventBatch) -> Found:
        """The root id of all records of the batch."""
        person = self._person(batch)
        notes: Notes = NONE
        if person and not is_usable_id(person):
            person, notes = "", (Note("bad_identity", self._settings.user_id.value),)
        if person and batch.integration_attributes is None and not self._settings.link_derived_ids:
            return Found(Root("identity", person))
        device = ""
        if self._settings.use_clevertap_id:
            device, more = given_clevertap_id(batch)
            notes += more
        if person:
            return Found(Root("identity", person), self._linkable(batch, device), notes)
        if device:
            return Found(Root("objectId", device), device if self._settings.link_anonymous else "", notes)
        for fallback in self._fallbacks:
            root = fallback(batch)
            if root is not None:
                return Found(root, "", notes)
        return Found(None, "", notes)

    def _linkable(self, batch: EventBatch, device: str) -> str:
        if not device and self._settings.link_derived_ids:
            device = derived_clevertap_id(batch)
        return device if self._settings.link_anonymous else ""


Fallback = Callable[[EventBatch], Root | None]


def _fallbacks(settings: ClevertapConnection) -> list[Fallback]:
    """Steps 3 to 5 of the order, as far as they are switched on."""
    steps: list[Fallback] = []
    if settings.derive_clevertap_id:
        steps.append(lambda batch: _root("objectId", derived_clevertap_id(batch)))
    if settings.fall_back_to_other_identities:
        phone = phone_check(settings.phone_region)
        steps += [
            _identity_step("identity", UserIdentity.EMAIL, email),
            _identity_step("identity", UserIdentity.MOBILE_NUMBER, phone),
            _identity_step("FBID", UserIdentity.FACEBOOK, id_text),
            _identity_step("GPID", UserIdentity.GOOGLE, id_text),
        ]
    if settings.fall_back_to_mpid:
        steps.append(lambda batch: _root("identity", _mpid(batch)))
    return steps


def _identity_step(key: str, identity: UserIdentity, check: Callable[[Any], str | None]) -> Fallback:
    return lambda batch: _root(key, check(batch.identities.get(identity)) or "")


def _root(key: str, value: str) -> Root | None:
    return Root(key, value) if value and (key == "objectId" or is_usable_id(value)) else None


def person_finder(user_id: UserId) -> Callable[[EventBatch], str]:
    """Finds the value of the identity that names the user, as text; empty if the batch has none."""
    if user_id is UserId.MPID:
        return _mpid
    identity = UserIdentity(user_id.value)
    spellings = _USUAL_SPELLINGS.get(user_id, (user_id.value,))

    def person(batch: EventBatch) -> str:
        given = batch.user_identities or {}
        for spelling in spellings:
            value = given.get(spelling)
            if type(value) is str and value:
                break
        else:  # another spelling, a number, or not there
            value = batch.identities.get(identity, "")
        return value if not value.isspace() else ""

    return person


def _mpid(batch: EventBatch) -> str:
    mpid = batch.mpid
    if isinstance(mpid, bool) or not isinstance(mpid, (int, str)):
        return ""
    return "" if str(mpid).strip() in ("", "0") else str(mpid)


def no_identity(record_id: str, batch: EventBatch, user_id: UserId) -> Outcome:
    """The rejection of a record without any id; CleverTap would answer 523. Names identity types, never values."""
    had = ", ".join(identity.value for identity in batch.identities) or "none"
    text = (
        f"The batch has no usable {user_id.value}, which the setting user_id names, and no usable CleverTap ID in "
        f"integration_attributes.{MODULE}.{CLEVERTAP_ID}. Its user identities: {had}."
    )
    return Outcome.rejected(record_id, "no_identity", text)
