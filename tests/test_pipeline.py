"""From stored batches to the records that a destination gets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_core.components import Accepts, DestinationType, Transform, Transformed
from router_core.edits import with_event
from router_core.errors import InvalidBatch, Unavailable
from router_core.events import CustomEvent, EventType, Platform
from router_core.filters import Filtering, Filters
from router_core.intake import envelope_of
from router_core.log.port import StoredBatch
from router_core.outcomes import Outcome
from router_core.pipeline import Pipeline
from router_core.records import Record
from router_core.rules import Forwarding, ForwardingRules
from router_core.selection import Selection
from router_core.testing import custom_event, event_batch, run_in_virtual_time, stored_batch

Apply = Callable[[Sequence[Record]], Transformed]


class By(Transform):
    """Applies a function."""

    def __init__(self, apply: Apply) -> None:
        self._apply = apply

    async def apply(self, records: Sequence[Record]) -> Transformed:
        return self._apply(records)


def pipeline(*transforms: Apply, accepts: Accepts | None = None) -> Pipeline:
    kind = DestinationType(
        name="partner",
        title="Partner",
        summary="",
        create=lambda _: pytest.fail("never created"),
        accepts=accepts or Accepts(),
    )
    named = [(f"t{number}", By(apply)) for number, apply in enumerate(transforms)]
    return Pipeline(Platform.WEB, "javascript", named, Selection(kind, None, Platform.WEB))


def same(records: Sequence[Record]) -> Transformed:
    return Transformed(records=records)


def renamed(records: Sequence[Record]) -> Transformed:
    return Transformed(records=[_renamed(record) for record in records])


def _renamed(record: Record) -> Record:
    assert isinstance(record.event, CustomEvent)
    event = msgspec.structs.replace(record.event, event_name=f"{record.event.event_name}!")
    return msgspec.structs.replace(record, event=event)


def names(records: Sequence[Record]) -> list[Any]:
    return [getattr(record.event, "event_name", None) for record in records]


async def test_records_come_in_the_order_of_the_log_with_what_core_knows_of_their_batch() -> None:
    headers = {"traceparent": "00-1-2-01", "x-mp-kits": "1,135"}
    batches = [
        stored_batch(event_batch(user_attributes={"a": 1}), seq=7, user="ann", headers=headers),
        stored_batch(event_batch(custom_event("x"), custom_event("y")), seq=9, user="bob"),
    ]
    records, outcomes = await pipeline().prepare(batches)
    assert outcomes == []
    assert [record.id for record in records] == ["7.p", "7.0", "9.0", "9.1"]
    context = records[0].context
    assert (context.seq, context.input, context.platform, context.channel) == (7, "shop", Platform.WEB, "javascript")
    assert (context.received_at_ms, context.user) == (batches[0].received_at_ms, batches[0].user)
    assert (context.headers, context.body) == (headers, batches[0].body)
    assert records[1].context is context
    assert records[2].context.headers == {}


async def test_a_batch_of_an_erased_user_is_skipped() -> None:
    records, outcomes = await pipeline().prepare([stored_batch(b"", seq=3)])
    assert records == []
    assert [(o.record_id, o.disposition, o.code) for o in outcomes] == [("3.b", "skipped", "erased")]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"events": 1}', b'{"mpid": {}}', b'{"events": [{"event_type": 5}]}'])
async def test_a_batch_that_cannot_be_decoded_is_rejected_as_a_whole_and_the_others_go_on(body: bytes) -> None:
    records, outcomes = await pipeline().prepare([stored_batch(body, seq=3), stored_batch(seq=4)])
    assert [record.id for record in records] == ["4.0"]
    assert [(o.record_id, o.disposition, o.code) for o in outcomes] == [("3.b", "rejected", "malformed_batch")]
    assert outcomes[0].message


async def test_transforms_are_applied_in_their_order_to_the_records_of_the_whole_group() -> None:
    seen: list[int] = []

    def looks(records: Sequence[Record]) -> Transformed:
        seen.append(len(records))
        assert all(name.endswith("!") for name in names(records))
        return same(records)

    batches = [stored_batch(event_batch(custom_event("a")), seq=1), stored_batch(event_batch(custom_event("b")), seq=2)]
    records, _ = await pipeline(renamed, looks).prepare(batches)
    assert names(records) == ["a!", "b!"]
    assert seen == [2]


async def test_without_records_no_transform_is_called() -> None:
    assert await pipeline(lambda records: pytest.fail("called")).prepare([stored_batch(b"{}")]) == ([], [])


async def test_a_transform_can_skip_and_reject() -> None:
    def choosy(records: Sequence[Record]) -> Transformed:
        first, second, *rest = records
        return Transformed(
            records=rest, outcomes=[Outcome.rejected(second.id, "bad"), Outcome.skipped(first.id, "test_user")]
        )

    body = event_batch(custom_event("a"), custom_event("b"), custom_event("c"))
    records, outcomes = await pipeline(choosy, renamed).prepare([stored_batch(body)])
    assert names(records) == ["c!"]
    assert sorted((o.record_id, o.code) for o in outcomes) == [("1.0", "test_user"), ("1.1", "bad")]


def fails_on(name: str) -> Apply:
    def apply(records: Sequence[Record]) -> Transformed:
        if name in names(records):
            raise KeyError("plan")
        return same(records)

    return apply


def loses(name: str) -> Apply:
    return lambda records: Transformed(records=[r for r in records if name not in names([r])])


def doubles(name: str) -> Apply:
    return lambda records: Transformed(
        records=[copy for r in records for copy in [r] * (2 if name in names([r]) else 1)]
    )


def invents(name: str) -> Apply:
    def apply(records: Sequence[Record]) -> Transformed:
        extra = [Outcome.skipped("9.9", "made_up")] if name in names(records) else []
        return Transformed(records=records, outcomes=extra)

    return apply


def claims_delivery(name: str) -> Apply:
    return lambda records: Transformed(
        records=[r for r in records if name not in names([r])],
        outcomes=[Outcome.delivered(r.id) for r in records if name in names([r])],
    )


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (fails_on, "t0: KeyError: 'plan' (test_pipeline.py:"),
        (loses, "t0: ValueError: each record must come back once"),
        (doubles, "t0: ValueError: each record must come back once"),
        (invents, "t0: ValueError: each record must come back once"),
        (claims_delivery, "t0: ValueError: a transform cannot end a record as delivered"),
    ],
)
@pytest.mark.parametrize("position", range(5))
async def test_the_record_that_a_transform_cannot_handle_is_found_and_the_others_go_on(
    broken: Callable[[str], Apply], told: str, position: int
) -> None:
    body = event_batch(*(custom_event("bad" if n == position else "good") for n in range(5)))
    records, outcomes = await pipeline(broken("bad")).prepare([stored_batch(body)])
    assert [record.id for record in records] == [f"1.{n}" for n in range(5) if n != position]
    (outcome,) = outcomes
    assert (outcome.record_id, outcome.disposition, outcome.code) == (f"1.{position}", "rejected", "transform_error")
    assert outcome.message.startswith(told)


async def test_a_transform_that_changes_the_order_is_held_to_it() -> None:
    body = event_batch(*(custom_event(str(n)) for n in range(3)))
    records, outcomes = await pipeline(lambda r: Transformed(records=list(reversed(r)))).prepare([stored_batch(body)])
    assert names(records) == ["0", "1", "2"], "one at a time, each is in its order"
    assert outcomes == []


async def test_what_a_transform_asks_to_wait_for_passes_through() -> None:
    def waits(records: Sequence[Record]) -> Transformed:
        raise Unavailable("the store is away")

    with pytest.raises(Unavailable):
        await pipeline(waits).prepare([stored_batch()])


async def test_selection_comes_after_the_transforms() -> None:
    def to_screen_view(records: Sequence[Record]) -> Transformed:
        return Transformed(records=[msgspec.structs.replace(r, event_type="screen_view") for r in records])

    accepts = Accepts(event_types={EventType.SCREEN_VIEW}, profile_updates=False)
    batch = stored_batch(event_batch(user_attributes={"a": 1}))
    records, outcomes = await pipeline(accepts=accepts).prepare([batch])
    assert records == []
    assert [o.code for o in outcomes] == ["unsupported_event_type"] * 2
    records, outcomes = await pipeline(to_screen_view, accepts=accepts).prepare([batch])
    assert [record.id for record in records] == ["1.p", "1.0"]


# --- whatever a transform gives back ---------------------------------------------------------------------------------

replace = msgspec.structs.replace
FILTERED = Filtering(Filters.model_validate({"event_attributes": {"block": {"*": ["email"]}}}), "c.filters")
YOUNG = Forwarding(
    ForwardingRules.model_validate({"maximum_data_age": "24h", "consent": {"any_of": [{"gdpr": "m"}]}}), "c.rules"
)
ODD_RESULTS: dict[str, Callable[[Record], Any]] = {
    "no record": lambda record: 5,
    "no batch": lambda record: replace(record, batch=None),
    "no context": lambda record: replace(record, context=None),
    "device_info": lambda record: replace(record, batch=replace(record.batch, device_info={"ios_idfv": "x"})),
    "user_attributes": lambda record: replace(record, batch=replace(record.batch, user_attributes={1: 2})),
    "identities": lambda record: replace(record, batch=replace(record.batch, user_identities={None: 2})),
    "consent": lambda record: replace(record, batch=replace(record.batch, consent_state={"gdpr": {1: {}}})),
    "events": lambda record: replace(record, batch=replace(record.batch, events=[{}])),
    "key": lambda record: with_event(record, custom_attributes={1: 2}),
    "attributes": lambda record: with_event(record, custom_attributes=["a"]),
    "event": lambda record: replace(record, event={"event_name": "x"}),
    "event_type": lambda record: replace(record, event_type=["x"]),
}


@pytest.mark.parametrize("change", ODD_RESULTS.values(), ids=ODD_RESULTS)
async def test_an_odd_result_ends_its_own_record_and_never_the_lane(change: Callable[[Record], Any]) -> None:
    def odd(records: Sequence[Record]) -> Transformed:
        return Transformed(records=[change(record) if record.id == "1.0" else record for record in records])

    everything = Accepts(event_types=frozenset(EventType))
    kind = DestinationType(
        name="p", title="P", summary="", create=lambda _: pytest.fail("never created"), accepts=everything
    )
    selection = Selection(kind, None, Platform.WEB, stages=[YOUNG, FILTERED])
    line = Pipeline(Platform.WEB, "javascript", [("t", By(odd))], selection)
    agreed: Any = {"consent_state": {"gdpr": {"m": {"consented": True}}}}
    body = event_batch(custom_event("x"), custom_event("y"), **agreed)
    records, outcomes = await line.prepare([stored_batch(body), stored_batch(event_batch(**agreed), seq=2)])
    assert [record.id for record in records] == ["1.1", "2.0"]
    assert [(o.record_id, o.disposition, o.code) for o in outcomes] == [("1.0", "rejected", "transform_error")]


@pytest.mark.parametrize("time", [math.inf, -math.inf, math.nan])
async def test_a_time_that_is_no_number_counts_as_none(time: float) -> None:
    def odd(records: Sequence[Record]) -> Transformed:
        return Transformed(records=[with_event(record, timestamp_unixtime_ms=time) for record in records])

    records, _ = await pipeline(odd).prepare([stored_batch()])
    assert [record.occurred_at_ms for record in records] == [record.context.received_at_ms for record in records]


async def test_a_step_that_fails_at_a_record_lets_nobody_reach_what_it_did_not_judge() -> None:
    def stage(records: Sequence[Record]) -> tuple[list[Record], list[Outcome]]:
        if any(record.id == "1.0" for record in records):
            raise KeyError("x")
        return list(records), []

    kind = DestinationType(
        name="p", title="P", summary="", create=lambda _: pytest.fail("never created"), accepts=Accepts()
    )
    line = Pipeline(Platform.WEB, "javascript", [], Selection(kind, None, Platform.WEB, stages=[stage]))
    batches = [stored_batch(event_batch(custom_event("x"), custom_event("y"))), stored_batch(seq=2)]
    records, outcomes = await line.prepare(batches)
    assert [(o.record_id, o.disposition, o.code) for o in outcomes] == [("1.0", "rejected", "plugin_error")]
    assert "KeyError: 'x'" in outcomes[0].message
    assert [(record.id, record.context.body, bool(record.batch.events)) for record in records] == [
        ("1.1", b"", False),
        ("2.0", batches[1].body, True),
    ]


# --- whatever comes in ------------------------------------------------------------------------------------------------

ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
DATA_FIELDS = st.sampled_from(
    ["event_name", "timestamp_unixtime_ms", "custom_attributes", "location", "product_action", "new", "custom_flags"]
)
EVENTS = st.fixed_dictionaries(
    {"event_type": st.sampled_from([*EventType, "made_up"]) | ODD},
    optional={"data": st.dictionaries(DATA_FIELDS, ODD, max_size=4) | ODD, "extra": ODD},
)
BATCHES = st.dictionaries(
    st.sampled_from([
        "user_attributes", "user_identities", "deleted_user_attributes", "device_info", "application_info", "mpid",
        "mp_deviceid", "integration_attributes", "consent_state", "source_request_id", "ip", "environment", "unknown",
    ]),
    ODD,
    max_size=5,
)  # fmt: skip
UPLOADS = st.builds(
    lambda batch, events: batch | ({} if events is None else {"events": events}),
    BATCHES,
    st.none() | st.lists(EVENTS, max_size=4) | ODD,
)


@given(UPLOADS | ODD)
def test_what_intake_takes_is_accounted_for_record_by_record(upload: Any) -> None:
    body = _json(upload)
    try:
        envelope = envelope_of(body)
    except InvalidBatch:
        return
    stored = StoredBatch(1, "shop", envelope.user, envelope.records, envelope.records, 1, b"", body)
    records, outcomes = run_in_virtual_time(pipeline().prepare([stored]))
    ends = [record.id for record in records] + [outcome.record_id for outcome in outcomes]
    assert len(ends) == len(set(ends))
    if ends != ["1.b"]:
        expected = [f"1.{n}" for n in range(envelope.events)] + ["1.p"] * (envelope.records - envelope.events)
        assert sorted(ends) == sorted(expected)


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer that orjson does not write
        return msgspec.json.encode(value)


@pytest.mark.parametrize("feed", [None, "Email Results"])
async def test_events_of_a_named_feed_say_so_before_any_transform(feed: str | None) -> None:
    seen: list[Record] = []

    def look(records: Sequence[Record]) -> Transformed:
        seen.extend(records)
        return same(records)

    body = event_batch(
        custom_event("a", custom_attributes={"x": 1, "mParticle Source Feed": "made up"}), {"event_type": "opt_out"},
        customer_id="c",
    )  # fmt: skip
    kind = DestinationType(name="p", title="P", summary="", create=lambda _: pytest.fail("never created"))
    selection = Selection(kind, None, Platform.DATA_FEEDS)
    line = Pipeline(Platform.DATA_FEEDS, "server_to_server", [("t", By(look))], selection, feed=feed)
    records, _ = await line.prepare([stored_batch(body)])
    assert records == seen
    attributes = [record.event.custom_attributes for record in records if record.event is not None]
    if feed is None:
        assert attributes == [{"x": 1, "mParticle Source Feed": "made up"}, None]
    else:
        assert attributes == [{"x": 1, "mParticle Source Feed": feed}, {"mParticle Source Feed": feed}]
