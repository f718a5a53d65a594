"""One connection at run time: its spans, its counters, its status."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from router_core import connection as module
from router_core.errors import CallRefused, InvalidCredentials, Throttled, Unavailable
from router_core.outcomes import Outcome
from router_core.records import Record
from router_core.testing import Bench, ScriptedDestination, event_batch, in_virtual_time, records_of, stored_batch


def parent(number: int) -> str:
    """A `traceparent` header."""
    return f"00-{number:032x}-{number:016x}-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What the connection traces."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(module, "_tracer", provider.get_tracer("test"))
    return exporter


def one_span(spans: InMemorySpanExporter) -> ReadableSpan:
    (span,) = spans.get_finished_spans()
    return span


@in_virtual_time
async def test_a_call_is_a_span_linked_to_the_requests_that_brought_its_records(spans: InMemorySpanExporter) -> None:
    records: list[Record] = []
    for seq, number in enumerate((1, 2, 1, 0), 1):
        headers = {"traceparent": parent(number)} if number else {}
        records += records_of(event_batch(), seq=seq, headers=headers)
    await Bench(ScriptedDestination()).connection.call(records)
    span = one_span(spans)
    assert span.name == "router.deliver"
    assert dict(span.attributes or {}) == {"router.connection": "connection", "router.records": 4}
    assert [link.context.trace_id for link in span.links] == [1, 2]


@in_virtual_time
async def test_a_call_is_linked_to_no_more_than_sixteen_requests(spans: InMemorySpanExporter) -> None:
    records = [
        record
        for number in range(1, 40)
        for record in records_of(event_batch(), seq=number, headers={"traceparent": parent(number)})
    ]
    await Bench(ScriptedDestination()).connection.call(records)
    assert len(one_span(spans).links) == 16


@pytest.mark.parametrize("header", ["", "nonsense", "00-0-0-00", "ff-" + "f" * 32 + "-" + "f" * 16 + "-01"])
def test_an_unreadable_trace_parent_is_passed_over(spans: InMemorySpanExporter, header: str) -> None:
    @in_virtual_time
    async def scenario() -> None:
        await Bench(ScriptedDestination()).connection.call(records_of(event_batch(), headers={"traceparent": header}))

    scenario()
    assert one_span(spans).links == ()


@in_virtual_time
async def test_a_destination_runs_inside_the_span_so_that_its_requests_belong_to_it(
    spans: InMemorySpanExporter,
) -> None:
    carried: dict[str, str] = {}

    def look(records: Sequence[Record]) -> Sequence[Outcome]:
        propagate.inject(carried)
        return [Outcome.delivered(record.id) for record in records]

    await Bench(ScriptedDestination(look)).connection.call(records_of(event_batch()))
    context = one_span(spans).get_span_context()
    assert context is not None
    assert f"{context.span_id:016x}" in carried["traceparent"]
    assert not trace.get_current_span().get_span_context().is_valid


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (None, "answered"),
        (Throttled(), "throttled"),
        (Unavailable(), "unavailable"),
        (TimeoutError("slow"), "unavailable"),
        (InvalidCredentials(), "invalid_credentials"),
        (CallRefused("bad", "bad"), "failed"),
        (KeyError("x"), "failed"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_each_call_is_counted_by_how_it_ended(answer: Exception | None, result: str) -> None:
    @in_virtual_time
    async def scenario() -> None:
        bench = Bench(ScriptedDestination(answer))
        await asyncio.gather(bench.connection.call(records_of(event_batch())), return_exceptions=True)
        assert bench.telemetry.value("calls", connection="connection", result=result) == 1
        (seconds,) = [sample for sample in bench.telemetry.samples() if sample.name == "call_seconds"]
        assert seconds.labels == {"connection": "connection"}

    scenario()


@in_virtual_time
async def test_the_lag_is_counted_from_the_acceptance_of_the_oldest_batch() -> None:
    bench = Bench(ScriptedDestination())
    await asyncio.sleep(40.0)
    old, new = stored_batch(), stored_batch(seq=2, received_at_ms=1_700_000_039_000)
    bench.connection.settled([Outcome.delivered("1.0")], [new, old], 0)
    (lag,) = [sample for sample in bench.telemetry.samples() if sample.name == "delivery_lag_seconds"]
    assert not isinstance(lag.value, float)
    assert lag.value.sum == pytest.approx(40.0)


@in_virtual_time
async def test_a_settlement_without_any_end_is_not_reported() -> None:
    bench = Bench(ScriptedDestination())
    bench.connection.settled([], [], 0)
    assert bench.reports == []


@in_virtual_time
async def test_dead_letters_are_logged_by_code_and_without_a_message() -> None:
    bench = Bench(ScriptedDestination())
    bench.connection.settled(
        [Outcome.rejected("1.0", "bad", "payload"), Outcome.rejected("1.1", "bad"), Outcome.expired("1.2", "late")],
        [stored_batch()], 0,
    )  # fmt: skip
    (line,) = bench.lines
    assert (line["event"], line["rejected"], line["expired"]) == ("dead_letters", {"bad": 2}, {"late": 1})
    assert "payload" not in str(bench.lines)


@in_virtual_time
async def test_the_status_has_the_state_the_last_error_and_what_was_delivered() -> None:
    bench = Bench(ScriptedDestination())
    status = bench.connection.status()
    assert (status.state, status.last_error, status.last_error_at, status.delivered) == ("ok", "", None, 0)
    bench.connection.settled([Outcome.delivered("1.0"), Outcome.delivered("1.1")], [stored_batch()], 0)
    bench.connection.call_failed("down", None)
    status = bench.connection.status()
    assert (status.last_error, status.last_error_at, status.delivered) == ("down", bench.clock.now(), 2)
