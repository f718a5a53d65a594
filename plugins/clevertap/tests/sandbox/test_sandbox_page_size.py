"""What the page is sent stays small, whatever the sandbox was sent."""

from typing import Any

import httpx
import orjson
import pytest
from router_clevertap.sandbox import SandboxServer
from router_clevertap.sandbox.shortening import MAX_SHOWN_BYTES, shortened, shortened_json


def event(name: str = "Seen", **data: Any) -> dict[str, Any]:
    return {"type": "event", "identity": "u1", "ts": 1_795_000_000, "evtName": name, "evtData": data}


@pytest.mark.parametrize(
    "value",
    [
        "x" * 100_000,
        ["x" * 100] * 1000,
        {f"key {n}": ["x" * 100] * 50 for n in range(1000)},
        {"x" * 9000: 1},
        event(Items=[{f"key {n}": "x" * 400 for n in range(50)}] * 50),
        [[[[["x" * 5000]]]]],
    ],
)
def test_a_big_value_is_shortened(value: Any) -> None:
    raw = orjson.dumps(value)
    short = shortened(value)
    assert len(orjson.dumps(short)) <= MAX_SHOWN_BYTES
    assert orjson.loads(orjson.dumps(shortened_json(raw))) == short
    assert orjson.dumps(value) == raw  # the value itself is left alone


def test_a_small_value_is_shown_whole() -> None:
    value = event(Items=[{"a": None}], text="x" * 3000)
    assert shortened(value) is value
    assert orjson.loads(orjson.dumps(shortened_json(orjson.dumps(value)))) == value


def test_the_overview_stays_small_and_the_records_whole(sandbox: SandboxServer) -> None:
    big = {f"key {n}": "x" * 5000 for n in range(90)}
    sandbox.upload(*(event(f"Name {n}", **big) for n in range(60)))
    sandbox.upload({"type": "profile", "identity": "u2", "profileData": big | {"Name": "n" * 100_000}})
    sandbox.upload(*(event("App Launched", **big) for _ in range(60)))
    overview = httpx.get(f"{sandbox.url}/sandbox/overview")
    assert len(overview.content) < 1_000_000
    content = overview.json()
    assert content["records"][0]["record"]["identity"] == "u2"
    assert content["people"][1]["event_count"] == 60
    assert sandbox.records()[0]["record"]["evtData"] == big


def test_the_page_gathers_damage_of_one_kind_so_that_a_flood_hides_nothing(sandbox: SandboxServer) -> None:
    sandbox.upload(event(rare=None), *(event(often="") for _ in range(500)))
    shown = httpx.get(f"{sandbox.url}/sandbox/overview").json()["damage"]
    assert [(row["code"], row["field"], row["times"], row["n"]) for row in shown] == [
        ("empty_value", "evtData.often", 500, 501),
        ("null_value", "evtData.rare", 1, 1),
    ]


def test_a_person_keeps_as_many_event_names_as_an_account_can_have(sandbox: SandboxServer) -> None:
    sandbox.upload(*(event(f"Name {n}") for n in range(600)))
    record = sandbox.profile(identity="u1")
    assert record is not None
    assert len(record["events"]) == 512
