"""CPU of each stage alone, in one process, beside a reference loop: `json.loads` of the same batches.

The machine's speed varies; the ratio to a reference measured in the same moments does not. CPU counts all threads, so
the log's figures hold what its commits cost in their thread.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple, cast

import msgspec
import orjson
import uvloop
from router_clevertap.client import outcomes_from_answer, request_for
from router_clevertap.destination import CLEVERTAP
from router_clevertap.mapping import RecordMapper
from router_clevertap.plan import Call, plan_of
from router_clevertap.settings import ClevertapConfiguration, ClevertapConnection

from router_core.clock import SystemClock
from router_core.components import HttpAnswer, SourceContext, SourceInput
from router_core.events import Platform, batch_from_json
from router_core.filters import Filtering, Filters
from router_core.http import Request
from router_core.intake import CoreIntake, envelope_of, request_key
from router_core.log.embedded import EmbeddedLog
from router_core.log.port import PARTITIONS, EventLog, Lease, NewBatch, Settlement, StoredBatch
from router_core.logs import logger
from router_core.names import AttributeChoice, Choice
from router_core.pipeline import Pipeline
from router_core.records import BatchContext, Record, records_from_batch
from router_core.rules import Forwarding, ForwardingRules
from router_core.selection import Selection
from router_core.sources.events_api import EventsApi
from router_core.strictjson import strict_json
from router_core.telemetry import Telemetry
from router_core.transport import HttpxTransport

from .bodies import Shape, bodies
from .gates import data_plan, python_transform
from .partner import CleverTap
from .product import KEY, SECRET

_BATCHES: Final = 512
_GROUP: Final = 64
_UPLOAD: Final = 1000


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """What one stage costs, in µs of CPU; medians of all rounds."""

    stage: str
    per_batch: float
    per_event: float
    ratio: float
    """To `json.loads` of the same batches."""


class Stage(NamedTuple):
    """One stage, and how many batches one run of it takes in."""

    name: str
    batches: int
    run: Callable[[], Awaitable[object]]


def measure(shape: Shape, rounds: int, folder: Path) -> list[Figure]:
    """All stages, for batches of one shape."""
    return uvloop.run(_measure(shape, rounds, folder))


async def _measure(shape: Shape, rounds: int, folder: Path) -> list[Figure]:
    with TemporaryDirectory(prefix="router-bench-", dir=folder) as name, CleverTap(Path(name)) as partner:
        async with _stages(shape, Path(name), partner) as (wires, stages):
            spent: dict[str, list[float]] = {stage.name: [] for stage in stages}
            ratios: dict[str, list[float]] = {stage.name: [] for stage in stages}
            gc.collect()
            gc.freeze()
            for turn in range(rounds + 1):
                for stage in stages:
                    reference = await _cpu(_reference(wires)) / len(wires)
                    cost = await _cpu(stage.run) / stage.batches
                    if turn:  # the first is to warm up
                        spent[stage.name].append(cost * 1e6)
                        ratios[stage.name].append(cost / reference)
            gc.unfreeze()
    return [
        Figure(
            stage=name,
            per_batch=round(statistics.median(costs), 2),
            per_event=round(statistics.median(costs) / shape.events, 2),
            ratio=round(statistics.median(ratios[name]), 3),
        )
        for name, costs in spent.items()
    ]


async def _cpu(run: Callable[[], Awaitable[object]]) -> float:
    started = time.process_time()
    await run()
    return time.process_time() - started


def _reference(wires: Sequence[bytes]) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        for wire in wires:
            json.loads(wire)

    return run


def _each(work: Callable[[Any], object], items: Sequence[Any]) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        for item in items:
            work(item)

    return run


@asynccontextmanager
async def _stages(shape: Shape, folder: Path, partner: CleverTap) -> Any:
    wires = bodies(shape, _BATCHES)
    log = EmbeddedLog(folder / "data")
    connections = {"reading": "bench", "settling": "bench"}
    await log.open(["bench"], connections)
    transport = HttpxTransport()
    try:
        deliver = await _delivering(shape, wires, partner, transport, folder)
        yield wires, [*_accepting(wires, log), *_reading(wires, log), *deliver]
    finally:
        await transport.close()
        await log.close()


# --- ingest -----------------------------------------------------------------------------------------------------------


class _Sink:
    """A log that keeps nothing, at once: what is left is everything of ingest but HTTP and the disk."""

    async def append(self, batches: Sequence[NewBatch]) -> Sequence[bool]:
        """See `EventLog.append`."""
        return [True] * len(batches)


def _accepting(wires: Sequence[bytes], log: EventLog) -> list[Stage]:
    envelopes = [envelope_of(wire) for wire in wires]
    turn = iter(range(10**9))

    async def append() -> None:
        number = next(turn)
        for start in range(0, len(wires), _GROUP):
            group = [
                NewBatch("bench", e.user, e.records, wire, b"", request_key("bench", f"{number}:{e.request_id}"))
                for wire, e in zip(wires[start : start + _GROUP], envelopes[start : start + _GROUP], strict=True)
            ]
            await asyncio.gather(*(log.append([batch]) for batch in group))

    intake = CoreIntake(cast(EventLog, _Sink()), Telemetry())
    source = SourceInput(name="bench", platform=Platform.DATA_FEEDS, key=KEY, secret=SECRET, settings=None)

    async def accept() -> None:
        for wire in wires:
            await intake.accept(source, [wire])

    return [
        Stage("ingest: strict_json", len(wires), _each(strict_json, wires)),
        Stage("ingest: envelope_of, strict_json within", len(wires), _each(envelope_of, wires)),
        Stage("ingest: intake.accept, no log", len(wires), accept),
        Stage("ingest: events_api, no HTTP server, no log", len(wires), _request(wires, intake, source)),
        Stage(f"ingest: log append, groups of {_GROUP}", len(wires), append),
    ]


def _request(wires: Sequence[bytes], intake: CoreIntake, source: SourceInput) -> Callable[[], Awaitable[None]]:
    nothing: Any = None  # the source has no instruments and no store
    context = SourceContext(
        name="events_api",
        settings=None,
        clock=SystemClock(),
        log=logger(part="ingest"),
        meter=nothing,
        telemetry=Telemetry(),
        store=nothing,
        inputs={"bench": source},
    )
    [single, _] = EventsApi(context).routes(intake)
    headers = {b"host": b"127.0.0.1", b"content-type": b"application/json"}
    headers[b"authorization"] = b"Basic " + b64encode(f"{KEY}:{SECRET}".encode())

    async def run() -> None:
        for wire in wires:
            await single.handle(Request("POST", single.path, "", headers, wire))

    return run


# --- deliver ----------------------------------------------------------------------------------------------------------


def _reading(wires: Sequence[bytes], log: EmbeddedLog) -> list[Stage]:
    every = range(PARTITIONS)

    reading = [log.lease("reading", every), log.lease("settling", every)]

    def read(lease: Lease) -> Callable[[], Awaitable[None]]:
        async def run() -> None:  # what `append` has just added
            found = 0
            while found < len(wires):
                found += len(await lease.read(_UPLOAD, 1.0))

        return run

    leases = {"settling": log.lease("settling", every)}

    async def settle() -> None:
        await leases["settling"].settle(Settlement())

    uploads = max(_UPLOAD // 4, 1)  # batches whose records fill one upload, about
    return [
        Stage("deliver: log read, first lease", len(wires), read(reading[0])),
        Stage("deliver: log read, each other lease", len(wires), read(reading[1])),
        Stage("deliver: settle, once for each upload", uploads, settle),
    ]


async def _delivering(
    shape: Shape, wires: Sequence[bytes], partner: CleverTap, transport: HttpxTransport, folder: Path
) -> list[Stage]:
    stored = [
        StoredBatch(seq, "bench", seq, shape.events + 1, seq, 1_700_000_000_000, b"", wire)
        for seq, wire in enumerate(wires, 1)
    ]
    pipeline = Pipeline(
        Platform.DATA_FEEDS,
        "server_to_server",
        [],
        Selection(CLEVERTAP, ClevertapConnection(), Platform.DATA_FEEDS),
    )
    context = BatchContext(seq=1, input="bench", platform=Platform.DATA_FEEDS, received_at_ms=1_700_000_000_000)
    records, _ = await pipeline.prepare(stored)
    groups = [records[start : start + _UPLOAD] for start in range(0, len(records), _UPLOAD)]
    mapper = RecordMapper(ClevertapConnection())
    calls = [call for group in groups for call in plan_of(group, mapper, _UPLOAD).calls]
    settings = ClevertapConfiguration.model_validate(partner.output["settings"])
    answers = [_answer(call) for call in calls]

    def decode(batch: StoredBatch) -> object:
        return records_from_batch(batch_from_json(batch.body), context)

    def mapping(group: Sequence[Record]) -> object:
        return plan_of(group, mapper, _UPLOAD)

    def encode(call: Call) -> object:
        return request_for(settings, call.items)

    def outcomes(pair: tuple[Call, HttpAnswer]) -> object:
        return outcomes_from_answer(pair[1], pair[0].record_ids, pair[0].items, 0.0)

    ruled = Pipeline(
        Platform.DATA_FEEDS,
        "server_to_server",
        [],
        Selection(
            CLEVERTAP,
            ClevertapConnection(),
            Platform.DATA_FEEDS,
            stages=[Forwarding(RULES, "rules")],
        ),
    )
    filtered = Pipeline(
        Platform.DATA_FEEDS,
        "server_to_server",
        [],
        Selection(
            CLEVERTAP,
            ClevertapConnection(),
            Platform.DATA_FEEDS,
            stages=[Filtering(filters_of(stored), "filters")],
        ),
    )

    async def prepare() -> None:
        await pipeline.prepare(stored)

    async def prepare_ruled() -> None:
        await ruled.prepare(stored)

    async def prepare_filtered() -> None:
        await filtered.prepare(stored)

    plan, function = data_plan(folder), python_transform(folder)

    def check(group: Sequence[Record]) -> object:
        kept, _, notes = plan(group)
        assert kept
        assert not notes
        return kept

    async def transform() -> None:
        for group in groups:
            assert len((await function.apply(group)).records) == len(group)

    async def upload() -> None:
        for call in calls:
            request = request_for(settings, call.items)
            await transport.request(request.method, request.url, headers=request.headers, content=request.content)

    pairs = list(zip(calls, answers, strict=True))
    return [
        Stage("deliver: decode to records", len(wires), _each(decode, stored)),
        Stage("deliver: pipeline.prepare, decode within", len(wires), prepare),
        Stage("deliver: the same with 4 rules", len(wires), prepare_ruled),
        Stage("deliver: the same with 50 filters", len(wires), prepare_filtered),
        Stage("deliver: data plan, all events planned", len(wires), _each(check, groups)),
        Stage("deliver: python transform, one attribute set", len(wires), transform),
        Stage("deliver: CleverTap mapping", len(wires), _each(mapping, groups)),
        Stage("deliver: encode uploads", len(wires), _each(encode, calls)),
        Stage("deliver: encode and send by httpx", len(wires), upload),
        Stage("deliver: outcomes of an answer", len(wires), _each(outcomes, pairs)),
    ]


RULES: Final = ForwardingRules(
    environments=("production",),
    logged_in_users_only=True,
    user_sampling_percent=99.9,
    maximum_data_age=timedelta(days=90000),
)


def filters_of(stored: Sequence[StoredBatch]) -> Filters:
    """50 filters: each event of the batches is looked at in full, and loses one of its attributes."""
    lost: dict[str, str] = {}
    for batch in stored:
        for event in json.loads(batch.body)["events"]:
            data = event["data"]
            if attributes := data.get("custom_attributes"):
                lost[data.get("event_name") or data.get("screen_name") or ""] = min(attributes)
    block: dict[str, tuple[str, ...]] = {event: (name,) for event, name in list(lost.items())[:10]}
    rest = (50 - len(block)) // 4
    return Filters(
        event_names=Choice[str](block=tuple(f"Event {n}" for n in range(rest))),
        screen_names=Choice[str](block=tuple(f"Screen {n}" for n in range(rest))),
        event_attributes=AttributeChoice(block=block),
        user_attributes=Choice[str](block=tuple(f"attribute {n}" for n in range(rest))),
        commerce_attributes=Choice[str](block=tuple(f"detail {n}" for n in range(50 - len(block) - 3 * rest))),
    )


def _answer(call: Call) -> HttpAnswer:
    body = {"status": "success", "processed": len(call.items), "unprocessed": []}
    return HttpAnswer(200, {"content-type": "application/json"}, orjson.dumps(body))
