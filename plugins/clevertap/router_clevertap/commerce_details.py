"""Keys and values of commerce in plain events: the names that mParticle's SDKs and CleverTap's kits give them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from math import isfinite
from typing import Any, Final, NamedTuple

from router_clevertap.names import clean_key
from router_clevertap.notes import NONE, Note, Notes
from router_core.events import CommerceEvent, Product, ProductAction, Promotion

_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,300}(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?")


TEXTS: Final = frozenset(
    (
        *("Charged ID", "Currency", "Transaction Id", "Affiliation", "Coupon Code", "Checkout Options"),
        *("Currency Code", "Product Action List", "Product List Source", "Product Impression List"),
        *("Name", "Id", "Brand", "Category", "Variant", "Creative"),
    )
)
"""Ids, names and codes: never dates, whatever they look like."""


class PlainEvent(NamedTuple):
    """One CleverTap event."""

    name: str
    data: Mapping[str, Any]
    notes: Notes = NONE


def action_details(event: CommerceEvent, action: ProductAction, notes: list[Note]) -> dict[str, Any]:
    """What an action says beside its products."""
    return given(
        {
            "Transaction Id": action.transaction_id,
            "Affiliation": action.affiliation,
            "Coupon Code": action.coupon_code,
            "Total Amount": _amount("total_amount", action.total_amount, notes),
            "Shipping Amount": _amount("shipping_amount", action.shipping_amount, notes),
            "Tax Amount": _amount("tax_amount", action.tax_amount, notes),
            "Checkout Options": action.checkout_options,
            "Checkout Step": action.checkout_step,
            "Product Action List": action.product_action_list,
            "Product List Source": action.product_list_source,
            "Currency Code": event.currency_code,
        }
    )


def product_details(product: Product, shared: Mapping[str, Any], notes: list[Note]) -> dict[str, Any]:
    """A product's fields, then what all products share, then the product's own attributes; the first of a key stays."""
    fields = given(
        {
            "Name": product.name,
            "Id": product.id,
            "Item Price": _amount("price", product.price, notes),
            "Quantity": _amount("quantity", product.quantity, notes),
            "Total Product Amount": _amount("total_product_amount", product.total_product_amount, notes),
            "Brand": product.brand,
            "Category": product.category,
            "Variant": product.variant,
            "Position": number(product.position),
            "Coupon Code": product.coupon_code,
        }
    )
    return with_own(dict(shared) | fields if shared else fields, product.custom_attributes, notes)


def promotion_details(promotion: Promotion) -> dict[str, Any]:
    """What a promotion says."""
    return given(
        {"Id": promotion.id, "Name": promotion.name, "Creative": promotion.creative, "Position": promotion.position}
    )


def with_own(
    details: dict[str, Any], own: Mapping[str, Any] | None, notes: list[Note], reserved: Collection[str] = ()
) -> dict[str, Any]:
    """The details, then the app's own attributes as far as they displace none of them.

    `reserved` are further names that own attributes cannot have, in the form in which CleverTap compares names.
    """
    if not own:
        return details
    merged = dict(details)
    for key, value in own.items():
        if reserved and clean_key(key).compared in reserved:
            notes.append(Note("reserved_key", key))
        elif key in details:
            notes.append(Note("key_collision", key))
        else:
            merged[key] = value
    return merged


def given(details: Mapping[str, Any]) -> dict[str, Any]:
    """What the event really has; zeros stay."""
    return {key: value for key, value in details.items() if value is not None and value != ""}


def word(value: Any) -> str:
    """A word such as an action's name, in lower case; empty if there is none."""
    return "" if value is None else str(value).strip().lower()


def number(value: Any) -> Any:
    """A number from numeric text, which mParticle's own examples send; other values as they are, without booleans."""
    if not isinstance(value, str):
        return None if isinstance(value, bool) else value
    plain = value.strip()
    if not _NUMBER.fullmatch(plain):
        return value
    found = float(plain)
    return int(plain) if plain.lstrip("+-").isdigit() else found if isfinite(found) else value


def amount_of(value: Any) -> int | float | None:
    """An amount of money as a number that JSON can carry; None if it is none."""
    found = number(value)
    if not isinstance(found, (int, float)):
        return None
    try:
        return found if abs(found) < 2**63 else float(found) if isfinite(found) else None
    except OverflowError:  # an integer of more than 308 digits
        return None


def is_unreadable(value: Any) -> bool:
    """Whether something is there, and is no amount."""
    return value is not None and value != "" and amount_of(value) is None


def _amount(field: str, value: Any, notes: list[Note]) -> int | float | None:
    """An amount for a property of numbers, where text such as `12,50` would be in no sum."""
    if is_unreadable(value):
        notes.append(Note("invalid_field", field))
    return amount_of(value)
