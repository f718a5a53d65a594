"""Takes batches through a connection's real pipeline and shows what would be sent. Nothing is sent, nothing is kept."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import orjson
from pydantic import BaseModel

from router_core.account import Account
from router_core.cli.batches import Upload
from router_core.cli.leftout import left_out, withheld_of
from router_core.components import Destination, HttpAnswer, Transform
from router_core.deliverer import create_destination, create_pipeline, create_transform
from router_core.errors import DeliveryError, InvalidBatch, Unavailable
from router_core.events import batch_from_json
from router_core.intake import KEPT_HEADERS, envelope_of
from router_core.isolation import fault_of
from router_core.log.port import StoredBatch
from router_core.plangate import PlanNote
from router_core.records import PROFILE_UPDATE, Record
from router_core.telemetry import Telemetry

if TYPE_CHECKING:
    from router_core.configuration import ConfiguredConnection, ConfiguredInput
    from router_core.store import StateFile

MASK: Final = "***"
_CREDENTIAL_HEADERS: Final = ("authorization", "proxy-authorization", "cookie")
_SHORTEST_MASKED_INSIDE: Final = 4
"""A secret shorter than this is masked where it is the whole of a value, as it would spoil every text otherwise."""


@dataclass(frozen=True, kw_only=True)
class BatchVerdict:
    """What the input would make of one batch."""

    batch: int
    """Counted from 1; also the part of the record ids before the dot."""
    records: int = 0
    refused: str | None = None
    """The text of the input's answer 400."""


@dataclass(frozen=True, kw_only=True)
class RecordVerdict:
    """What would become of one record before it is sent."""

    record: str
    event_type: str
    result: str
    """selected, or how it ends: skipped, rejected."""
    code: str = ""
    message: str = ""
    notes: list[str] = field(default_factory=list)
    """What ad-tracking rules and filters left out of it, with the setting; what breaks a data plan, with the policy."""


@dataclass(kw_only=True)
class Rehearsal:
    """One connection's part."""

    connection: str
    output: str
    destination: str
    records: list[RecordVerdict] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
    """What `Destination.preview` gave, secrets masked."""
    fault: str | None = None
    """Why it could not be found out; the fault is the plugin's."""


def accepted_batches(
    uploads: Sequence[Upload], source: ConfiguredInput
) -> tuple[Sequence[StoredBatch], Sequence[BatchVerdict]]:
    """What the input would put into its log, and its verdict on each batch."""
    stored: list[StoredBatch] = []
    verdicts: list[BatchVerdict] = []
    number = 0
    for upload in uploads:
        kept = {name: upload.headers[name] for name in KEPT_HEADERS if name in upload.headers}
        for body in upload.batches:
            number += 1
            try:
                envelope = envelope_of(body)
                if source.data_plan is not None:
                    source.data_plan.require_accepted(body)
            except InvalidBatch as error:
                verdicts.append(BatchVerdict(batch=number, refused=str(error)))
                continue
            verdicts.append(BatchVerdict(batch=number, records=envelope.records))
            stored.append(
                StoredBatch(
                    seq=number,
                    input=source.name,
                    user=envelope.user,
                    records=envelope.records,
                    total=0,
                    received_at_ms=int(time.time() * 1000),
                    headers=orjson.dumps(kept) if kept else b"",
                    body=body,
                )
            )
    return stored, verdicts


async def rehearse_all(
    connections: Sequence[ConfiguredConnection], batches: Sequence[StoredBatch]
) -> Sequence[Rehearsal]:
    """Each connection's part, without memory of earlier batches."""
    from router_core.store import StateFile

    with tempfile.TemporaryDirectory(prefix="router-rehearsal-") as folder:
        state = StateFile(Path(folder) / "state.db")
        try:
            return [await rehearse(connection, batches, state) for connection in connections]
        finally:
            state.close()


async def rehearse(connection: ConfiguredConnection, batches: Sequence[StoredBatch], state: StateFile) -> Rehearsal:
    """Transform, select and preview. `state` should be a new file: transforms that remember start from nothing."""
    output = connection.output
    found = Rehearsal(connection=connection.name, output=output.name, destination=output.type.name)
    parts: list[Transform | Destination] = []
    try:
        await _rehearse(connection, batches, state, found, parts)
    except Exception as error:
        found.fault = str(error) if isinstance(error, DeliveryError) else f"the plugin failed: {fault_of(error)}"
    finally:
        for part in parts:
            with contextlib.suppress(Exception):  # whatever it is, it changes nothing of what was found
                await part.close()
    return _masked(found, list(_secrets(connection)))


