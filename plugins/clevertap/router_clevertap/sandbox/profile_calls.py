"""The calls beside upload: read, delete and demerge profiles; subscribe and disassociate addresses."""

import time
from typing import Any, Final

from router_clevertap.sandbox import answers, refusals, rules
from router_clevertap.sandbox.answers import Answer
from router_clevertap.sandbox.calls import BadCall, Call, object_of, shallow_array_of
from router_clevertap.sandbox.refusals import Refusal
from router_clevertap.sandbox.state import Account, Sandbox

# The codes of these answers' `unprocessed` were never seen; these have the meanings they have in uploads.
_NOT_AN_ORDER: Final = refusals.NEITHER
_NOBODY_HAS_IT: Final = Refusal(523, "No profile has this identity. ")


def profile(_: Sandbox, account: Account, call: Call) -> Answer:
    """`GET /1/profile.json?identity=|objectId=|email=` (official Node SDK): one of the three."""
    asked = {name: call.query[name] for name in ("identity", "objectId", "email") if call.query.get(name)}
    if len(asked) != 1:
        raise BadCall("One of identity, objectId or email is necessary")
    person = account.people.find(*next(iter(asked.items())))
    if person is None:  # body never seen; the documentation has 404 for "cannot be found"
        return answers.failed(404, "Profile not found")
    record = person.as_record()
    record["sandbox"]["unsubscribed"] = account.unsubscribed(person)
    return answers.json(200, {"status": "success", "record": record})


def delete(_: Sandbox, account: Account, call: Call) -> Answer:
    """`POST /1/delete/profiles.json`: `{"identity": text or array}`, `{"guid": ...}`, or both.

    Official documentation: at most 100 of each, at least one; a guid is an objectId. Unknown ids are no
    error: ours.
    """
    content = object_of(call.body)
    identities = _ids(content, "identity", rules.MAX_IDS_PER_DELETE)
    guids = _ids(content, "guid", rules.MAX_IDS_PER_DELETE)
    if not identities and not guids:
        raise BadCall("identity or guid is mandatory")
    for value in identities:
        account.erase("identity", value)
    for value in guids:
        account.erase("objectId", value)
    return answers.SUCCESS


def demerge(_: Sandbox, account: Account, call: Call) -> Answer:
    """`POST /1/demerge/profiles.json`: `{"identities": [...]}`, at most 100 (official documentation)."""
    identities = _ids(object_of(call.body), "identities", rules.MAX_IDS_PER_DELETE)
    if not identities:
        raise BadCall("identities is mandatory")
    for identity in identities:
        account.people.demerge(identity, time.time())
    return answers.SUCCESS


def subscribe(_: Sandbox, account: Account, call: Call) -> Answer:
    """`POST /1/subscribe`:
    `{"d":[{"type":"phone"|"email","value":text,"status":"Unsubscribe"|"Resubscribe"}]}`.

    Affects everybody who has the address, known or yet to come (official documentation).
    """
    unprocessed = []
    orders = shallow_array_of(call.body, "d", rules.MAX_RECORDS_PER_CALL)
    for number, order in enumerate(orders, 1):
        refusal = _address_refusal(order, ("phone", "email"))
        if refusal is None and order.get("status") not in ("Unsubscribe", "Resubscribe"):
            refusal = _NOT_AN_ORDER
        if refusal is None:
            account.subscriptions[order["type"], order["value"]] = order["status"]
        else:
            unprocessed.append(refusal.entry(number, order))
    return answers.uploaded(len(orders) - len(unprocessed), unprocessed)


def disassociate(_: Sandbox, account: Account, call: Call) -> Answer:
    """`POST /1/disassociate`: `{"d":[{"type":"phone","value":"+..."}]}`, for phones that are an identity."""
    unprocessed = []
    orders = shallow_array_of(call.body, "d", rules.MAX_RECORDS_PER_CALL)
    for number, order in enumerate(orders, 1):
        refusal = _address_refusal(order, ("phone",))
        if refusal is None and not account.people.disassociate(order["value"]):
            refusal = _NOBODY_HAS_IT
        if refusal is not None:
            unprocessed.append(refusal.entry(number, order))
    return answers.uploaded(len(orders) - len(unprocessed), unprocessed)


def _address_refusal(order: Any, types: tuple[str, ...]) -> Refusal | None:
    if not isinstance(order, dict) or order.get("type") not in types:
        return _NOT_AN_ORDER
    pattern, refusal = (rules.PHONE, refusals.PHONE) if order["type"] == "phone" else (rules.EMAIL, refusals.EMAIL)
    value = order.get("value")
    return None if isinstance(value, str) and pattern.fullmatch(value) else refusal


def _ids(content: dict[str, Any], key: str, maximum: int) -> list[str]:
    given = content.get(key, [])
    ids = given if isinstance(given, list) else [given]
    if not all(isinstance(value, str) and value for value in ids):
        raise BadCall(f"'{key}' must be text or an array of texts")
    if len(ids) > maximum:
        raise BadCall(f"At most {maximum} values are allowed in '{key}'")
    return ids
