"""What a connection's settings can be set to."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from router_core.events import IDENTITY_ALIASES


class UserId(StrEnum):
    """What can name the user at CleverTap: mParticle's user identities and its own id, by core's names."""

    CUSTOMER_ID = "customer_id"
    EMAIL = "email"
    MPID = "mpid"
    MOBILE_NUMBER = "mobile_number"
    FACEBOOK = "facebook"
    GOOGLE = "google"
    OTHER = "other"
    OTHER_ID_2 = "other_id_2"
    OTHER_ID_3 = "other_id_3"
    OTHER_ID_4 = "other_id_4"
    OTHER_ID_5 = "other_id_5"
    OTHER_ID_6 = "other_id_6"
    OTHER_ID_7 = "other_id_7"
    OTHER_ID_8 = "other_id_8"
    OTHER_ID_9 = "other_id_9"
    OTHER_ID_10 = "other_id_10"


_SPELLINGS: Final = {
    **{spelling: identity.value for spelling, identity in IDENTITY_ALIASES.items()},
    "phone": "mobile_number",
    "phone_number": "mobile_number",
    "mparticle_id": "mpid",
}


def user_id_from_text(value: Any) -> Any:
    """Fold mParticle's spellings, such as `customerId` and `other2`, into core's names."""
    if not isinstance(value, str):
        return value
    word = value.strip().lower().replace(" ", "_").replace("-", "_")
    return _SPELLINGS.get(word, word)


class ScreenViewName(StrEnum):
    """How the event of a screen view is named."""

    PREFIXED = "prefixed"
    BARE = "bare"


class NestedValues(StrEnum):
    """What becomes of objects within attributes."""

    JSON_TEXT = "json_text"
    FLATTEN = "flatten"


class NullAttributes(StrEnum):
    """What a user attribute without a value means."""

    BY_SOURCE = "by_source"
    TAG = "tag"
    LEAVE_OUT = "leave_out"


class OptOutChoice(StrEnum):
    """What an opt-out does."""

    KIT_ONLY = "kit_only"
    UNSUBSCRIBE = "unsubscribe"
    SUPPRESS = "suppress"
