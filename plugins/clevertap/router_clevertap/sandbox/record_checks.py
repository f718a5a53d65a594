"""Checks common to all records: kind, root id, timestamp. Then the checks of the record's kind.

Recorded answers of 2018: `ts` is looked at before anything in `profileData`. That the id comes before `ts` is
ours.
"""

from typing import Any

from router_clevertap.sandbox import refusals, rules
from router_clevertap.sandbox.event_checks import event_refusal
from router_clevertap.sandbox.profile_checks import is_id, profile_refusal
from router_clevertap.sandbox.refusals import Refusal
from router_clevertap.sandbox.settings import SandboxSettings
from router_clevertap.sandbox.token_checks import token_refusal


def record_refusal(record: object, settings: SandboxSettings) -> Refusal | None:
    """The first fault of a record, or None if it is accepted.

    Converts in place what the real service converts (Phone to a number, `profileData.identity` to text), up
    to the point of the fault: the echo shows how far the checks came.
    """
    if not isinstance(record, dict):
        return refusals.NEITHER
    match record.get("type"):
        case "event":
            return _root_refusal(record) or event_refusal(record, settings)
        case "profile":
            return _root_refusal(record) or profile_refusal(record)
        case "token":
            return token_refusal(record)
    return refusals.NEITHER


def _root_refusal(record: dict[str, Any]) -> Refusal | None:
    present = [name for name in rules.ROOT_IDS if record.get(name) not in (None, "")]
    if len(present) > 1:
        return refusals.SEVERAL_IDS
    if not present:
        return refusals.NO_ID
    value = record[present[0]]
    if present[0] == "objectId":
        if not isinstance(value, str) or not rules.OBJECT_ID.fullmatch(value):
            return refusals.OBJECT_ID
    elif not is_id(value):
        return refusals.NO_ID
    return _timestamp_refusal(record)


def _timestamp_refusal(record: dict[str, Any]) -> Refusal | None:
    """`ts` is epoch seconds, an integer; missing means now. Recorded, 2018: 0 is refused."""
    if "ts" not in record:
        return None
    ts = record["ts"]
    if isinstance(ts, int) and not isinstance(ts, bool) and 0 < ts <= rules.MAX_SECONDS:
        return None
    return refusals.TIMESTAMP
