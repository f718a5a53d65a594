"""What a profile update does to a person's properties.

Official documentation, Platform considerations: setting overwrites; multi-value properties are unique text,
at most 100 items, the oldest fall out; adding to a single value makes it a list; removing the last value
removes the property.
"""

from collections.abc import Iterable
from typing import Any

from router_clevertap.sandbox.rules import MAX_LIST_ITEMS, OPERATORS


def apply_update(properties: dict[str, Any], update: dict[str, Any]) -> None:
    """Apply checked `profileData` to `properties` in place."""
    for key, value in update.items():
        if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in OPERATORS:
            _apply_operation(properties, key, *next(iter(value.items())))
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            _put_list(properties, key, value)
        elif value is not None:  # what the service does with null is not known; SDKs drop it
            properties[key] = value


def _apply_operation(properties: dict[str, Any], key: str, operator: str, operand: Any) -> None:
    match operator:
        case "$set":
            _put_list(properties, key, operand)
        case "$add":
            _put_list(properties, key, [*_list_of(properties, key), *operand])
        case "$remove":
            gone = set(operand)
            _put_list(properties, key, [item for item in _list_of(properties, key) if item not in gone])
        case "$incr":
            properties[key] = _writable(_number_of(properties, key) + operand)
        case "$decr":
            properties[key] = _writable(_number_of(properties, key) - operand)
        case "$delete":
            properties.pop(key, None)


def _put_list(properties: dict[str, Any], key: str, items: Iterable[str]) -> None:
    unique = list(dict.fromkeys(items))[-MAX_LIST_ITEMS:]
    if unique:
        properties[key] = unique
    else:
        properties.pop(key, None)


def _list_of(properties: dict[str, Any], key: str) -> list[str]:
    held = properties.get(key, [])
    return held if isinstance(held, list) else [str(held)]


def _writable(number: int | float) -> int | float:
    return number if isinstance(number, float) or -(2**63) <= number < 2**63 else float(number)


def _number_of(properties: dict[str, Any], key: str) -> int | float:
    held = properties.get(key, 0)  # a missing property or one that is no number counts from 0: ours
    return held if isinstance(held, int | float) and not isinstance(held, bool) else 0
