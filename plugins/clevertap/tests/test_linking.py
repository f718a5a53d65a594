"""Anonymous to known: the linking record, sent once for each device."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from router_clevertap.destination import ClevertapDestination
from router_clevertap.linking import Links
from router_clevertap.mapping import RecordMapper
from router_clevertap.marks import Marks
from router_clevertap.settings import ClevertapConnection

from router_core.components import HttpAnswer
from router_core.errors import Throttled, Unavailable
from router_core.records import Record
from router_core.store import StateFile

Make = Callable[..., Record]
DEVICE = "-v0123456789abcdef0123456789abcdef"
ATTRIBUTES = {"135": {"clevertap_id_integration_setting": DEVICE}}
LINK = {"type": "profile", "objectId": DEVICE, "profileData": {"identity": "cust-1"}}


def sent(record: Record, **settings: Any) -> list[dict[str, Any]]:
    mapped = RecordMapper(ClevertapConnection(**settings)).map(record)
    return [{key: value for key, value in item.items() if key != "ts"} for item in mapped.items]


def test_a_profile_update_of_a_known_person_links_the_device_first(record: Make) -> None:
    update = record("profile_update", user_attributes={"a": 1}, integration_attributes=ATTRIBUTES)
    profile = {"type": "profile", "identity": "cust-1", "profileData": {"a": 1}}
    assert sent(update) == [LINK, profile]
    assert sent(update, link_anonymous=False) == [profile]


def test_a_profile_update_that_says_nothing_else_still_links(record: Make) -> None:
    assert sent(record("profile_update", integration_attributes=ATTRIBUTES)) == [LINK]


def test_an_identity_change_links_too(record: Make) -> None:
    change = {"new": {"identity_type": "customer_id", "identity": "cust-1"}, "old": None}
    assert sent(record("user_identity_change", change, integration_attributes=ATTRIBUTES)) == [LINK]
    anonymous = record("user_identity_change", change, user_identities={}, integration_attributes=ATTRIBUTES)
    assert sent(anonymous) == [LINK]
    assert sent(anonymous, link_anonymous=False) == []


def test_an_identity_change_of_another_kind_names_nobody(record: Make) -> None:
    change = {"new": {"identity_type": "email", "identity": "a@example.com"}, "old": None}
    anonymous = record("user_identity_change", change, user_identities={}, integration_attributes=ATTRIBUTES)
    assert sent(anonymous) == [{"type": "profile", "objectId": DEVICE, "profileData": {"Email": "a@example.com"}}]


def test_events_link_nothing(record: Make) -> None:
    event = record(data={"event_name": "A"}, integration_attributes=ATTRIBUTES)
    assert [item["type"] for item in sent(event)] == ["event"]


async def test_a_device_is_linked_once_to_the_first_person(
    context: Any, record: Make, script: Any, answer: Callable[..., HttpAnswer]
) -> None:
    taken = answer({"status": "success"})
    http = script(*[taken] * 3)
    made = context(http)
    one = record("profile_update", id="1.p", user_attributes={"a": 1}, integration_attributes=ATTRIBUTES)
    two = record("profile_update", id="2.p", integration_attributes=ATTRIBUTES, user_identities={"customer_id": "c-2"})
    outcomes = await ClevertapDestination(made).deliver([one, two])
    assert {o.record_id: o.disposition.value for o in outcomes} == {"1.p": "delivered", "2.p": "delivered"}
    assert http.requests[0]["body"]["d"][0] == {**LINK, "ts": 1_700_000_100}
    assert len(http.requests[0]["body"]["d"]) == 2
    again = ClevertapDestination(made)  # a restart: only the store remembers
    assert [o.code for o in await again.deliver([two])] == ["nothing_to_say"]
    assert all(DEVICE not in key for key in made.store.items)


async def test_a_link_that_was_not_taken_is_tried_again(
    context: Any, record: Make, script: Any, answer: Callable[..., HttpAnswer]
) -> None:
    refused = {"status": "fail", "code": 555, "error": "Skipped record number : 1"}
    http = script(answer({"status": "fail", "processed": 0, "unprocessed": [refused]}), answer({"status": "success"}))
    destination = ClevertapDestination(context(http))
    update = record("profile_update", integration_attributes=ATTRIBUTES)
    assert [o.disposition.value for o in await destination.deliver([update])] == ["retry"]
    assert [o.disposition.value for o in await destination.deliver([update])] == ["delivered"]
    assert http.requests[1]["body"]["d"] == [{**LINK, "ts": 1_700_000_100}]


@pytest.mark.parametrize("marked", [True, False])
async def test_marks_are_durable(tmp_path: Path, marked: bool) -> None:
    first = StateFile(tmp_path / "state.db")
    marks = Marks("suppressed", first.namespace("clevertap", "app"))
    marks.mark("a")
    await marks.flush()
    marks.mark("a", marked=marked)
    await marks.flush()
    first.close()
    second = StateFile(tmp_path / "state.db")
    other = Marks("suppressed", second.namespace("clevertap", "app"))
    assert "a" not in other
    await other.recall(["a", "b"])
    assert ("a" in other, "b" in other) == (marked, False)
    second.close()


async def test_a_store_that_fails_costs_no_outcome(
    context: Any, record: Make, script: Any, answer: Callable[..., HttpAnswer], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = context(script(*[answer({"status": "success"})] * 2))
    good = made.store.put

    async def full(items: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(made.store, "put", full)
    destination = ClevertapDestination(made)
    update = record("profile_update", integration_attributes=ATTRIBUTES)
    assert [o.disposition.value for o in await destination.deliver([update])] == ["delivered"]
    monkeypatch.setattr(made.store, "put", good)
    await destination.deliver([record(data={"event_name": "A"}, id="2.0")])
    assert len(made.store.items) == 1  # the next delivery writes it down


async def test_a_device_that_was_linked_is_not_linked_by_a_change_after_a_restart(
    context: Any, record: Make, script: Any, answer: Callable[..., HttpAnswer]
) -> None:
    made = context(script(answer({"status": "success"})))
    await ClevertapDestination(made).deliver([record("profile_update", integration_attributes=ATTRIBUTES)])
    change = {"new": {"identity_type": "customer_id", "identity": "c-2"}, "old": None}
    later = record("user_identity_change", change, user_identities={}, integration_attributes=ATTRIBUTES)
    assert [o.code for o in await ClevertapDestination(made).deliver([later])] == ["nothing_to_say"]


def update_of(record: Make, person: str, id: str = "1.p") -> Record:
    identities = {"customer_id": person}
    return record("profile_update", id=id, integration_attributes=ATTRIBUTES, user_identities=identities)


async def test_two_people_in_two_lanes_do_not_both_get_the_device(context: Any, record: Make) -> None:
    class Slow:
        def __init__(self) -> None:
            self.sent: list[dict[str, Any]] = []

        async def request(self, *_: Any, content: bytes = b"", **__: Any) -> HttpAnswer:
            items = json.loads(content)["d"]
            self.sent += items
            await asyncio.sleep(0.01)
            return HttpAnswer(200, {}, json.dumps({"status": "success", "processed": len(items)}).encode())

    http = Slow()
    destination = ClevertapDestination(context(http))
    one, two = update_of(record, "c-1"), update_of(record, "c-2", id="2.p")
    outcomes = await asyncio.gather(destination.deliver([one]), destination.deliver([two]))
    assert [item["profileData"]["identity"] for item in http.sent] == ["c-1"]
    assert [[o.disposition.value for o in some] for some in outcomes] == [["delivered"], ["skipped"]]


REFUSED = {"status": "fail", "processed": 0, "unprocessed": [{"status": "fail", "code": 555, "error": "number : 1"}]}


@pytest.mark.parametrize(
    ("status", "body", "error", "is_free"),
    [
        (200, REFUSED, None, True),
        (429, {}, Throttled, True),
        (502, b"<html>", Unavailable, False),  # it may have been taken: linked again, the two would become one
    ],
)
async def test_a_device_is_free_again_only_if_its_link_was_refused(
    context: Any, record: Make, script: Any, answer: Any, status: int, body: Any, error: Any, is_free: bool
) -> None:
    http = script(answer(body, status=status), answer({"status": "success"}))
    destination = ClevertapDestination(context(http))
    if error is None:
        await destination.deliver([update_of(record, "c-1")])
    else:
        with pytest.raises(error):
            await destination.deliver([update_of(record, "c-1")])
    (other,) = await destination.deliver([update_of(record, "c-2", id="2.p")])
    assert other.code == ("" if is_free else "nothing_to_say")
    if not is_free:  # its own person may try again
        (same,) = await destination.deliver([update_of(record, "c-1")])
        assert same.disposition.value == "delivered"


async def test_links_know_their_person_by_a_salted_hash_after_a_restart(tmp_path: Path) -> None:
    first = StateFile(tmp_path / "state.db")
    links = Links(first.namespace("clevertap", "app"))
    links.linked({"a": "person-1", "b": "person-1"})
    await links.flush()
    rows = first.connection.execute("SELECT key, value FROM items").fetchall()
    assert len({value for _, value in rows}) == 2
    assert not any(b"person-1" in value for _, value in rows)
    first.close()
    second = StateFile(tmp_path / "state.db")
    again = Links(second.namespace("clevertap", "app"))
    await again.recall(["a", "b", "c"])
    assert [again.is_of_somebody_else(d, ["person-0", "person-1"]) for d in "abc"] == [False] * 3
    assert [again.is_of_somebody_else(d, ["person-2"]) for d in "abc"] == [True, True, False]
    assert [again.allows(d, "person-1") for d in "abc"] == [False, False, True]
    await again.forget(["a"])
    assert again.allows("a", "person-2")
    assert second.connection.execute("SELECT count(*) FROM items").fetchone() == (1,)
    second.close()
