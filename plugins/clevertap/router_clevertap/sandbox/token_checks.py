"""Checks of a device token record (official documentation: Upload Device Tokens, API Errors 530-535)."""

from typing import Any

from router_clevertap.sandbox import refusals, rules
from router_clevertap.sandbox.refusals import Refusal


def token_refusal(record: dict[str, Any]) -> Refusal | None:
    """The first fault of a token record, or None.

    A token hangs on an objectId; `identity` is not accepted. An objectId the sandbox never saw is accepted,
    for real devices become known through SDKs, which do not speak to the sandbox.
    """
    object_id = record.get("objectId")
    if not isinstance(object_id, str) or not rules.OBJECT_ID.fullmatch(object_id):
        return refusals.TOKEN_OBJECT_ID
    data = record.get("tokenData")
    if not isinstance(data, dict) or not data:
        return refusals.NO_TOKEN_DATA
    return _data_refusal(data, rules.token_types_for(object_id))


def _data_refusal(data: dict[str, Any], fitting_types: frozenset[str]) -> Refusal | None:
    if not data.get("id"):
        return refusals.NO_TOKEN_ID
    if not data.get("type"):
        return refusals.NO_TOKEN_TYPE
    if not isinstance(data["id"], str) or not isinstance(data["type"], str):
        return refusals.TOKEN_DATA
    if not isinstance(data.get("keys", {}), dict):
        return refusals.TOKEN_DATA
    return None if data["type"] in fitting_types else refusals.TOKEN_TYPE
