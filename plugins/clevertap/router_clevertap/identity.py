"""Who a record is about: exactly one id at the root of each record.

Order: the identity that the setting `user_id` names, then the CleverTap ID that mParticle's kit left in the batch.
A wrong `objectId` makes a ghost profile and never an error (official documentation), so only a well-formed one counts.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from router_clevertap.notes import NONE, Note, Notes
from router_clevertap.settings import UserId
from router_core.events import EventBatch, UserIdentity
from router_core.outcomes import Outcome

MODULE: Final = 135
"""mParticle's number for CleverTap (mParticle Apple kit source)."""
CLEVERTAP_ID: Final = "clevertap_id_integration_setting"
_OBJECT_ID: Final = re.compile(r"[=|<>;+.A-Za-z0-9()!:$@_-]{1,120}")  # Android and Apple SDK source: custom ids
_USUAL_SPELLING: Final = {UserId.CUSTOMER_ID: "customerid"}  # mParticle's Python and Node clients


class Root(NamedTuple):
    """The id at the root of a record: `identity` or `objectId`, and its value."""

    key: str
    value: str


def root_of(batch: EventBatch, user_id: UserId) -> tuple[Root | None, Notes]:
    """The root id of all records of the batch, or None if it has none."""
    person = person_of(batch, user_id)
    if person:
        return Root("identity", person), NONE
    device, notes = _clevertap_id(batch)
    return (Root("objectId", device) if device else None), notes


def person_of(batch: EventBatch, user_id: UserId) -> str:
    """The value of the identity that names the user, as text; empty if the batch has none."""
    if user_id is UserId.MPID:
        return _mpid(batch)
    value = (batch.user_identities or {}).get(_USUAL_SPELLING.get(user_id, user_id.value))
    if type(value) is not str or not value:  # another spelling, a number, or not there
        value = batch.identities.get(UserIdentity(user_id.value), "")
    return value if not value.isspace() else ""


def _mpid(batch: EventBatch) -> str:
    mpid = batch.mpid
    if isinstance(mpid, bool) or not isinstance(mpid, (int, str)):
        return ""
    return "" if str(mpid).strip() in ("", "0") else str(mpid)


def _clevertap_id(batch: EventBatch) -> tuple[str, Notes]:
    value = ((batch.integration_attributes or {}).get(str(MODULE)) or {}).get(CLEVERTAP_ID)
    if value is None or value == "":
        return "", NONE
    if isinstance(value, str) and _OBJECT_ID.fullmatch(value):
        return value, NONE
    return "", (Note("bad_clevertap_id", CLEVERTAP_ID),)


def no_identity(record_id: str, batch: EventBatch, user_id: UserId) -> Outcome:
    """The rejection of a record without any id; CleverTap would answer 523. Names identity types, never values."""
    had = ", ".join(identity.value for identity in batch.identities) or "none"
    text = (
        f"The batch has no {user_id.value}, which the setting user_id names, and no usable CleverTap ID in "
        f"integration_attributes.{MODULE}.{CLEVERTAP_ID}. Its user identities: {had}."
    )
    return Outcome.rejected(record_id, "no_identity", text)
