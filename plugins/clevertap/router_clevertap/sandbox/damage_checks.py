"""`damage_of`: the silent damage of one record, as far as the record alone tells."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from router_clevertap.sandbox import rules
from router_clevertap.sandbox.damage import Damage, damage
from router_clevertap.sandbox.key_damage import OF_CHARGED, OF_EVENTS, KeyRules, key_damage
from router_clevertap.sandbox.profile_damage import profile_damage
from router_clevertap.sandbox.remembering import remembered
from router_clevertap.sandbox.value_damage import value_damage

_ROOT_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "event": frozenset({"type", *rules.ROOT_IDS, "ts", "evtName", "evtData"}),
    "profile": frozenset({"type", *rules.ROOT_IDS, "ts", "profileData"}),
    "token": frozenset({"type", "objectId", "tokenData"}),
}


def damage_of(record: object) -> list[Damage]:
    """What CleverTap would do silently to a record of `/1/upload`; an empty list is what a sender wants.

    Pure, never raises. Meant for records that pass the checks: of others the list may be incomplete. What only an
    account's history tells (a profile after its erasure, people merged, names beyond the account's limits) is not in
    it; the running sandbox adds that.
    """
    if not isinstance(record, dict):
        return []
    match record.get("type"):
        case "event":
            return [*_root_damage(record, "event"), *_event_damage(record)]
        case "profile":
            data = record.get("profileData")
            own = profile_damage(data) if isinstance(data, dict) else ()
            return [*_root_damage(record, "profile"), *own]
        case "token":
            return [*_root_damage(record, "token"), *_token_damage(record)]
    return []


def _root_damage(record: dict[str, Any], kind: str) -> Iterator[Damage]:
    if not record.keys() <= _ROOT_KEYS[kind]:
        for key in record.keys() - _ROOT_KEYS[kind]:
            yield damage("root_key_ignored", key)
    object_id, identity, ts = record.get("objectId"), record.get("identity"), record.get("ts")
    if isinstance(object_id, str) and object_id:
        if rules.BLANK_DEVICE.search(object_id):
            yield damage("shared_device", "objectId")
        elif not rules.CLEVERTAP_ID.fullmatch(object_id):
            yield damage("ghost_profile", "objectId")
    if isinstance(identity, str):
        if rules.PREFIXED_CLEVERTAP_ID.fullmatch(identity):
            yield damage("device_as_identity", "identity")
        elif len(identity) < 20 and identity.strip().lower() in rules.PLACEHOLDERS:
            yield damage("placeholder_identity", "identity")
    elif isinstance(identity, int | float):
        yield damage("number_as_identity", "identity")
    if isinstance(ts, int) and ts < rules.MIN_PLAUSIBLE_SECONDS:
        yield damage("implausible_timestamp", "ts")


def _event_damage(record: dict[str, Any]) -> Iterator[Damage]:
    if "ts" not in record:
        yield damage("no_timestamp", "ts")
    name, data = record.get("evtName"), record.get("evtData")
    if isinstance(name, str):
        yield from _name_damage(name)
    if not isinstance(data, dict):
        return
    is_charged = name == rules.CHARGED
    yield from _properties_damage(data, "evtData.", OF_CHARGED if is_charged else OF_EVENTS)
    if is_charged and "Amount" in data and (isinstance(data["Amount"], bool | str)):
        yield damage("amount_not_number", "evtData.Amount")
    items = data.get("Items")
    if isinstance(items, list):
        if len(items) > rules.MAX_CHARGED_ITEMS:
            yield damage("too_many_items", "evtData.Items")
        for place, item in enumerate(items):
            if isinstance(item, dict):
                yield from _properties_damage(item, f"evtData.Items[{place}].", OF_EVENTS)


@remembered(2048)
def _name_damage(name: str) -> tuple[Damage, ...]:
    found = []
    if len(name) > rules.MAX_EVENT_NAME_CHARS:
        found.append(damage("name_too_long", "evtName"))
    if not rules.FORBIDDEN_IN_NAMES.isdisjoint(name):
        found.append(damage("name_characters", "evtName"))
    if name != rules.CHARGED and rules.normalised(name) == rules.normalised(rules.CHARGED):
        found.append(damage("misspelt_name", "evtName"))
    return tuple(found)


def _properties_damage(data: dict[str, Any], path: str, of: KeyRules) -> Iterator[Damage]:
    yield from key_damage(data, path, of)
    for key, value in data.items():
        if not isinstance(value, list | dict):
            yield from value_damage(value, path + key, is_text=key in of.reserved.values())
        elif not value:
            yield damage("empty_value", path + key)


def _token_damage(record: dict[str, Any]) -> Iterator[Damage]:
    data = record.get("tokenData")
    if isinstance(data, dict) and data.get("type") == "chrome":
        keys = data.get("keys")
        if not isinstance(keys, dict) or not {"p256dh", "auth"} <= keys.keys():
            yield damage("token_without_keys", "tokenData.keys")
