"""What names a person in an event batch: every identity that it holds, with its type, in one spelling.

An erasure asks for a person by these, suppression recognises by them what still comes, and the log's files are searched
with them. So there is one place that knows where in a batch they stand and which spellings mean the same.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from router_core.events import IDENTITY_ALIASES, EventBatch, EventType, UserIdentity

Identifier = tuple[str, str]
"""Type and value, both in the one spelling that is compared."""

MPID: Final = "mpid"
DEVICE_STAMP: Final = "mp_deviceid"
"""mParticle's "device application stamp": one installation of one app, whoever uses it."""
CUSTOMER_ID: Final = UserIdentity.CUSTOMER_ID.value
DEVICE_TYPES: Final = (
    "android_uuid", "android_advertising_id", "ios_advertising_id", "ios_idfv", "push_token", "fire_advertising_id",
    "roku_advertising_id", "roku_publisher_id", "microsoft_advertising_id", "microsoft_publisher_id", "amp_id",
    "google_advertising_id",
)  # fmt: skip
"""Fields of `device_info` that name a device."""
USER_TYPES: Final = frozenset(identity.value for identity in UserIdentity)
TYPES: Final = (*(identity.value for identity in UserIdentity), MPID, DEVICE_STAMP, *DEVICE_TYPES)
"""Every type that an erasure may name."""

_ALIASES: Final[Mapping[str, str]] = {
    **{spelling: identity.value for spelling, identity in IDENTITY_ALIASES.items()},
    "phone": UserIdentity.MOBILE_NUMBER.value,
    "mparticle_id": MPID,
    **{name: name for name in (MPID, DEVICE_STAMP, *DEVICE_TYPES)},
    "google_advertising_id": "android_advertising_id",
}
_INTEGRATION: Final = "integration"
_PHONES: Final = frozenset({"mobile_number", "phone_number_2", "phone_number_3"})
_IN_SCHEME: Final = {DEVICE_STAMP, *DEVICE_TYPES} - {"push_token", "amp_id"}
_NOBODY: Final = re.compile(r"[0\-{}]*")
_NUMBERED: Final = [UserIdentity.OTHER, UserIdentity.CUSTOMER_ID, *list(UserIdentity)[2:]]
"""By mParticle's number of the type (web SDK, `types.ts`)."""


class Identifiers(NamedTuple):
    """What one batch names."""

    own: list[Identifier]
    """Of the batch as a whole: the person and the device that it speaks of."""
    in_events: list[Identifier]
    """In events about a change of identity: ids that are given up or taken on."""


# --- one spelling -----------------------------------------------------------------------------------------------------


def type_of(name: str) -> str | None:
    """The type that a spelling means, such as `customerid`, `other2`, `ios_idfv`; None if it means none."""
    return _ALIASES.get(name) or _ALIASES.get(name.strip().lower())


def integration_type(module: str, key: str) -> str:
    """The type of a partner's id in `integration_attributes`."""
    return f"{_INTEGRATION}:{module}:{key}"


def integration_of(kind: str) -> tuple[int, str] | None:
    """Module and key of such a type; None for others, and for a module that is no number."""
    name, _, rest = kind.partition(":")
    module, _, key = rest.partition(":")
    return (int(module), key) if name == _INTEGRATION and module.isascii() and module.isdigit() else None


