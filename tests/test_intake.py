"""The shape of a batch, whose it is, and what becomes of it at the log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from router_core.components import Accepted, SourceInput
from router_core.errors import InvalidBatch, LogFull
from router_core.events import Platform, UserIdentity
from router_core.intake import MOST_WAITING, CoreIntake, envelope_of, request_key, user_of
from router_core.log.memory import MemoryLog
from router_core.log.port import NewBatch, StoredBatch, user_hash
from router_core.telemetry import Telemetry
from router_core.testing import custom_event, event_batch

RECORDED = sorted((Path(__file__).parent / "data").glob("mparticle-*/*.json"))


def recorded_batches(path: Path) -> list[dict[str, Any]]:
    body = json.loads(json.loads(path.read_text())["body_text"])
    return body if isinstance(body, list) else [body]


def body(**fields: Any) -> bytes:
    return orjson.dumps(fields)


# --- the envelope ---


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recorded_batch_is_taken(path: Path) -> None:
    for batch in recorded_batches(path):
        envelope = envelope_of(orjson.dumps(batch))
        events = len(batch.get("events") or [])
        profile = bool(batch.get("user_attributes") or batch.get("user_identities"))
        assert (envelope.events, envelope.records) == (events, events + profile)
        assert 0 <= envelope.user < 2**63


WRONG_OBJECTS: list[Any] = [[], "x", 5, True]
WRONG_SCALARS: list[Any] = [{}, []]
EVENT_TYPE = 'Required event field "event_type" is missing or empty.'
EVENT_NAME = 'Required event field "event_name" is missing or empty.'


@pytest.mark.parametrize(
    ("batch", "message", "place"),
    [
        ([], "A batch must be a JSON object.", "$"),
        ("text", "A batch must be a JSON object.", "$"),
        (None, "A batch must be a JSON object.", "$"),
        (5, "A batch must be a JSON object.", "$"),
        ({"events": {}}, 'Batch field "events" must be a list.', "$.events"),
        ({"events": "x"}, 'Batch field "events" must be a list.', "$.events"),
        ({"events": [custom_event(), 5]}, "An event must be an object.", "$.events[1]"),
        ({"events": [None]}, "An event must be an object.", "$.events[0]"),
        ({"events": [{}]}, EVENT_TYPE, "$.events[0].event_type"),
        ({"events": [{"event_type": ""}]}, EVENT_TYPE, "$.events[0].event_type"),
        ({"events": [{"event_type": None}]}, EVENT_TYPE, "$.events[0].event_type"),
        ({"events": [{"event_type": 4}]}, EVENT_TYPE, "$.events[0].event_type"),
        ({"events": [custom_event(), {"data": {}}]}, EVENT_TYPE, "$.events[1].event_type"),
        ({"events": [{"event_type": "x", "data": []}]}, 'Event field "data" must be an object.', "$.events[0].data"),
        ({"events": [{"event_type": "custom_event"}]}, EVENT_NAME, "$.events[0].data.event_name"),
        ({"events": [{"event_type": "custom_event", "data": None}]}, EVENT_NAME, "$.events[0].data.event_name"),
        ({"events": [custom_event("")]}, EVENT_NAME, "$.events[0].data.event_name"),
        ({"events": [{"event_type": "custom_event", "data": {"event_name": 5}}]}, EVENT_NAME,
         "$.events[0].data.event_name"),
        ({"events": [custom_event(custom_attributes=[])]}, 'Event field "custom_attributes" must be an object.',
         "$.events[0].data.custom_attributes"),
        ({"deleted_user_attributes": "x"}, 'Batch field "deleted_user_attributes" must be a list of strings.',
         "$.deleted_user_attributes"),
        ({"deleted_user_attributes": [1]}, 'Batch field "deleted_user_attributes" must be a list of strings.',
         "$.deleted_user_attributes"),
        ({"integration_attributes": {"128": 1}},
         'Batch field "integration_attributes" must hold an object for each module id.',
         "$.integration_attributes['128']"),
        *(
            ({name: wrong}, f'Batch field "{name}" must be an object.', f"$.{name}")
            for name in ("user_attributes", "user_identities", "device_info", "application_info",
                         "integration_attributes")
            for wrong in WRONG_OBJECTS
        ),
        *(
            ({name: wrong}, f'Batch field "{name}" must be a string or a number.', f"$.{name}")
            for name in ("mpid", "mp_deviceid", "source_request_id")
            for wrong in WRONG_SCALARS
        ),
    ],
)  # fmt: skip
def test_a_batch_nobody_can_make_sense_of_is_refused_with_its_place(batch: Any, message: str, place: str) -> None:
    with pytest.raises(InvalidBatch) as caught:
        envelope_of(orjson.dumps(batch))
    assert (caught.value.message, caught.value.place) == (message, place)


def test_a_duplicate_name_is_refused() -> None:
    with pytest.raises(InvalidBatch, match="same name twice"):
        envelope_of(b'{"events":[],"events":[]}')


@pytest.mark.parametrize(
    ("batch", "records"),
    [
        ({}, 0),
        ({"events": None}, 0),
        ({"events": []}, 0),
        ({"events": [], "user_attributes": {"a": 1}}, 1),
        ({"user_attributes": None, "user_identities": None, "device_info": None}, 0),
        ({"user_attributes": {}, "user_identities": {}}, 0),
        ({"user_identities": {"customerid": "c"}}, 1),
        ({"deleted_user_attributes": ["a"]}, 1),
        ({"deleted_user_attributes": []}, 0),
        ({"events": [{"event_type": "made_up_type", "data": {"anything": {}}}]}, 1),
        ({"events": [{"event_type": "session_start"}]}, 1),
        ({"events": [{"event_type": "session_start", "data": None}]}, 1),
        ({"events": [custom_event(custom_flags={"a": {"b": ["c"]}})]}, 1),
        ({"events": [custom_event(custom_attributes=None)]}, 1),
        ({"events": [custom_event()], "environment": None}, 1),
        ({"events": [custom_event()], "mpid": 2**63}, 1),
        ({"events": [custom_event()], "consent_state": {"gdpr": {"p": {}}}, "source_request_id": 7}, 1),
        ({"events": [custom_event(custom_attributes={"nested": {"a": [1]}})], "user_attributes": {"l": [1]}}, 2),
    ],
)
def test_what_real_clients_send_is_tolerated(batch: dict[str, Any], records: int) -> None:
    assert envelope_of(orjson.dumps(batch)).records == records


@pytest.mark.parametrize(
    ("batch", "unknown"),
    [
        ({"events": [custom_event()]}, 0),
        ({"new_field": 1, "other": 2}, 2),
        ({"device_info": {"brand": "b", "new": 1}}, 1),
        ({"application_info": {"package": "b", "new": 1}}, 1),
        ({"user_attributes": {"anything": 1}}, 0),
        ({"events": [custom_event(new=1), custom_event(newer=1, newest=2)]}, 3),
        ({"events": [{"event_type": "made_up_type", "data": {"anything": 1}}]}, 0),
    ],
)
def test_fields_that_nobody_knows_are_counted(batch: dict[str, Any], unknown: int) -> None:
    assert envelope_of(orjson.dumps(batch)).unknown_fields == unknown


@pytest.mark.parametrize(("given", "kept"), [("r1", "r1"), (7, "7"), ("", None), (None, None), (0, "0")])
def test_the_request_id_is_text_or_absent(given: Any, kept: str | None) -> None:
    assert envelope_of(body(source_request_id=given)).request_id == kept


# --- whose it is ---


@pytest.mark.parametrize(
    ("batch", "key"),
    [
        ({"mp_deviceid": "d", "user_identities": {"customer_id": "c"}, "mpid": "m"}, "mp_deviceid:d"),
        ({"user_identities": {"email": "e", "customer_id": "c"}, "mpid": "m"}, "customer_id:c"),
        ({"user_identities": {"email": "e", "customerid": "c"}, "mpid": "m"}, "customer_id:c"),
        ({"user_identities": {"customer_id": "", "customerid": "c"}}, "customer_id:c"),
        ({"user_identities": {"customer_id": 17}}, "customer_id:17"),
        ({"user_identities": {"email": "e", "other": "o"}}, "other:o"),
        ({"user_identities": {"mobile_number": "1", "other2": "o"}}, "other_id_2:o"),
        ({"user_identities": {"customer_id": None, "email": "e"}, "mpid": "m"}, "email:e"),
        ({"user_identities": {"customer_id": True}, "mpid": "m"}, "mpid:m"),
        ({"user_identities": {"made_up": "x"}, "mpid": 12}, "mpid:12"),
        ({"mpid": "m", "device_info": {"ios_idfv": "v"}}, "mpid:m"),
        ({"mpid": 0, "device_info": {"ios_idfv": "v", "android_uuid": "a"}}, "android_uuid:a"),
        ({"device_info": {"ios_idfv": "v", "ios_advertising_id": "i"}}, "ios_advertising_id:i"),
        ({"device_info": {"android_advertising_id": "g", "brand": "b"}}, "android_advertising_id:g"),
    ],
)
def test_a_user_is_named_by_the_first_that_there_is(batch: dict[str, Any], key: str) -> None:
    assert user_of(batch) == user_hash(key)
    assert envelope_of(orjson.dumps(batch)).user == user_hash(key)


def test_a_user_stays_the_same_when_they_log_in() -> None:
    before = {"mp_deviceid": "stamp", "mpid": "1"}
    after = {"mp_deviceid": "stamp", "mpid": "2", "user_identities": {"customer_id": "c"}}
    assert user_of(before) == user_of(after)


@pytest.mark.parametrize("identity", list(UserIdentity))
def test_every_identity_names_a_user(identity: UserIdentity) -> None:
    assert user_of({"user_identities": {identity.value: "x"}}) == user_hash(f"{identity.value}:x")


@pytest.mark.parametrize("batch", [{}, {"device_info": {"brand": "b"}}, {"user_identities": {"customer_id": ""}}])
def test_batches_that_name_nobody_are_spread_at_random(batch: dict[str, Any]) -> None:
    users = {user_of(batch) for _ in range(50)}
    assert len(users) > 40
    assert all(0 <= user < 2**63 for user in users)


# --- acceptance ---

SHOP = SourceInput(name="shop", platform=Platform.DATA_FEEDS, key="k", secret="s", settings=None)
APP = SourceInput(name="app", platform=Platform.IOS, key="k2", secret="s", settings=None)


class Bench:
    """An intake before a log in memory."""

    def __init__(self, log: MemoryLog | None = None) -> None:
        self.log = log or MemoryLog()
        self.telemetry = Telemetry()
        self.intake = CoreIntake(self.log, self.telemetry)

    async def open(self) -> Bench:
        await self.log.open(["shop", "app"], {"connection": "shop"})
        return self

    @property
    def stored(self) -> list[StoredBatch]:
        return list(self.log.after(0))

    def counts(self, source: str = "shop") -> dict[str, float]:
        names = ("accepted_batches", "accepted_events", "duplicate_batches", "invalid_batches", "unknown_fields")
        return {name: value for name in names if (value := self.telemetry.value(name, input=source))}


async def test_what_is_accepted_is_in_the_log_as_it_came() -> None:
    bench = await Bench().open()
    given = b' { "events" : [ ] , "new_field":1, "user_identities":{"customer_id":"c"}} '
    assert list(await bench.intake.accept(SHOP, [given])) == [Accepted()]
    (stored,) = bench.stored
    assert (stored.body, stored.input, stored.user, stored.records) == (given, "shop", user_hash("customer_id:c"), 1)
    assert stored.headers == b""
    assert bench.counts() == {"accepted_batches": 1, "unknown_fields": 1}


async def test_flags_and_counters_tell_good_bad_and_duplicate_apart() -> None:
    bench = await Bench().open()
    one, two = event_batch(source_request_id="r1"), event_batch(custom_event(), custom_event())
    await bench.intake.accept(SHOP, [one])
    results = await bench.intake.accept(SHOP, [b"[]", two, one, b"nonsense"])
    assert [type(result.error) for result in results] == [InvalidBatch, type(None), type(None), InvalidBatch]
    assert [result.duplicate for result in results] == [False, False, True, False]
    assert [stored.body for stored in bench.stored] == [one, two]
    assert bench.counts() == {
        "accepted_batches": 2, "accepted_events": 4, "duplicate_batches": 1, "invalid_batches": 2,
    }  # fmt: skip


async def test_a_request_that_is_all_bad_leaves_the_log_alone() -> None:
    class Untouchable(MemoryLog):
        async def append(self, batches: Sequence[NewBatch]) -> Sequence[bool]:
            raise AssertionError("nothing to append")

    bench = await Bench(Untouchable()).open()
    results = await bench.intake.accept(SHOP, [b"[]", b"{"])
    assert all(isinstance(result.error, InvalidBatch) for result in results)
    assert bench.counts() == {"invalid_batches": 2}


async def test_a_duplicate_within_one_request_is_flagged() -> None:
    bench = await Bench().open()
    same = event_batch(source_request_id="r")
    assert [result.duplicate for result in await bench.intake.accept(SHOP, [same, same])] == [False, True]


async def test_a_request_id_counts_for_one_input_only() -> None:
    bench = await Bench().open()
    same = event_batch(source_request_id="r")
    for source in (SHOP, APP):
        assert list(await bench.intake.accept(source, [same])) == [Accepted()]
    assert request_key("shop", "r") != request_key("app", "r")
    assert len(request_key("shop", "r")) == 16


async def test_batches_without_a_request_id_are_never_duplicates() -> None:
    bench = await Bench().open()
    assert list(await bench.intake.accept(SHOP, [event_batch()] * 3)) == [Accepted()] * 3


async def test_given_request_ids_count_instead_of_the_batches_own() -> None:
    bench = await Bench().open()
    same = event_batch(source_request_id="own")
    first = await bench.intake.accept(SHOP, [same, same], request_ids=["1", "2"])
    again = await bench.intake.accept(SHOP, [same, b"[]", same], request_ids=["3", "x", "1"])
    assert [result.duplicate for result in (*first, *again)] == [False, False, False, False, True]


async def test_headers_are_kept_with_every_batch() -> None:
    bench = await Bench().open()
    headers = {"traceparent": "00-1", "x-mp-kits": "128"}
    await bench.intake.accept(SHOP, [event_batch(), event_batch()], headers=headers)
    assert [orjson.loads(stored.headers) for stored in bench.stored] == [headers, headers]


async def test_a_full_log_is_passed_on_and_nothing_is_counted_as_accepted() -> None:
    bench = await Bench(MemoryLog(max_bytes=1)).open()
    await bench.intake.accept(SHOP, [event_batch()])
    with pytest.raises(LogFull):
        await bench.intake.accept(SHOP, [event_batch()])
    assert bench.counts() == {"accepted_batches": 1, "accepted_events": 1}


async def test_no_more_appends_wait_than_the_disk_can_take() -> None:
    gate = asyncio.Event()

    class Slow(MemoryLog):
        async def append(self, batches: Sequence[NewBatch]) -> Sequence[bool]:
            await gate.wait()
            return await super().append(batches)

    bench = await Bench(Slow()).open()
    one = event_batch()
    waiting = [asyncio.create_task(bench.intake.accept(SHOP, [one])) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(LogFull, match="the disk cannot keep up"):
        await bench.intake.accept(SHOP, [one])
    gate.set()
    await asyncio.gather(*waiting)
    assert list(await bench.intake.accept(SHOP, [one])) == [Accepted()], "there is room again"
    assert bench.counts()["accepted_batches"] == MOST_WAITING + 1
