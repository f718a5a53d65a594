"""Names of user attributes → reserved fields and own keys of a profile."""

from __future__ import annotations

from typing import Final

from router_clevertap.fields import CHECKS
from router_clevertap.names import CleanName, clean_profile_key, compared

NAME_PARTS: Final = frozenset({"FirstName", "LastName", "Name"})
_MPARTICLE_NAMES: Final = {
    # mParticle's reserved attributes; clients differ in case, and mParticle's kits agree on the targets.
    **{"$firstname": "FirstName", "$lastname": "LastName", "$mobile": "Phone", "$mpusermobile": "Phone"},
    **{"$address": "Address", "$city": "City", "$state": "State", "$zip": "Zip", "$country": "Country"},
}
_FIELDS: Final = {compared(field): field for field in CHECKS} | {"birthday": "DOB"}  # mParticle's kits: birthday
_IDENTITY_NAMES: Final = frozenset({"identity", "objectid", "fbid", "gpid"})  # an attribute must not name a person
# Android, Apple and Web SDK source: names on which list operations are refused, in any case.
NO_LISTS: Final = frozenset(
    ["name", "email", "education", "married", "dob", "gender", "phone", "age", "fbid", "gpid", "birthday", "identity"]
)


def profile_key(raw: str) -> CleanName:
    """The field or property that a user attribute becomes; without text if it cannot be sent.

    CleverTap compares names without blanks and in lower case, so `email` and `EMAIL` are read as the field `Email`.
    """
    key = own_key(raw)
    field = _MPARTICLE_NAMES.get(raw.lower()) or _FIELDS.get(key.compared)
    if field is not None:
        return CleanName(field, compared(field))
    return key if key.compared not in _IDENTITY_NAMES else CleanName("", "", "reserved_key")


def own_key(raw: str) -> CleanName:
    """The key of a property of the app's own; one leading `$` of mParticle's reserved names falls away."""
    return clean_profile_key(raw.removeprefix("$"))
