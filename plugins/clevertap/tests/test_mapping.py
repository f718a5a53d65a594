"""Records → upload records: identity, names, times."""

from collections.abc import Callable
from typing import Any

import pytest
from router_clevertap.mapping import RecordMapper, map_record
from router_clevertap.settings import ClevertapConnection

from router_core.records import Record

Make = Callable[..., Record]
SETTINGS = ClevertapConnection()
DEVICE_ID = "__0123456789abcdef0123456789abcdef"
DEVICE = {"135": {"clevertap_id_integration_setting": DEVICE_ID}}


def test_a_custom_event_keeps_its_name_time_and_attributes(record: Make) -> None:
    event = record(data={"event_name": "Article Read", "custom_attributes": {"words": 812, "text": "café"}})
    assert map_record(event, SETTINGS).items == (
        {
            "type": "event",
            "identity": "cust-1",
            "ts": 1_700_000_000,
            "evtName": "Article Read",
            "evtData": {"words": 812, "text": "café"},
        },
    )


def test_a_screen_view_becomes_an_event_with_its_attributes(record: Make) -> None:
    item = map_record(record("screen_view", {"screen_name": "Home", "custom_attributes": {"tab": 1}}), SETTINGS).items[
        0
    ]
    assert (item["evtName"], item["evtData"]) == ("Screen Viewed Home", {"tab": 1})
    assert map_record(record("screen_view", {}), SETTINGS).items[0]["evtName"] == "Screen Viewed"


@pytest.mark.parametrize(
    ("screen", "name"),
    [("Home", "Home"), ("{x}", "{x}"), ("App Launched", "mP App Launched"), (None, "Screen Viewed"), (7, "7")],
)
def test_a_screen_view_may_have_its_bare_name(record: Make, screen: Any, name: str) -> None:
    settings = ClevertapConnection(screen_view_name="bare")  # type: ignore[arg-type]
    assert map_record(record("screen_view", {"screen_name": screen}), settings).items[0]["evtName"] == name


def test_a_restricted_name_is_renamed_and_noted(record: Make) -> None:
    mapped = map_record(record(data={"event_name": "App Launched"}), SETTINGS)
    assert mapped.items[0]["evtName"] == "mP App Launched"
    assert mapped.notes == (("restricted_name", "App Launched"),)


@pytest.mark.parametrize("name", [None, "", " ", "!!!"])
def test_an_event_without_a_name_is_rejected(record: Make, name: Any) -> None:
    outcome = map_record(record(data={"event_name": name}), SETTINGS).outcome
    assert outcome is not None
    assert (outcome.disposition, outcome.code) == ("rejected", "no_event_name")


@pytest.mark.parametrize(
    ("time", "ts", "noted"),
    [
        (1_700_000_000_999, 1_700_000_000, False),
        ("1700000000999", 1_700_000_000, False),
        (None, 1_700_000_100, False),
        (1_700_000_000, 1_700_000_100, True),  # seconds in a field of milliseconds
        (1_700_000_000_000_000, 1_700_000_100, True),
        (-5, 1_700_000_100, True),
        (0, 1_700_000_100, True),
        ("noon", 1_700_000_100, True),
        (True, 1_700_000_100, True),
        (1_700_000_000_999.5, 1_700_000_000, False),
    ],
)
def test_ts_is_in_seconds_and_of_ten_digits(record: Make, time: Any, ts: int, noted: bool) -> None:
    mapped = map_record(record(data={"event_name": "A", "timestamp_unixtime_ms": time}), SETTINGS)
    assert mapped.items[0]["ts"] == ts
    assert mapped.notes == ((("bad_timestamp", "timestamp_unixtime_ms"),) if noted else ())


def test_without_any_good_time_cleverTap_takes_that_of_arrival(record: Make) -> None:
    mapped = map_record(record(data={"event_name": "A", "timestamp_unixtime_ms": 1}, received_at_ms=0), SETTINGS)
    assert "ts" not in mapped.items[0]


