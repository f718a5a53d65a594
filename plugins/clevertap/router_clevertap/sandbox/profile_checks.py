"""Checks of a profile record, in the order of the real service, with its conversions.

Order (recorded answers of 2017 and 2018): Gender before Phone, Email, Phone (turned into a number), Employed,
Education, Married, `identity` (turned into text), Age. That is the order of the codes, so Gender stands
first. A record that fails late is therefore echoed with a converted Phone, one that fails early is not.
"""

from collections.abc import Callable
from typing import Any, Final

from router_clevertap.sandbox import refusals, rules
from router_clevertap.sandbox.refusals import Refusal

# The documentation gives no code for wrong operations. Ours is 512: permanent, and about structure.
STRUCTURE: Final = 512


def profile_refusal(record: dict[str, Any]) -> Refusal | None:
    """The first fault of a profile with good id and `ts`, or None. Converts Phone and identity in place."""
    data = record.get("profileData")
    if not isinstance(data, dict):
        return refusals.NEITHER
    return _reserved_refusal(data) or _operations_refusal(data)


def _reserved_refusal(data: dict[str, Any]) -> Refusal | None:
    for field, is_good, refusal in _BEFORE_IDENTITY:
        if field in data and not is_good(data[field]) and not _is_deletion(data[field]):
            return refusal
        if field == "Phone" and isinstance(data.get(field), str):
            data[field] = int(data[field][1:])  # recorded, 2018: "+35922333232" is held as 35922333232
    if "identity" in data:
        if not is_id(data["identity"]):
            return refusals.NO_ID
        data["identity"] = id_text(data["identity"])
    if "Age" in data and not _is_age(data["Age"]) and not _is_deletion(data["Age"]):
        return refusals.AGE
    return None


def is_id(value: object) -> bool:
    """Whether a value can identify somebody: text or a number, not empty, at most 120 characters."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return False
    return 0 < len(id_text(value)) <= rules.MAX_ID_CHARS


def id_text(value: object) -> str:
    """An id as the service compares it: as text (recorded, 2018: a numeric identity came back as text)."""
    return value if isinstance(value, str) else str(value)


def _is_deletion(value: object) -> bool:
    return isinstance(value, dict) and value.keys() == {"$delete"}


def _matches(pattern: Any) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_in(values: frozenset[str]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and value in values


def _is_age(value: object) -> bool:
    if isinstance(value, str):
        return rules.AGE.fullmatch(value) is not None
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1000


_BEFORE_IDENTITY: Final[tuple[tuple[str, Callable[[object], bool], Refusal], ...]] = (
    ("Gender", _is_in(rules.GENDERS), refusals.GENDER),
    ("Email", _matches(rules.EMAIL), refusals.EMAIL),
    ("Phone", _matches(rules.PHONE), refusals.PHONE),
    ("Employed", _is_in(rules.YES_OR_NO), refusals.EMPLOYED),
    ("Education", _is_in(rules.EDUCATIONS), refusals.EDUCATION),
    ("Married", _is_in(rules.YES_OR_NO), refusals.MARRIED),
)


def _operations_refusal(data: dict[str, Any]) -> Refusal | None:
    for key, value in data.items():
        # Objects and arrays are accepted in profiles (investigation in RudderStack's pull request 3048).
        is_operation = isinstance(value, dict) and any(name.startswith("$") for name in value)
        if is_operation and (refusal := _operation_refusal(key, value)):
            return refusal
    return None


def _operation_refusal(key: str, operation: dict[str, Any]) -> Refusal | None:
    """User documentation: `$add`, `$remove`, `$incr`, `$decr` and `$delete`; SDKs also send `$set`."""
    operator, operand = next(iter(operation.items()))
    if len(operation) > 1 or operator not in rules.OPERATORS:
        return _structure(f"Unknown operation for field : {key}")
    if operator == "$delete":
        return _structure("identity cannot be deleted") if key == "identity" else None
    if key.lower() in rules.NO_OPERATIONS_ON:
        return _structure(f"Operation {operator} is not allowed for field : {key}")
    if operator in ("$incr", "$decr"):
        is_number = isinstance(operand, int | float) and not isinstance(operand, bool)
        return None if is_number else _structure(f"{operator} needs a number for field : {key}")
    return _list_refusal(key, operator, operand)


def _list_refusal(key: str, operator: str, items: object) -> Refusal | None:
    """Official documentation, Platform considerations: multi-value properties hold text only."""
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        return _structure(f"{operator} needs an array of strings for field : {key}")
    return None


def _structure(what: str) -> Refusal:
    return refusals.profile_data(STRUCTURE, what)
