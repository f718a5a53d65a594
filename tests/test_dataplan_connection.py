"""Data plans in a configuration, at a connection at work, and in `router explain`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from router_core.check import load_configuration
from router_core.cli.app import build
from router_core.deliverer import create_pipeline
from router_core.errors import ConfigurationError, Unavailable
from router_core.plangate import PlanNote
from router_core.plugins import load_plugins
from router_core.testing import Bench, ScriptedDestination, custom_event, event_batch, in_virtual_time


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()  # a command sets up logs that write to its own streams


PLAN = "events: {custom_event: {Search: {properties: {term: {type: string}}}}}\n"
CONFIG = """\
inputs:
  shop: {source: events_api, platform: web, key: k, secret: s, data_plan: {path: plan.yaml, %s}}
outputs: {screen: {destination: console}}
connections: {to_screen: {input: shop, output: screen, data_plan: {path: plan.yaml, %s}}}
"""
BATCH = event_batch(custom_event("Search", custom_attributes={"term": 3, "x": 1}), custom_event("Unknown"))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "plan.yaml").write_text(PLAN)
    return written(tmp_path, "unknown_attributes: strip", "unknown_events: park")


def written(folder: Path, at_input: str, at_connection: str) -> Path:
    path = folder / "router.yaml"
    path.write_text(CONFIG % (at_input, at_connection))
    return path


def explained(config: Path) -> dict[str, Any]:
    result = CliRunner().invoke(build(load_plugins()), ["explain", "-", "-c", str(config), "--json"], input=BATCH)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_explain_shows_what_breaks_the_plans_of_input_and_connection(config: Path) -> None:
    [connection] = explained(config)["connections"]
    assert [(one["record"], one["result"], one["code"], one["notes"]) for one in connection["records"]] == [
        (
            "1.0",
            "selected",
            "",
            [
                "plan_wrong_value (allow): 'term' the value is not of type \"string\"",
                "plan_unknown_attribute (strip): 'x' is not in the data plan",
                "plan_wrong_value (allow): 'term' the value is not of type \"string\"",
            ],
        ),
        (
            "1.1",
            "rejected",
            "plan_unknown_event",
            [
                "plan_unknown_event (allow): 'Unknown' is no custom_event of the data plan",
                "plan_unknown_event (park): 'Unknown' is no custom_event of the data plan",
            ],
        ),
    ]
    assert connection["requests"][0]["print"]["data"]["custom_attributes"] == {"term": 3}


def test_explain_shows_the_refusal_of_an_input(tmp_path: Path, config: Path) -> None:
    written(tmp_path, "unknown_events: refuse", "unknown_events: park")
    [batch] = explained(config)["batches"]
    assert batch["refused"] == "This event is not in the input's data plan. (at $.events[1].data.event_name)"


def test_explain_lists_what_was_left_out_and_what_breaks_a_plan_in_the_order_of_the_pipeline(
    tmp_path: Path, config: Path
) -> None:
    filters = "filters: {event_attributes: {block: {Search: [x]}}}"
    config.write_text(config.read_text().replace("output: screen,", f"output: screen, {filters},"))
    text = json.loads(BATCH) | {"device_info": {"roku_advertising_id": "r-1", "limit_ad_tracking": True}}
    result = CliRunner().invoke(
        build(load_plugins()), ["explain", "-", "-c", str(config), "--json"], input=json.dumps(text)
    )
    [connection] = json.loads(result.stdout)["connections"]
    assert connection["records"][0]["notes"] == [
        "roku_advertising_id is left out: limit_ad_tracking is on",
        "plan_wrong_value (allow): 'term' the value is not of type \"string\"",
        "plan_unknown_attribute (strip): 'x' is not in the data plan",
        "plan_wrong_value (allow): 'term' the value is not of type \"string\"",
    ]
    config.write_text(config.read_text().replace("unknown_attributes: strip", "unknown_attributes: allow"))
    result = CliRunner().invoke(
        build(load_plugins()), ["explain", "-", "-c", str(config), "--json"], input=json.dumps(text)
    )
    [connection] = json.loads(result.stdout)["connections"]
    assert connection["records"][0]["notes"][3:] == [
        "x is left out by connections.to_screen.filters.event_attributes",
        "plan_wrong_value (allow): 'term' the value is not of type \"string\"",
    ]


def test_both_parts_of_a_connection_with_development_settings_share_its_plan(tmp_path: Path, config: Path) -> None:
    text = config.read_text().replace("{destination: console}", "{destination: console, development_settings: {}}")
    config.write_text(text)
    parts = load_configuration(config, plugins=load_plugins(), environ={}).connections
    assert list(parts) == ["to_screen", "to_screen.development"]
    assert parts["to_screen"].data_plan is parts["to_screen.development"].data_plan is not None


@pytest.mark.parametrize(
    ("at_input", "at_connection", "plan", "texts"),
    [
        ("unknown_events: strip", "unknown_events: refuse", PLAN, ["'refuse' is none of the choices"]),
        ("missing_attributes: strip", "unknown_events: park", PLAN, ["'strip' is none of the choices"]),
        ("unknown_evnts: strip", "unknown_events: park", PLAN, ["Did you mean 'unknown_events'?"]),
        ("unknown_events: strip", "unknown_events: park", None,
         ["router.yaml:2: inputs.shop.data_plan.path: there is no file plan.yaml.",
          "router.yaml:4: connections.to_screen.data_plan.path: there is no file plan.yaml."]),
        ("unknown_events: strip", "unknown_events: park", "events: {custom_event: {A: 3}}",
         ["plan.yaml:1: events.custom_event.A: is no JSON Schema."]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_the_check(
    tmp_path: Path, at_input: str, at_connection: str, plan: str | None, texts: list[str]
) -> None:
    config = written(tmp_path, at_input, at_connection)
    if plan is not None:
        (tmp_path / "plan.yaml").write_text(plan)
    with pytest.raises(ConfigurationError) as error:
        load_configuration(config, plugins=load_plugins(), environ={})
    assert len(error.value.problems) == len(texts)
    for text in texts:
        assert text in str(error.value)


def test_a_python_function_that_is_not_there_is_told_by_the_check(tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"
    path.write_text("transforms:\n  tidy:\n    transform: python\n    settings:\n      function: nowhere_at_all:f\n")
    with pytest.raises(ConfigurationError) as error:
        load_configuration(path, plugins=load_plugins(), environ={})
    [problem] = error.value.problems
    assert (problem.where, problem.path) == (f"{path}:5", "transforms.tidy.settings.function")
    assert problem.what == f"there is no module 'nowhere_at_all' in {tmp_path}, nor is one installed."


@in_virtual_time
async def test_a_breach_counts_once_however_often_its_record_is_tried(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    config = written(tmp_path, "unknown_attributes: strip", "unknown_events: park")
    [configured] = load_configuration(config, plugins=load_plugins(), environ={}).connections.values()
    notes: list[PlanNote] = []

    def held(records: Any) -> list[Any]:
        from router_core.outcomes import Outcome

        return [Outcome.retry(one.id, "later") for one in records]

    destination = ScriptedDestination(Unavailable(), held, held)
    async with Bench(destination) as bench:
        bench.connection.pipeline = create_pipeline(configured, [], noted=notes.extend)
        await bench.append(BATCH)
        await bench.idle()
        letters = await bench.letters()
    assert len(destination.calls) == 4
    assert [letter.code for letter in letters] == ["plan_unknown_event"]
    assert sorted((note.record_id.partition(".")[2], note.code, note.policy) for note in notes) == [
        ("0", "plan_unknown_attribute", "strip"),
        ("0", "plan_wrong_value", "allow"),
        ("0", "plan_wrong_value", "allow"),
        ("1", "plan_unknown_event", "allow"),
        ("1", "plan_unknown_event", "park"),
    ]
