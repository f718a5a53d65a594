"""Checks of event records, one row a rule."""

from typing import Any

import pytest
from router_clevertap.sandbox import SandboxServer
from router_clevertap.sandbox.rules import RESTRICTED_EVENT_NAMES

NOW = 1_795_000_000


def event(**changes: Any) -> dict[str, Any]:
    record = {"type": "event", "identity": "u1", "ts": NOW, "evtName": "Seen", "evtData": {"a": 1}}
    return {key: value for key, value in (record | changes).items() if value is not ...}


def nested(field: str) -> str:
    return (
        "Event data is incorrect. 512 - Only Items can have a nested structure, "
        f"incorrect nested structure for field : {field}.Skipped record number : 1"
    )


NO_NAME = "Event Name is incorrect. ErrorCode: 509 - Event name is mandatory. Skipped record number : 1"
RESTRICTED = (
    "Event Name is incorrect. ErrorCode: 513 - Trying to raise a restricted system event. Skipped record number : 1"
)
NO_ID = (
    "'identity' or 'fbId' or 'gpId' or 'objectId' is necessary under 120 chars to identify the user. "
    "Skipped record number : 1"
)
TIMESTAMP = "Timestamp should be present in the Unix Epoch format. Skipped record number : 1"


@pytest.mark.parametrize(
    "record",
    [
        event(),
        event(ts=...),
        event(evtData={}),
        event(identity=18),
        event(identity="x" * 120),
        event(identity="a@b.example"),
        event(identity=..., objectId="__g4f1e0c7a9b2d4e6f8a0b1c2d3e4f5a6b"),
        event(identity=..., objectId="-v4f1e0c7a9b2d4e6f8a0b1c2d3e4f5a6b"),
        event(identity=..., objectId="0f8fad5b-d9cb-469f-a165-70867728950e"),
        event(identity=..., FBID="1234"),
        event(identity=..., GPID="1234"),
        event(identity="", objectId="__g1"),
        event(evtName="x" * 512),
        event(evtData={"text": "x", "number": 1.5, "yes": True, "at": "$D_1795000000", "empty": ""}),
        event(evtData={f"key {n}": n for n in range(100)}),
        event(evtData={"k" * 120: "v" * 512}),
        event(evtName="Charged", evtData={"Amount": 9.5, "Charged ID": "1", "Items": [{"Name": "a"}, {}]}),
        event(evtName="Charged", evtData={"Items": [{"Name": "a"}] * 256}),
        event(evtName="App Launched Again"),
    ],
)
def test_good_events_are_accepted_and_kept_as_sent(sandbox: SandboxServer, record: dict[str, Any]) -> None:
    assert sandbox.upload(record).json() == {"status": "success", "processed": 1, "unprocessed": []}
    assert [entry["record"] for entry in sandbox.records()] == [record]


@pytest.mark.parametrize(
    ("record", "code", "text"),
    [
        # what kind of record
        ("text", 524, None),
        ([], 524, None),
        (None, 524, None),
        ({}, 524, None),
        (event(type=...), 524, None),
        (event(type="Event"), 524, None),
        # who
        (event(identity=...), 523, NO_ID),
        (event(identity=""), 523, NO_ID),
        (event(identity=None), 523, NO_ID),
        (event(identity=True), 523, NO_ID),
        (event(identity={"id": 1}), 523, NO_ID),
        (event(identity="x" * 121), 523, NO_ID),
        (event(identity=..., email="a@b.example"), 523, NO_ID),
        (event(objectId="__g1"), 523, None),
        (event(FBID="1"), 523, None),
        (event(identity=..., objectId=12), 526, None),
        (event(identity=..., objectId="with blank"), 526, None),
        (event(identity=..., objectId="x" * 121), 526, None),
        # when
        (event(ts=0), 525, TIMESTAMP),
        (event(ts=-5), 525, TIMESTAMP),
        (event(ts="2026-11-23T10:00:00Z"), 525, TIMESTAMP),
        (event(ts=str(NOW)), 525, TIMESTAMP),
        (event(ts=NOW * 1000), 525, TIMESTAMP),
        (event(ts=NOW + 0.5), 525, TIMESTAMP),
        (event(ts=True), 525, TIMESTAMP),
        (event(ts=None), 525, TIMESTAMP),
        # what
        (event(evtName=...), 509, NO_NAME),
        (event(evtName=""), 509, NO_NAME),
        (event(evtName="  "), 509, NO_NAME),
        (event(evtName=7), 509, NO_NAME),
        (event(evtName="App Launched"), 513, RESTRICTED),
        (event(evtName="Web Page Viewed"), 513, RESTRICTED),
        (event(evtName="applaunched"), 513, RESTRICTED),
        (event(evtName="APP\t LAUNCHED "), 513, RESTRICTED),
        (event(evtName="wzrk_anything"), 513, RESTRICTED),
        # with which properties
        (event(evtData=...), 512, None),
        (event(evtData=[]), 512, None),
        (event(evtData={"a": {"b": 1}}), 512, nested("a")),
        (event(evtData={"a": [1]}), 512, nested("a")),
        (event(evtData={"Items": {"b": 1}}), 512, nested("Items")),
        (event(evtData={"Items": ["text"]}), 512, nested("Items")),
        (event(evtData={"Items": [{"b": []}]}), 512, nested("b")),
        (event(evtData={f"key {n}": n for n in range(101)}), 522, None),
    ],
)
def test_bad_events_are_refused_with_their_code(
    sandbox: SandboxServer, record: Any, code: int, text: str | None
) -> None:
    answer = sandbox.upload(record).json()
    assert (answer["status"], answer["processed"]) == ("fail", 0)
    (refused,) = answer["unprocessed"]
    assert (refused["status"], refused["code"], refused["record"]) == ("fail", code, record)
    assert refused["error"].endswith("Skipped record number : 1")
    if text:
        assert refused["error"] == text
    assert sandbox.records() == []


@pytest.mark.parametrize("name", RESTRICTED_EVENT_NAMES)
def test_no_system_event_can_be_raised(sandbox: SandboxServer, name: str) -> None:
    codes = [entry["code"] for entry in sandbox.upload(event(evtName=name)).json()["unprocessed"]]
    assert codes == [513]


def test_the_first_fault_of_an_event_is_the_only_one_reported(sandbox: SandboxServer) -> None:
    faults = {"identity": "", "ts": 0, "evtName": "", "evtData": {"a": {}}}
    order = []
    for field in faults:
        order.append(sandbox.upload(event(**faults)).json()["unprocessed"][0]["code"])
        faults = faults | {field: event()[field]}
    assert order == [523, 525, 509, 512]


def test_discarded_events_and_the_accounts_property_limit_are_settings() -> None:
    with SandboxServer(discarded_events=frozenset({"Old Event"}), max_event_properties=2) as sandbox:
        answer = sandbox.upload(event(evtName="old event"), event(evtData={"a": 1, "b": 2, "c": 3})).json()
    assert [refused["code"] for refused in answer["unprocessed"]] == [528, 522]
