"""Purchases → `Charged`, the one event that CleverTap counts as revenue (official documentation).

`Amount` is the revenue and a number; `Items` are flat objects, at most 50 (source of CleverTap's SDKs). One purchase is
one `Charged`, whose amount counts once: products beyond the 50th follow as events `eCommerce - purchase - Item`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from router_clevertap.commerce_details import (
    TEXTS,
    PlainEvent,
    action_details,
    amount_of,
    given,
    is_unreadable,
    product_details,
    with_own,
)
from router_clevertap.names import CHARGED, clean_key, compared
from router_clevertap.notes import Note
from router_clevertap.properties import PropertyCleaner
from router_clevertap.values import is_empty
from router_core.events import CommerceEvent, Product, ProductAction

MAX_ITEMS: Final = 50  # CleverTap Android, Apple and Web SDK source
SPLIT_NAME: Final = "eCommerce - purchase - Item"
_KEYS: Final = {compared(key): key for key in ("Amount", "Charged ID", "Currency", "Items")}


def charged_from_purchase(
    event: CommerceEvent, action: ProductAction, products: Sequence[Product], cleaner: PropertyCleaner
) -> list[PlainEvent]:
    """`Charged` for a purchase with products, and an event for each product beyond the 50th."""
    notes: list[Note] = []
    amount = _amount(action, products, notes)
    details = given({"Amount": amount, "Charged ID": action.transaction_id, "Currency": event.currency_code})
    own = with_own(details | action_details(event, action, notes), event.custom_attributes, notes, _KEYS)
    items = [product_details(product, {}, notes) for product in products]
    shared = given({"Transaction Id": action.transaction_id, "Currency Code": event.currency_code})
    return _charged(own, items, shared, notes, cleaner)


def charged_from_attributes(attributes: Mapping[str, Any] | None, cleaner: PropertyCleaner) -> list[PlainEvent]:
    """A custom event that the app named `Charged` itself, with CleverTap's keys in their exact spelling."""
    notes: list[Note] = []
    own: dict[str, Any] = {}
    items: list[dict[str, Any]] = []
    for raw, value in (attributes or {}).items():
        key = _KEYS.get(clean_key(raw).compared, raw)
        if key in own or (key == "Items" and items):
            notes.append(Note("key_collision", raw))
        elif key == "Items" and isinstance(value, list) and value:
            items = [item for item in value if isinstance(item, dict) and not is_empty(item)]
            notes += [_left_out(raw, item) for item in value if not isinstance(item, dict) or is_empty(item)]
        elif key == "Items" or (key == "Amount" and amount_of(value) is None):
            notes.append(_left_out(raw, value))
        else:
            own[key] = amount_of(value) if key == "Amount" else value
            if key != raw:
                notes.append(Note("key_changed", raw))
    return _charged(own, items, given({"Transaction Id": own.get("Charged ID")}), notes, cleaner)


def _left_out(raw: str, value: Any) -> Note:
    return Note("empty_value" if is_empty(value) else "invalid_field", raw)


def _charged(
    own: Mapping[str, Any],
    items: Sequence[Mapping[str, Any]],
    shared: Mapping[str, Any],
    notes: list[Note],
    cleaner: PropertyCleaner,
) -> list[PlainEvent]:
    flat, changed = cleaner.properties(own, TEXTS)
    data = dict(list(flat.items())[: cleaner.max_properties - bool(items)])
    notes += changed
    notes += [Note("too_many_properties", key) for key in list(flat)[len(data) :]]
    cleaned = []
    for item in items[:MAX_ITEMS]:
        properties, changed = cleaner.properties(item, TEXTS)
        notes += changed
        if properties:
            cleaned.append(properties)
    if cleaned:
        data["Items"] = cleaned
    if len(items) > MAX_ITEMS:
        notes.append(Note("items_split", "Items"))
    rest = (cleaner.properties({**shared, **item}, TEXTS) for item in items[MAX_ITEMS:])
    return [PlainEvent(CHARGED, data, tuple(notes)), *(PlainEvent(SPLIT_NAME, *one) for one in rest)]


def _amount(action: ProductAction, products: Sequence[Product], notes: list[Note]) -> int | float | None:
    """The amount of the purchase as a number; the sum of its products if the event has no readable total."""
    amount = amount_of(action.total_amount)
    if amount is not None:
        return amount
    known = [total for product in products if (total := _product_total(product)) is not None]
    summed = amount_of(round(sum(known), 6)) if known else None
    if summed is not None:
        code = "amount_summed" if len(known) == len(products) else "amount_incomplete"
        notes.append(Note(code, "total_amount"))
    return summed


def _product_total(product: Product) -> int | float | None:
    total, price = amount_of(product.total_product_amount), amount_of(product.price)
    if total is not None or price is None:
        return total
    quantity = amount_of(product.quantity)
    if quantity is None:
        return None if is_unreadable(product.quantity) else price
    return amount_of(price * quantity)
