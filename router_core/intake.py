"""Takes in event batches: checks their shape, gives them a user and a request key, and puts them into the log.

Nothing clever happens before a batch is durable: transforms, filters and mapping run behind the log, so a corrected
one can be replayed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from random import getrandbits
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from router_core.components import Accepted, SourceInput
from router_core.errors import InvalidBatch, LogFull
from router_core.events import (
    EVENT_DATA,
    IDENTITY_ALIASES,
    ApplicationInfo,
    DeviceIdentity,
    DeviceInfo,
    EventBatch,
    EventType,
    UserIdentity,
)
from router_core.log.port import EventLog, NewBatch, user_hash
from router_core.plangate import PlanGate, Unplanned
from router_core.strictjson import strict_json
from router_core.suppression import Suppression
from router_core.telemetry import Cell, Telemetry

KEPT_HEADERS: Final = ("traceparent", "tracestate", "x-mp-kits", "x-mp-bundled-kits")
"""Request headers that are stored with a batch: trace context, and the kits that run in the app."""

MOST_WAITING: Final = 10_000
"""Appends that may wait for the disk; beyond it senders are asked to come again."""

_OBJECTS: Final = ("user_attributes", "user_identities", "device_info", "application_info", "integration_attributes")
_FIELDS: Final = frozenset(EventBatch.__struct_fields__)
_DATA_FIELDS: Final = {name: frozenset(kind.__struct_fields__) for name, kind in EVENT_DATA.items()}
_NESTED_FIELDS: Final = {
    "device_info": frozenset(DeviceInfo.__struct_fields__),
    "application_info": frozenset(ApplicationInfo.__struct_fields__),
}
_IDENTITY_SPELLINGS: Final[Sequence[tuple[str, str]]] = [
    (spelling, identity.value)
    for identity in UserIdentity
    for spelling in [identity.value, *(s for s, i in IDENTITY_ALIASES.items() if i is identity and s != identity.value)]
]
_CUSTOMER_ID: Final = UserIdentity.CUSTOMER_ID.value


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What intake needs to know of a batch."""

    user: int
    records: int
    events: int
    request_id: str | None
    unknown_fields: int


class CoreIntake:
    """Core's `Intake`; one for the accepting process."""

    def __init__(
        self,
        log: EventLog,
        telemetry: Telemetry,
        suppression: Suppression | None = None,
        plans: Mapping[str, PlanGate] | None = None,
    ) -> None:
        """`plans`: the data plans of inputs by name; only those that refuse something are looked at here."""
        self._plans = {name: plan for name, plan in (plans or {}).items() if plan.refuses}
        self._log = log
        self._suppression = suppression or Suppression()
        self._telemetry = telemetry
        self._waiting = 0
        self._counts: dict[str, _Counts] = {}

    async def accept(
        self,
        input: SourceInput,
        bodies: Sequence[bytes],
        *,
        headers: Mapping[str, str] | None = None,
        request_ids: Sequence[str] | None = None,
    ) -> Sequence[Accepted]:
        """See `Intake.accept`."""
        kept = orjson.dumps(headers) if headers else b""
        results: list[Accepted | None] = []
        new: list[NewBatch] = []
        events = unknown = 0
        plan = self._plans.get(input.name)
        for index, body in enumerate(bodies):
            try:
                envelope = envelope_of(body)
                if plan is not None:
                    plan.require_accepted(body)
            except InvalidBatch as error:
                if isinstance(error, Unplanned):
                    self._telemetry.count("data_plan_refusals", input=input.name, code=error.code)
                results.append(Accepted(error=error))
                continue
            if self._suppression.active and self._suppression.covers_body(body):
                results.append(_SUPPRESSED)
                continue
            results.append(None)
            events += envelope.events
            unknown += envelope.unknown_fields
            request_id = request_ids[index] if request_ids is not None else envelope.request_id
            key = request_key(input.name, request_id) if request_id else None
            new.append(NewBatch(input.name, envelope.user, envelope.records, body, kept, key))
        if unknown:
            self._telemetry.count("unknown_fields", unknown, input=input.name)
        fresh = await self._append(new) if new else ()
        counts = self._counts_of(input.name)
        counts.events.value += events
        if len(new) == len(results) and False not in fresh:
            counts.batches.value += len(new)
            return [_ACCEPTED] * len(new)
        flags = iter(fresh)
        merged = [_DUPLICATE if result is None and not next(flags) else result or _ACCEPTED for result in results]
        counts.duplicates.value += sum(1 for result in merged if result.duplicate)
        forgotten = sum(1 for result in merged if result is _SUPPRESSED)
        if forgotten:
            self._telemetry.count("suppressed_batches", forgotten, input=input.name)
        counts.invalid.value += len(results) - len(new) - forgotten
        counts.batches.value += sum(1 for result in merged if result is _ACCEPTED)
        return merged

    def _counts_of(self, name: str) -> _Counts:
        counts = self._counts.get(name)
        if counts is None:
            cell = self._telemetry.cell
            counts = self._counts[name] = _Counts(
                batches=cell("accepted_batches", input=name),
                events=cell("accepted_events", input=name),
                duplicates=cell("duplicate_batches", input=name),
                invalid=cell("invalid_batches", input=name),
            )
        return counts

    async def _append(self, new: Sequence[NewBatch]) -> Sequence[bool]:
        if self._waiting >= MOST_WAITING:
            raise LogFull("the disk cannot keep up with what comes in")
        self._waiting += 1
        try:
            return await self._log.append(new)
        finally:
            self._waiting -= 1