def spelled(kind: str, value: Any) -> str:
    """A value as it is compared; empty if it names nobody.

    Numbers are text, emails lower-case, phone numbers digits only, device ids without case and hyphens.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    if isinstance(value, float):
        value = int(value) if value.is_integer() else value
    text = str(value).strip()
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if kind == "email":
        return text.lower()
    if kind in _PHONES:
        digits = "".join(filter(str.isdecimal, text)).removeprefix("00")
        return digits or text
    if kind in _IN_SCHEME:
        return "" if _NOBODY.fullmatch(text) else text.lower().replace("-", "").strip("{}")
    return "" if kind == MPID and text == "0" else text


def as_sent(kind: str, value: Any) -> str:
    """A value as its sender wrote it, blanks too, for the partner who was told the same; empty if it names nobody."""
    return str(value) if spelled(kind, value) else ""


Spelling = Callable[[str, Any], str]


# --- in a batch -------------------------------------------------------------------------------------------------------


class _Devices(msgspec.Struct, gc=False):
    android_uuid: Any = None
    android_advertising_id: Any = None
    ios_advertising_id: Any = None
    ios_idfv: Any = None
    push_token: Any = None
    fire_advertising_id: Any = None
    roku_advertising_id: Any = None
    roku_publisher_id: Any = None
    microsoft_advertising_id: Any = None
    microsoft_publisher_id: Any = None
    amp_id: Any = None
    google_advertising_id: Any = None


class _Event(msgspec.Struct, gc=False):
    event_type: Any = ""
    data: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))


class _Batch(msgspec.Struct, gc=False):
    """The fields of `EventBatch` that name somebody. Of any type: nothing here refuses a batch."""

    events: list[_Event] | None = None
    user_identities: dict[str, Any] | None = None
    device_info: _Devices | None = None
    mpid: Any = None
    mp_deviceid: Any = None
    integration_attributes: dict[str, Any] | None = None


_decode: Final[Callable[[bytes], _Batch]] = msgspec.json.Decoder(_Batch).decode
_CHANGES: Final = (EventType.USER_IDENTITY_CHANGE.value, EventType.PROFILE.value)


def identifiers_in(body: bytes, spell: Spelling = spelled) -> Identifiers | None:
    """What a batch as received names; None if it is no JSON object that can be read at all."""
    try:
        return identifiers_of(_decode(body), spell)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return identifiers_of(_decode(json.dumps(_readable(json.loads(body))).encode()), spell)
    except (ValueError, TypeError, LookupError, RecursionError):
        return None


def _readable(document: Any) -> dict[str, Any]:
    """The fields that name somebody, as far as they have the right type. Raises `TypeError` for what is no object."""
    if not isinstance(document, dict):
        raise TypeError
    events = document.get("events")
    objects = ("user_identities", "device_info", "integration_attributes")
    return {
        "events": [event for event in events if isinstance(event, dict)] if isinstance(events, list) else None,
        "mpid": document.get("mpid"),
        "mp_deviceid": document.get("mp_deviceid"),
        **{name: document[name] for name in objects if isinstance(document.get(name), dict)},
    }


def identifiers_of(batch: EventBatch | _Batch, spell: Spelling = spelled) -> Identifiers:
    """What a decoded batch names."""
    own = [(kind, text) for kind, value in _own(batch) if (text := spell(kind, value))]
    in_events = (
        [(kind, text) for kind, value in _in_events(batch) if (text := spell(kind, value))] if batch.events else []
    )
    return Identifiers(own, in_events)


def _own(batch: EventBatch | _Batch) -> Iterator[tuple[str, Any]]:
    for name, value in (batch.user_identities or {}).items():
        if (kind := _ALIASES.get(name) or _ALIASES.get(name.lower())) is not None:
            yield from _each(kind, value)
    yield from _each(MPID, batch.mpid)
    yield from _each(DEVICE_STAMP, batch.mp_deviceid)
    device = batch.device_info
    if device is not None:
        for name in DEVICE_TYPES:
            if (value := getattr(device, name)) is not None:
                yield from _each(_ALIASES[name], value)
    for module, attributes in (batch.integration_attributes or {}).items():
        if isinstance(attributes, Mapping):
            for key, value in attributes.items():
                yield from _each(integration_type(module, key), value)


def _in_events(batch: EventBatch | _Batch) -> Iterator[tuple[str, Any]]:
    for event in batch.events or ():
        if event.event_type not in _CHANGES:
            continue
        try:
            data = msgspec.json.decode(event.data)
        except msgspec.DecodeError:
            continue
        if not isinstance(data, Mapping):
            continue
        for side in ("new", "old"):
            identity = data.get(side)
            if isinstance(identity, Mapping) and (kind := _kind_of_change(identity.get("identity_type"))) is not None:
                yield from _each(kind, identity.get("identity"))
        for name in ("current_mpid", "previous_mpid"):
            yield from _each(MPID, data.get(name))


def _kind_of_change(name: Any) -> str | None:
    if isinstance(name, bool):
        return None
    if isinstance(name, str) and not name.isdecimal():
        return type_of(name)
    number = int(name) if isinstance(name, (str, int)) else -1
    return _NUMBERED[number].value if 0 <= number < len(_NUMBERED) else None


def _each(kind: str, value: Any) -> Iterable[tuple[str, Any]]:
    if value is None or value == "":
        return ()
    return [(kind, item) for item in value] if isinstance(value, list) else ((kind, value),)
