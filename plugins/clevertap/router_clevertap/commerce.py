"""Commerce events → `Charged` for a purchase with products, and plain events for everything else.

Names are those of mParticle's SDKs for expanded commerce events: `eCommerce - <action> - Item` for each product, one
`… - Total` for purchase and refund, `eCommerce - <view or click> - Item` for each promotion and
`eCommerce - Impression - Item` for each product shown. The choice of `Charged` is that of CleverTap's kits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from router_clevertap.charged import charged_from_purchase
from router_clevertap.commerce_details import (
    TEXTS,
    PlainEvent,
    action_details,
    given,
    product_details,
    promotion_details,
    with_own,
    word,
)
from router_clevertap.notes import Note
from router_clevertap.properties import PropertyCleaner
from router_core.events import CommerceEvent, Product

_ACTION_NAMES: Final = {"remove_from_wish_list": "remove_from_wishlist"}  # wire and expanded name differ (mParticle)
_PROMOTION_ACTIONS: Final = {"1": "view", "2": "click"}  # the web SDK sends the number
_WITH_TOTAL: Final = ("purchase", "refund")
Expanded = tuple[str, dict[str, Any], list[Note]]
"""Name, properties, and what was left out of them."""


def events_from_commerce(event: CommerceEvent, cleaner: PropertyCleaner) -> list[PlainEvent]:
    """All CleverTap events that a commerce event becomes, in a stable order; none if it has no commerce in it."""
    action = event.product_action
    events: list[PlainEvent] = []
    if action is not None and word(action.action) == "purchase" and action.products:
        events = charged_from_purchase(event, action, action.products, cleaner)
    else:
        events = [_plain(one, event, cleaner) for one in _action_events(event)]
    return events + [_plain(one, event, cleaner) for one in (*_promotion_events(event), *_impression_events(event))]


def _plain(expanded: Expanded, event: CommerceEvent, cleaner: PropertyCleaner) -> PlainEvent:
    name, details, notes = expanded
    data, changed = cleaner.properties(with_own(details, event.custom_attributes, notes), TEXTS)
    return PlainEvent(name, data, (*notes, *changed))


def _action_events(event: CommerceEvent) -> Iterator[Expanded]:
    action = event.product_action
    if action is None:
        return
    said = word(action.action) or "unknown"
    name = f"eCommerce - {_ACTION_NAMES.get(said, said)}"
    notes: list[Note] = []
    details = action_details(event, action, notes)
    products = action.products or []
    if said in _WITH_TOTAL or not products:  # mParticle sends nothing for an action without products; we lose nothing
        yield f"{name} - Total", {**details, "Product Count": len(products)}, notes
    if said in _WITH_TOTAL:
        details, notes = given({"Transaction Id": action.transaction_id}), []
    yield from _product_events(f"{name} - Item", products, details, notes)


def _promotion_events(event: CommerceEvent) -> Iterator[Expanded]:
    if event.promotion_action is None:
        return
    said = word(event.promotion_action.action) or "unknown"
    for promotion in event.promotion_action.promotions or []:
        yield f"eCommerce - {_PROMOTION_ACTIONS.get(said, said)} - Item", promotion_details(promotion), []


def _impression_events(event: CommerceEvent) -> Iterator[Expanded]:
    for impression in event.product_impressions or []:
        shared = given(
            {"Product Impression List": impression.product_impression_list, "Currency Code": event.currency_code}
        )
        yield from _product_events("eCommerce - Impression - Item", impression.products or [Product()], shared)


def _product_events(
    name: str, products: list[Product], shared: Mapping[str, Any], shared_notes: Sequence[Note] = ()
) -> Iterator[Expanded]:
    for product in products:
        notes = list(shared_notes)
        yield name, product_details(product, shared, notes), notes
