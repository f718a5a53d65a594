"""The order of the steps between the log and a destination, and what of a batch nobody can reach behind them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from router_core.components import DestinationType, Transform, Transformed
from router_core.dataplan import read_data_plan
from router_core.events import Platform
from router_core.filters import Filtering, Filters
from router_core.pipeline import Pipeline
from router_core.plangate import PlanGate, PlanNote, gate_of
from router_core.records import Record
from router_core.rules import Forwarding, ForwardingRules
from router_core.selection import Selection
from router_core.settings import InputDataPlanSettings
from router_core.testing import custom_event, event_batch, stored_batch

from .people import ask, suppression_of

PLAN = "events: {custom_event: {Search: {properties: {term: {type: string}}}}}\n"


def gate(folder: Path, **policies: Any) -> PlanGate:
    path = folder / "plan.yaml"
    path.write_text(PLAN)
    return gate_of(read_data_plan(path), InputDataPlanSettings(path=path, **policies))


def pipeline(*transforms: Transform, stages: Sequence[Any] = (), **more: Any) -> Pipeline:
    kind = DestinationType(name="p", title="P", summary="", create=lambda _: pytest.fail("never created"))
    selection = Selection(kind, None, Platform.WEB, stages=stages)
    return Pipeline(Platform.WEB, "javascript", [("t", one) for one in transforms], selection, **more)


def judged(place: str, plan: PlanGate) -> Pipeline:
    return pipeline(input_plan=plan) if place == "input" else pipeline(plan=plan)


class Looks(Transform):
    """Keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[Record] = []

    async def apply(self, records: Sequence[Record]) -> Transformed:
        self.seen += records
        return Transformed(records=records)


async def test_the_inputs_plan_judges_all_and_then_erased_users_end_as_suppressed(tmp_path: Path) -> None:
    ask(tmp_path, ("customer_id", "ann"))
    notes: list[PlanNote] = []
    looks = Looks()
    line = pipeline(
        looks,
        suppression=suppression_of(tmp_path),
        input_plan=gate(tmp_path, unknown_events="park", unknown_attributes="strip"),
        noted=notes.extend,
    )
    events = (custom_event("Unknown"), custom_event("Search", custom_attributes={"x": 1}))
    batches = [stored_batch(event_batch(*events, customer_id=name), seq=seq) for seq, name in ((1, "ann"), (2, "bob"))]
    records, outcomes = await line.prepare(batches)
    assert {one.record_id: one.code for one in outcomes} == {
        "1.p": "suppressed", "1.0": "suppressed", "1.1": "suppressed", "2.0": "plan_unknown_event",
    }  # fmt: skip
    assert [one.id for one in looks.seen] == [one.id for one in records] == ["2.p", "2.1"]
    assert looks.seen[1].event is not None
    assert not looks.seen[1].event.custom_attributes
    assert [one.record_id for one in notes] == ["1.0", "1.1", "2.0", "2.1"]
    await line.prepare(batches, again=True)
    assert len(notes) == 4


async def test_rules_see_what_filters_take_out_and_the_connections_plan_does_not(tmp_path: Path) -> None:
    rules = ForwardingRules.model_validate({"event_attribute": {"name": "test", "value": "1", "on_match": "exclude"}})
    filters = Filters.model_validate({"event_attributes": {"block": {"*": ["test", "secret"]}}})
    stages = [Forwarding(rules, "rules"), Filtering(filters, "filters")]
    line = pipeline(stages=stages, plan=gate(tmp_path, unknown_attributes="park"))
    events = [custom_event("Search", custom_attributes={name: 1}) for name in ("test", "secret", "other")]
    records, outcomes = await line.prepare([stored_batch(event_batch(*events))])
    assert [one.id for one in records] == ["1.1"]
    assert [(one.record_id, one.code) for one in outcomes] == [
        ("1.0", "event_attribute_rule"),
        ("1.2", "plan_unknown_attribute"),
    ]


@pytest.mark.parametrize("place", ["input", "connection"])
@pytest.mark.parametrize(
    ("policies", "broken", "left"),
    [
        ({"unknown_attributes": "strip"}, custom_event("Search", custom_attributes={"x": "SECRET"}), ["1.0", "1.1"]),
        ({"wrong_values": "park"}, custom_event("Search", custom_attributes={"term": ["SECRET"]}), ["1.1"]),
        ({"unknown_events": "strip"}, custom_event("Unknown", custom_attributes={"x": "SECRET"}), ["1.1"]),
    ],
)
async def test_what_a_plan_took_out_is_in_no_record_of_its_batch(
    tmp_path: Path, place: str, policies: dict[str, str], broken: Any, left: list[str]
) -> None:
    good = event_batch(custom_event("Search"))
    batches = [stored_batch(event_batch(broken, custom_event("Search"))), stored_batch(good, seq=2)]
    records, _ = await judged(place, gate(tmp_path, **policies)).prepare(batches)
    assert [one.id for one in records] == [*left, "2.0"]
    assert "SECRET" not in repr(records)
    assert all(one.context.body == b"" and one.batch.events is None for one in records[:-1])
    assert records[-1].context.body == good
    untouched, _ = await judged(place, gate(tmp_path)).prepare(batches)
    assert "SECRET" in repr(untouched)


async def test_user_attributes_that_a_plan_took_out_are_in_no_event_of_the_batch(tmp_path: Path) -> None:
    path = tmp_path / "user.yaml"
    path.write_text("user_attributes: {properties: {plan: {type: string}}}")
    strict = gate_of(read_data_plan(path), InputDataPlanSettings(path=path, unknown_attributes="strip"))
    body = event_batch(custom_event("Any"), user_attributes={"plan": "gold", "hat": "SECRET"})
    records, _ = await pipeline(plan=strict).prepare([stored_batch(body)])
    assert [one.batch.user_attributes for one in records] == [{"plan": "gold"}] * 2
    assert "SECRET" not in repr(records)


class Forbids(Transform):
    """Learns that the user wants no tracking."""

    async def apply(self, records: Sequence[Record]) -> Transformed:
        return Transformed(records=[self._forbidden(one) for one in records])

    def _forbidden(self, record: Record) -> Record:
        assert record.batch.device_info is not None
        device = replace(record.batch.device_info, limit_ad_tracking=True)
        return replace(record, batch=replace(record.batch, device_info=device))


async def test_ids_that_a_transform_forbids_are_gone_with_the_received_bytes() -> None:
    device = {"android_advertising_id": "38400000-8cf0-11bd-b23e-10b96e40000d", "brand": "Acme"}
    batch = stored_batch(event_batch(device_info=device, customer_id="c"))
    for line, is_there in ((pipeline(), True), (pipeline(Looks()), True), (pipeline(Forbids()), False)):
        records, _ = await line.prepare([batch])
        assert len(records) == 2
        assert ("38400000" in repr(records)) is is_there
        assert all(bool(one.context.body) is is_there for one in records)


async def test_a_user_whom_a_transform_finds_out_is_suppressed_before_rules(tmp_path: Path) -> None:
    class Knows(Transform):
        async def apply(self, records: Sequence[Record]) -> Transformed:
            known = replace(records[0].batch, user_identities={"customer_id": "ann"})
            return Transformed(records=[replace(one, batch=known) for one in records])

    ask(tmp_path, ("customer_id", "ann"))
    rules = Forwarding(ForwardingRules.model_validate({"environments": ["development"]}), "rules")
    line = pipeline(Knows(), stages=[rules], suppression=suppression_of(tmp_path))
    _, outcomes = await line.prepare([stored_batch(event_batch())])
    assert [one.code for one in outcomes] == ["suppressed"]
