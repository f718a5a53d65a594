"""mParticle's kinds of events and identities, with the numbers by which its SDKs know them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from router_core.events import IDENTITY_ALIASES, CommerceEvent, UserIdentity


class CustomEventType(StrEnum):
    """What an app calls the kind of a custom event."""

    NAVIGATION = "navigation"
    LOCATION = "location"
    SEARCH = "search"
    TRANSACTION = "transaction"
    USER_CONTENT = "user_content"
    USER_PREFERENCE = "user_preference"
    SOCIAL = "social"
    OTHER = "other"
    MEDIA = "media"
    ATTRIBUTION = "attribution"
    UNKNOWN = "unknown"


class CommerceType(StrEnum):
    """What was done in a commerce event."""

    ADD_TO_CART = "add_to_cart"
    REMOVE_FROM_CART = "remove_from_cart"
    CHECKOUT = "checkout"
    CHECKOUT_OPTION = "checkout_option"
    CLICK = "click"
    VIEW_DETAIL = "view_detail"
    PURCHASE = "purchase"
    REFUND = "refund"
    PROMOTION_VIEW = "promotion_view"
    PROMOTION_CLICK = "promotion_click"
    ADD_TO_WISHLIST = "add_to_wishlist"
    REMOVE_FROM_WISHLIST = "remove_from_wishlist"
    IMPRESSION = "impression"


_CUSTOM: Final = list(CustomEventType)[:9]
CUSTOM_EVENT_NUMBERS: Final = {CustomEventType.UNKNOWN: 0} | {kind: n for n, kind in enumerate(_CUSTOM, start=1)}
"""The web SDK's numbers; it knows no `attribution`."""
COMMERCE_NUMBERS: Final = {kind: number for number, kind in enumerate(CommerceType, start=10)}

USER_IDENTITIES: Final = (
    UserIdentity.OTHER, UserIdentity.CUSTOMER_ID,
    *(one for one in UserIdentity if one not in (UserIdentity.OTHER, UserIdentity.CUSTOMER_ID)),
)  # fmt: skip
"""The user identities, each at the place of its number in the SDKs."""


def commerce_type(event: CommerceEvent) -> str:
    """What was done, by its name in `CommerceType` as far as mParticle has one; empty if nothing was."""
    if event.product_action is not None:
        action = str(event.product_action.action or "").strip().lower()
        return "remove_from_wishlist" if action == "remove_from_wish_list" else action
    if event.promotion_action is not None:
        action = str(event.promotion_action.action or "").strip().lower()
        return "promotion_" + {"1": "view", "2": "click"}.get(action, action)  # the web SDK sends its number
    return "impression" if event.product_impressions else ""


def user_identity(name: Any) -> UserIdentity | None:
    """The type that a batch or a change event means, by name in any spelling or by number."""
    if isinstance(name, bool):
        return None
    text = str(name).strip().lower()
    if text.isascii() and text.isdigit() and len(text) < 3:
        return USER_IDENTITIES[int(text)] if int(text) < len(USER_IDENTITIES) else None
    return IDENTITY_ALIASES.get(text)
