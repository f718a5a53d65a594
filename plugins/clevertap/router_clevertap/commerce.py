"""Commerce events → `Charged` for a purchase, and plain events for everything else.

Names and keys are those that mParticle's SDKs and CleverTap's kits give to expanded commerce events; the choice of
`Charged` is that of mParticle's CleverTap web and Android kits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from router_clevertap.notes import NONE, Note, Notes
from router_clevertap.properties import MAX_PROPERTIES, PropertyCleaner
from router_core.events import CommerceEvent, Product, ProductAction, Promotion

MAX_ITEMS: Final = 50  # CleverTap Android, Apple and Web SDK source
_ACTION_NAMES: Final = {"remove_from_wish_list": "remove_from_wishlist"}  # wire and expanded name differ (mParticle)
_PROMOTION_ACTIONS: Final = {"1": "view", "2": "click"}  # the web SDK sends the number
_WITH_TOTAL: Final = ("purchase", "refund")


class PlainEvent(NamedTuple):
    """One CleverTap event."""

    name: str
    data: Mapping[str, Any]
    notes: Notes = NONE


def events_from_commerce(event: CommerceEvent, cleaner: PropertyCleaner) -> list[PlainEvent]:
    """All CleverTap events that a commerce event becomes, in a stable order; none if it has no commerce in it."""
    action = event.product_action
    if action is not None and _text(action.action) == "purchase" and action.products:
        return [_charged(event, action, action.products, cleaner)]
    expanded = [*_action_events(event), *_promotion_events(event), *_impression_events(event)]
    return [PlainEvent(name, *cleaner.properties(_with_custom(data, event))) for name, data in expanded]


def _charged(
    event: CommerceEvent, action: ProductAction, products: list[Product], cleaner: PropertyCleaner
) -> PlainEvent:
    """`Charged`: `Amount` is CleverTap's revenue, `Items` are flat objects (official documentation)."""
    amount, notes = _amount(action, products)
    details = {"Amount": amount, "Charged ID": action.transaction_id, "Currency": event.currency_code}
    own = _with_custom(_given(details) | _action_details(event, action), event)
    if own.pop("Items", None) is not None:
        notes += (Note("key_collision", "Items"),)
    flat, changed = cleaner.properties(own)
    items, items_notes = _items(products, cleaner)
    data = dict(flat) if len(flat) < MAX_PROPERTIES else dict(list(flat.items())[: MAX_PROPERTIES - 1])
    cut = (Note("too_many_properties", "Items"),) if len(data) < len(flat) else NONE
    return PlainEvent("Charged", data | {"Items": items}, notes + changed + cut + items_notes)


def _items(products: list[Product], cleaner: PropertyCleaner) -> tuple[list[Mapping[str, Any]], Notes]:
    cleaned = [cleaner.properties(_product_details(product, {})) for product in products[:MAX_ITEMS]]
    notes = [note for _, some in cleaned for note in some]
    if len(products) > MAX_ITEMS:
        notes.append(Note("items_cut", "Items"))
    return [item for item, _ in cleaned if item], tuple(notes)


def _amount(action: ProductAction, products: list[Product]) -> tuple[int | float | None, Notes]:
    """The amount of the purchase as a number; the sum of its products if the event has no total."""
    amount = _number(action.total_amount)
    if isinstance(amount, (int, float)):
        return amount, NONE
    sums = [_product_total(product) for product in products]
    known = [value for value in sums if value is not None]
    return (round(sum(known), 6), (Note("amount_summed", "total_amount"),)) if known else (None, NONE)


def _product_total(product: Product) -> int | float | None:
    total, price, quantity = (_number(v) for v in (product.total_product_amount, product.price, product.quantity))
    if isinstance(total, (int, float)):
        return total
    if not isinstance(price, (int, float)):
        return None
    return price * quantity if isinstance(quantity, (int, float)) else price


def _action_events(event: CommerceEvent) -> Iterator[tuple[str, dict[str, Any]]]:
    action = event.product_action
    if action is None:
        return
    word = _text(action.action) or "unknown"
    name = f"eCommerce - {_ACTION_NAMES.get(word, word)}"
    details = _action_details(event, action)
    products = action.products or []
    if word in _WITH_TOTAL or not products:  # mParticle sends nothing for an action without products; we lose nothing
        yield f"{name} - Total", {**details, "Product Count": len(products)}
    shared = _given({"Transaction Id": action.transaction_id}) if word in _WITH_TOTAL else details
    for product in products:
        yield f"{name} - Item", _product_details(product, shared)


def _promotion_events(event: CommerceEvent) -> Iterator[tuple[str, dict[str, Any]]]:
    if event.promotion_action is None:
        return
    word = _text(event.promotion_action.action) or "unknown"
    for promotion in event.promotion_action.promotions or []:
        yield f"eCommerce - {_PROMOTION_ACTIONS.get(word, word)} - Item", _promotion_details(promotion)


def _impression_events(event: CommerceEvent) -> Iterator[tuple[str, dict[str, Any]]]:
    for impression in event.product_impressions or []:
        shared = _given(
            {"Product Impression List": impression.product_impression_list, "Currency Code": event.currency_code}
        )
        for product in impression.products or [Product()]:
            yield "eCommerce - Impression - Item", _product_details(product, shared)


def _action_details(event: CommerceEvent, action: ProductAction) -> dict[str, Any]:
    return _given(
        {
            "Transaction Id": action.transaction_id,
            "Affiliation": action.affiliation,
            "Coupon Code": action.coupon_code,
            "Total Amount": _number(action.total_amount),
            "Shipping Amount": _number(action.shipping_amount),
            "Tax Amount": _number(action.tax_amount),
            "Checkout Options": action.checkout_options,
            "Checkout Step": action.checkout_step,
            "Product Action List": action.product_action_list,
            "Product List Source": action.product_list_source,
            "Currency Code": event.currency_code,
        }
    )


def _product_details(product: Product, shared: Mapping[str, Any]) -> dict[str, Any]:
    """A product's fields, then what all products share, then the product's own attributes; the first of a key stays."""
    fields = {
        "Name": product.name,
        "Id": product.id,
        "Item Price": _number(product.price),
        "Quantity": _number(product.quantity),
        "Total Product Amount": _number(product.total_product_amount),
        "Brand": product.brand,
        "Category": product.category,
        "Variant": product.variant,
        "Position": _number(product.position),
        "Coupon Code": product.coupon_code,
    }
    return _filled(_filled(_given(fields), shared), product.custom_attributes or {})


def _promotion_details(promotion: Promotion) -> dict[str, Any]:
    return _given(
        {"Id": promotion.id, "Name": promotion.name, "Creative": promotion.creative, "Position": promotion.position}
    )


def _with_custom(details: dict[str, Any], event: CommerceEvent) -> dict[str, Any]:
    """The details, then the event's own attributes where they do not displace one."""
    return _filled(details, event.custom_attributes or {})


def _filled(details: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    return details | {key: value for key, value in more.items() if key not in details}


def _given(details: Mapping[str, Any]) -> dict[str, Any]:
    """What the event really has; zeros stay."""
    return {key: value for key, value in details.items() if value is not None and value != ""}


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip().lower()


def _number(value: Any) -> Any:
    """A number from numeric text, which mParticle's own examples send; other values as they are."""
    if not isinstance(value, str):
        return None if isinstance(value, bool) else value
    try:
        return int(value) if value.strip().lstrip("-").isdigit() else float(value)
    except ValueError:
        return value