async def _rehearse(
    connection: ConfiguredConnection,
    batches: Sequence[StoredBatch],
    state: StateFile,
    found: Rehearsal,
    parts: list[Transform | Destination],
) -> None:
    telemetry, output = Telemetry(), connection.output
    transforms = []
    for item in connection.transforms:
        transform = create_transform(connection, item, state=state, telemetry=telemetry)
        parts.append(transform)
        await transform.open()
        transforms.append((item.name, transform))
    notes: dict[str, list[str]] = {}

    def noted(breaches: Sequence[PlanNote]) -> None:
        for one in breaches:
            notes.setdefault(one.record_id, []).append(f"{one.code} ({one.policy}): {one.text}")

    pipeline = create_pipeline(connection, transforms, noted=noted)
    whole, outcomes = await pipeline.transformed(batches)
    selected, skipped = pipeline.selected(whole)
    before, withheld = {one.id: one for one in whole}, withheld_of(batches, connection.input.att_status)
    for one in selected:
        taken_out = left_out(before[one.id], one, f"{connection.path}.filters")
        notes[one.id] = [*withheld.get(one.context.seq, ()), *notes.get(one.id, ()), *taken_out]
    records, ended = pipeline.planned(selected)
    outcomes += [*skipped, *ended]
    types = dict(_event_types(batches))
    verdicts = [RecordVerdict(record=one.id, event_type=one.event_type, result="selected") for one in records]
    verdicts += [
        RecordVerdict(
            record=one.record_id,
            event_type=types.get(one.record_id, ""),
            result=one.disposition.value,
            code=one.code,
            message=one.message,
        )
        for one in outcomes
    ]
    found.records = sorted((replace(one, notes=notes.get(one.record, [])) for one in verdicts), key=_place)
    if records:
        destination = create_destination(
            connection, http=_Nowhere(), account=Account(1), state=state, telemetry=telemetry
        )
        parts.append(destination)
        found.requests = list(_previews(destination, records, output.type.limits_of(output.settings).records))


def _previews(destination: Destination, records: Sequence[Record], at_once: int) -> Iterator[Any]:
    for start in range(0, len(records), at_once):
        yield from destination.preview(records[start : start + at_once])


def _event_types(batches: Sequence[StoredBatch]) -> Iterator[tuple[str, str]]:
    for stored in batches:
        try:
            events = batch_from_json(stored.body).events or ()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        yield f"{stored.seq}.p", PROFILE_UPDATE
        yield from ((f"{stored.seq}.{index}", event.event_type) for index, event in enumerate(events))


def _place(verdict: RecordVerdict) -> tuple[int, int]:
    """In the order of the file; a batch's profile update comes first."""
    batch, _, place = verdict.record.partition(".")
    return int(batch) if batch.isdecimal() else 0, int(place) if place.isdecimal() else -1


class _Nowhere:
    """A transport that sends nothing."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        timeout: float = 30.0,
    ) -> HttpAnswer:
        """Refuse."""
        raise Unavailable("this is a rehearsal: nothing is sent")


# --- secrets ----------------------------------------------------------------------------------------------------------


def _secrets(connection: ConfiguredConnection) -> Iterator[str]:
    """All secrets that a plugin of this connection has been given, the longest first to be masked whole."""
    settings = [connection.output.settings, connection.settings, *(item.settings for item in connection.transforms)]
    yield from sorted({secret for one in settings for secret in _secrets_in(one) if secret}, key=len, reverse=True)


def _secrets_in(value: Any) -> Iterator[str]:
    if hasattr(value, "get_secret_value"):
        inner = value.get_secret_value()
        if isinstance(inner, bytes):
            inner = inner.decode("utf-8", "replace")
        if isinstance(inner, (str, int, float)):
            yield str(inner)
        else:
            yield from _texts_in(inner)
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets_in(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _secrets_in(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from _secrets_in(item)


def _texts_in(value: Any) -> Iterator[str]:
    """Every text within something that is secret as a whole."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from _texts_in(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _masked(found: Rehearsal, secrets: Sequence[str]) -> Rehearsal:
    found.requests = [_mask(request, secrets) for request in found.requests]
    found.fault = None if found.fault is None else _mask_text(found.fault, secrets)
    found.records = [
        RecordVerdict(
            record=one.record, event_type=one.event_type, result=one.result, code=one.code,
            message=_mask_text(one.message, secrets), notes=[_mask_text(note, secrets) for note in one.notes],
        )
        for one in found.records
    ]  # fmt: skip
    return found


def _mask(value: Any, secrets: Sequence[str]) -> Any:
    """Plugins mask their own; this catches what one forgot."""
    if isinstance(value, Mapping):
        return {
            str(name): MASK if str(name).lower() in _CREDENTIAL_HEADERS else _mask(item, secrets)
            for name, item in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_mask(item, secrets) for item in value]
    if hasattr(value, "get_secret_value"):
        return MASK
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return _mask_text(value, secrets) if isinstance(value, str) else value


def _mask_text(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if text == secret:
            return MASK
        if len(secret) >= _SHORTEST_MASKED_INSIDE:
            text = text.replace(secret, MASK)
    return text