@pytest.mark.parametrize(
    ("user_id", "batch", "key", "value"),
    [
        ("customer_id", {"user_identities": {"customerid": "c"}}, "identity", "c"),
        ("customer_id", {"user_identities": {"CustomerId": "c"}}, "identity", "c"),
        ("customer_id", {"user_identities": {"customer_id": 42}}, "identity", "42"),
        ("customer_id", {"user_identities": {"customer_id": "c"}, "integration_attributes": DEVICE}, "identity", "c"),
        ("customer_id", {"user_identities": {}, "integration_attributes": DEVICE}, "objectId", DEVICE_ID),
        (
            "customer_id",
            {"user_identities": {"customer_id": "  "}, "integration_attributes": DEVICE},
            "objectId",
            DEVICE_ID,
        ),
        ("email", {"user_identities": {"customer_id": "c", "email": "a@b.example"}}, "identity", "a@b.example"),
        ("other2", {"user_identities": {"other2": "o2"}}, "identity", "o2"),
        ("phone", {"user_identities": {"mobile_number": "+1"}}, "identity", "+1"),
        ("mpid", {"user_identities": None, "mpid": 7346244611012968789}, "identity", "7346244611012968789"),
        ("mpid", {"mpid": "123"}, "identity", "123"),
        ("mpid", {"mpid": 0, "integration_attributes": DEVICE}, "objectId", DEVICE_ID),
    ],
)
def test_a_record_has_exactly_one_id(record: Make, user_id: str, batch: dict[str, Any], key: str, value: str) -> None:
    settings = ClevertapConnection(user_id=user_id)  # type: ignore[arg-type]
    item = map_record(record(data={"event_name": "A"}, **batch), settings).items[0]
    assert {name: item[name] for name in ("identity", "objectId", "FBID", "GPID") if name in item} == {key: value}


@pytest.mark.parametrize("event_type", ["custom_event", "profile_update", "commerce_event"])
def test_a_record_without_an_id_is_rejected_in_words_that_help(record: Make, event_type: str) -> None:
    batch = {"user_identities": {"email": "private@example.com", "facebook": "fb-1"}, "user_attributes": {"a": 1}}
    outcome = map_record(record(event_type, {"event_name": "A"}, **batch), SETTINGS).outcome
    assert outcome is not None
    assert (outcome.disposition, outcome.code) == ("rejected", "no_identity")
    assert all(word in outcome.message for word in ("customer_id", "user_id", "email, facebook"))
    assert "private" not in outcome.message


@pytest.mark.parametrize("bad", ["a b", "x" * 121, 12, "a/b", ["x"]])
def test_a_malformed_clevertap_id_does_not_make_a_ghost(record: Make, bad: Any) -> None:
    attributes = {"135": {"clevertap_id_integration_setting": bad}}
    mapped = map_record(
        record(data={"event_name": "A"}, user_identities={}, integration_attributes=attributes), SETTINGS
    )
    assert mapped.outcome is not None
    assert mapped.outcome.code == "no_identity"
    assert mapped.notes == (("bad_clevertap_id", "clevertap_id_integration_setting"),)


def test_the_identity_follows_the_batch(record: Make) -> None:
    mapper = RecordMapper(SETTINGS)
    batches = [{"customer_id": "a"}, {"customer_id": "b"}, {}, {"customer_id": "a"}]
    found = [mapper.map(record(data={"event_name": "A"}, user_identities=ids)).items for ids in batches]
    assert [items[0]["identity"] if items else None for items in found] == ["a", "b", None, "a"]


@pytest.mark.parametrize(
    ("event_type", "code"),
    [
        ("session_start", "unsupported_event"),
        ("something_new", "unsupported_event"),
        ("opt_out", "kit_only"),
        ("push_registration", "kit_only"),
    ],
)
def test_what_cleverTap_does_not_take_is_skipped(record: Make, event_type: str, code: str) -> None:
    outcome = map_record(record(event_type, {}), SETTINGS).outcome
    assert outcome is not None
    assert (outcome.disposition, outcome.code) == ("skipped", code)
