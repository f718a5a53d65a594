"""mParticle's batch, typed: every recorded request, the spellings of identities, the crash report in disguise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from router_core.events import (
    EVENT_DATA,
    CommerceEvent,
    CrashReport,
    EventData,
    EventType,
    UserIdentity,
    batch_from_json,
    decoded_event,
)
from router_core.testing import event_batch, records_of

RECORDED = sorted((Path(__file__).parent / "data").glob("mparticle-*/*.json"))


def recorded_batches(path: Path) -> list[dict[str, Any]]:
    body = json.loads(json.loads(path.read_text())["body_text"])
    return body if isinstance(body, list) else [body]


def decoded(event_type: str, data: Any) -> EventData:
    events = batch_from_json(event_batch({"event_type": event_type, "data": data})).events
    assert events is not None
    return decoded_event(events[0])


def expected_type(path: Path, label: str) -> str:
    """mParticle's Python client labels crash reports `commerce_event`."""
    return "crash_report" if path.stem == "crash_report" else label


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recorded_batch_becomes_records_of_its_types(path: Path) -> None:
    for batch in recorded_batches(path):
        expected = ["profile_update"] if batch.get("user_attributes") or batch.get("user_identities") else []
        expected += [expected_type(path, event["event_type"]) for event in batch.get("events") or ()]
        records = records_of(orjson.dumps(batch))
        assert [record.event_type for record in records] == expected
        for record in records:
            if record.event is not None:
                assert type(record.event) is EVENT_DATA[record.event_type]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_field_of_a_recorded_event_is_lost(path: Path) -> None:
    for batch in recorded_batches(path):
        events = [record.event for record in records_of(orjson.dumps(batch)) if record.event is not None]
        for sent, read in zip(batch.get("events") or (), events, strict=True):
            wanted = {name: value for name, value in sent["data"].items() if value is not None}
            kept = msgspec.to_builtins(read)
            assert {name: kept.get(name) for name in wanted} == wanted


def test_every_event_type_but_unknown_has_its_data() -> None:
    assert set(EVENT_DATA) == set(EventType) - {EventType.UNKNOWN}


@pytest.mark.parametrize("event_type", sorted(EVENT_DATA))
@pytest.mark.parametrize("data", [{}, None, {"field_of_tomorrow": {"a": [1]}}])
def test_every_type_decodes_from_nothing_and_passes_over_what_it_does_not_know(event_type: str, data: Any) -> None:
    assert type(decoded(event_type, data)) is EVENT_DATA[event_type]


def test_an_unknown_type_is_plain_event_data() -> None:
    data = decoded("made_up", {"timestamp_unixtime_ms": 5, "x": 1})
    assert type(data) is EventData
    assert data.timestamp_unixtime_ms == 5


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"class_name": "Oops"}, CrashReport),
        ({"stack_trace": "at line 1"}, CrashReport),
        ({"exception_handled": False}, CrashReport),
        ({"product_action": {"action": "purchase"}, "class_name": "Oops"}, CommerceEvent),
        ({"promotion_action": {"action": "view"}, "class_name": "Oops"}, CommerceEvent),
        ({"product_impressions": [{}], "class_name": "Oops"}, CommerceEvent),
        ({"event_name": "eCommerce - Purchase"}, CommerceEvent),
        ({}, CommerceEvent),
    ],
)
def test_a_crash_report_labelled_commerce_event_is_read_as_a_crash_report(data: Any, kind: type[EventData]) -> None:
    assert type(decoded("commerce_event", data)) is kind


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {}),
        ({}, {}),
        ({"customer_id": "c"}, {UserIdentity.CUSTOMER_ID: "c"}),
        ({"customerid": "c"}, {UserIdentity.CUSTOMER_ID: "c"}),
        ({"CustomerID": "c"}, {UserIdentity.CUSTOMER_ID: "c"}),
        ({"customer_id": "first", "customerid": "second"}, {UserIdentity.CUSTOMER_ID: "first"}),
        ({"customer_id": "", "customerid": "second"}, {UserIdentity.CUSTOMER_ID: "second"}),
        ({"customer_id": 5}, {UserIdentity.CUSTOMER_ID: "5"}),
        ({"customer_id": 0}, {UserIdentity.CUSTOMER_ID: "0"}),
        ({"customer_id": None, "email": True, "other": ["x"], "google": {}}, {}),
        ({"other2": "a", "other10": "b"}, {UserIdentity.OTHER_ID_2: "a", UserIdentity.OTHER_ID_10: "b"}),
        ({"facebookcustomaudienceid": "f"}, {UserIdentity.FACEBOOK_CUSTOM_AUDIENCE_ID: "f"}),
        ({"made_up": "x"}, {}),
    ],
)
def test_spellings_of_identities_are_folded(given: Any, expected: dict[UserIdentity, str]) -> None:
    assert batch_from_json(orjson.dumps({"user_identities": given})).identities == expected


@pytest.mark.parametrize("identity", list(UserIdentity))
def test_every_identity_is_found_by_its_own_name(identity: UserIdentity) -> None:
    assert batch_from_json(orjson.dumps({"user_identities": {identity.value: "x"}})).identities == {identity: "x"}


@pytest.mark.parametrize(
    ("batch", "updates"),
    [
        ({}, False),
        ({"user_attributes": {}, "user_identities": None, "deleted_user_attributes": []}, False),
        ({"user_attributes": {"a": None}}, True),
        ({"deleted_user_attributes": ["a"]}, True),
        ({"user_identities": {"customerid": "c"}}, True),
        ({"mpid": "1", "device_info": {"brand": "b"}}, False),
    ],
)
def test_a_batch_updates_the_profile_when_it_says_something_of_the_user(batch: Any, updates: bool) -> None:
    assert batch_from_json(orjson.dumps(batch)).updates_profile is updates


def test_a_field_of_the_wrong_type_is_named() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.device_info\.brand"):
        batch_from_json(orjson.dumps({"device_info": {"brand": {}}}))