class _Counts(NamedTuple):
    """The counters of one input."""

    batches: Cell
    events: Cell
    duplicates: Cell
    invalid: Cell


_ACCEPTED: Final = Accepted()
_DUPLICATE: Final = Accepted(duplicate=True)
_SUPPRESSED: Final = Accepted(suppressed=True)


def request_key(input_name: str, request_id: str) -> bytes:
    """Sixteen bytes that stand for one request id at one input."""
    return blake2b(f"{input_name}\0{request_id}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def envelope_of(body: bytes) -> Envelope:
    """Check the shape of one batch. Raises `InvalidBatch` with the place.

    Refused is only what nobody could make sense of: no strict JSON, no object, a field of the wrong kind, an event
    without its type, a custom event without its name. Real clients break the published schema in many small ways.
    """
    batch = strict_json(body)
    if type(batch) is not dict:
        raise InvalidBatch("A batch must be a JSON object.", "$")
    unknown = _unknown(batch, _FIELDS) + _check_user_and_device(batch)
    events = batch.get("events")
    if events is None:
        events = ()
    elif type(events) is not list:
        raise InvalidBatch('Batch field "events" must be a list.', "$.events")
    for index, event in enumerate(events):
        unknown += _check_event(index, event)
    profile = bool(batch.get("user_attributes") or batch.get("user_identities") or batch.get("deleted_user_attributes"))
    request_id = batch.get("source_request_id")
    return Envelope(
        user=user_of(batch),
        records=len(events) + profile,
        events=len(events),
        request_id=None if request_id is None or request_id == "" else str(request_id),
        unknown_fields=unknown,
    )


def _check_user_and_device(batch: Mapping[str, Any]) -> int:
    """Check the batch's own fields; returns the number of fields of device and application that nobody knows."""
    unknown = 0
    for name in _OBJECTS:
        value = batch.get(name)
        if value is None:
            continue
        if type(value) is not dict:
            raise InvalidBatch(f'Batch field "{name}" must be an object.', f"$.{name}")
        if name in _NESTED_FIELDS:
            unknown += _unknown(value, _NESTED_FIELDS[name])
    deleted = batch.get("deleted_user_attributes")
    if deleted is not None and not (type(deleted) is list and all(type(name) is str for name in deleted)):
        raise InvalidBatch(
            'Batch field "deleted_user_attributes" must be a list of strings.', "$.deleted_user_attributes"
        )
    if integrations := batch.get("integration_attributes"):
        for module, attributes in integrations.items():
            if type(attributes) is not dict:
                raise InvalidBatch(
                    'Batch field "integration_attributes" must hold an object for each module id.',
                    f"$.integration_attributes[{module!r}]",
                )
    for name in ("mpid", "mp_deviceid", "source_request_id"):
        if type(batch.get(name)) in (dict, list):
            raise InvalidBatch(f'Batch field "{name}" must be a string or a number.', f"$.{name}")
    return unknown


def _check_event(index: int, event: Any) -> int:
    """Check one event; returns the number of fields in its data that nobody knows."""
    if type(event) is not dict:
        raise InvalidBatch("An event must be an object.", f"$.events[{index}]")
    kind = event.get("event_type")
    if not kind or type(kind) is not str:
        raise InvalidBatch('Required event field "event_type" is missing or empty.', f"$.events[{index}].event_type")
    data = event.get("data")
    if data is None:
        data = {}
    elif type(data) is not dict:
        raise InvalidBatch('Event field "data" must be an object.', f"$.events[{index}].data")
    if kind == EventType.CUSTOM_EVENT:
        name = data.get("event_name")
        if name is None or name == "" or type(name) is not str:
            raise InvalidBatch(
                'Required event field "event_name" is missing or empty.', f"$.events[{index}].data.event_name"
            )
    attributes = data.get("custom_attributes")
    if attributes is not None and type(attributes) is not dict:
        raise InvalidBatch(
            'Event field "custom_attributes" must be an object.', f"$.events[{index}].data.custom_attributes"
        )
    known = _DATA_FIELDS.get(kind)
    return _unknown(data, known) if known is not None else 0


def _unknown(fields: Mapping[str, Any], known: frozenset[str]) -> int:
    return 0 if known.issuperset(fields) else len(fields.keys() - known)


def user_of(batch: Mapping[str, Any]) -> int:
    """Stable hash of what names the batch's user; a random one where nothing does, as then no order matters.

    The device stamp comes first, because it stays the same when an anonymous user logs in; then the user identities,
    customer id first; then the mpid, which some clients round; then device ids.
    """
    stamp = batch.get("mp_deviceid")
    if stamp:
        return user_hash(f"mp_deviceid:{stamp}")
    identities = batch.get("user_identities")
    if identities:
        for spelling, name in _IDENTITY_SPELLINGS:
            value = identities.get(spelling)
            if value and type(value) in (str, int):
                return user_hash(f"{name}:{value}")
    mpid = batch.get("mpid")
    if mpid:
        return user_hash(f"mpid:{mpid}")
    device = batch.get("device_info")
    if device:
        for identity in DeviceIdentity:
            value = device.get(identity.value)
            if value and type(value) is str:
                return user_hash(f"{identity.value}:{value}")
    return getrandbits(63)
