"""What one delivery sends: nothing twice, changes by their time."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from router_clevertap.mapping import RecordMapper
from router_clevertap.plan import Plan, plan_of
from router_clevertap.settings import ClevertapConnection

from router_core.events import batch_from_json
from router_core.outcomes import Outcome
from router_core.records import Record, records_from_batch

Make = Callable[..., Record]


def planned(records: list[Record]) -> Plan:
    return plan_of(records, RecordMapper(ClevertapConnection()), 1000)


def said(plan: Plan) -> list[tuple[str, Any]]:
    return [
        (id, item["profileData"]) for call in plan.calls for id, item in zip(call.record_ids, call.items, strict=True)
    ]


def change(record: Make, id: str, name: str, value: Any, **batch: Any) -> Record:
    return record(
        "user_attribute_change", {"user_attribute_name": name, "new": value, "deleted": False}, id=id, **batch
    )


def update(record: Make, id: str, **attributes: Any) -> Record:
    return record("profile_update", id=id, user_attributes=attributes)


def test_a_change_that_the_batch_has_said_already_is_not_sent_again(record: Make) -> None:
    plan = planned([update(record, "1.p", plan="gold", n=1), change(record, "1.0", "plan", "gold")])
    assert said(plan) == [("1.p", {"plan": "gold", "n": 1})]
    assert plan.with_followers([Outcome.delivered("1.p")]) == [Outcome.delivered("1.p"), Outcome.delivered("1.0")]
    assert plan.with_followers([]) == []


def test_a_follower_waits_for_all_whom_it_follows(record: Make) -> None:
    plan = planned([update(record, "1.p", a=1), update(record, "2.p", b=2), update(record, "3.p", a=1, b=2)])
    assert plan.followers == {"3.p": (("1.p", "2.p"), False)}
    one, two = Outcome.delivered("1.p"), Outcome.retry("2.p", "clevertap_555")
    assert plan.with_followers([one, two])[-1] == Outcome.retry("3.p", "clevertap_555")
    assert plan.with_followers([one]) == [one]


@pytest.mark.parametrize(
    ("first", "second"),
    [({"a": 1}, {"a": True}), ({"a": 1}, {"a": 1.0}), ({"a": ["x"]}, {"a": ["y"]}), ({"a": 1}, {"b": 1})],
)
def test_what_is_new_is_sent(record: Make, first: Any, second: Any) -> None:
    assert len(said(planned([update(record, "1.p", **first), update(record, "2.p", **second)]))) == 2


def test_what_was_said_before_a_change_is_said_again(record: Make) -> None:
    records = [update(record, "1.p", a=1), update(record, "2.p", a=2), update(record, "3.p", a=1)]
    assert [id for id, _ in said(planned(records))] == ["1.p", "2.p", "3.p"]


def test_a_login_makes_forget_what_was_said(record: Make) -> None:
    device = {"135": {"clevertap_id_integration_setting": "__0123456789abcdef0123456789abcdef"}}
    anonymous = record(
        "profile_update", id="2.p", user_attributes={"a": 2}, user_identities={}, integration_attributes=device, user=5
    )
    known = [record("profile_update", id=id, user_attributes={"a": 1}, user=5) for id in ("1.p", "3.p")]
    assert [id for id, _ in said(planned([known[0], anonymous, known[1]]))] == ["1.p", "2.p", "3.p"]


def test_changes_of_a_batch_are_sent_in_the_order_of_their_times(record: Make) -> None:
    changes = [
        {"user_attribute_name": "a", "new": new, "deleted": False, "timestamp_unixtime_ms": 1_700_000_000_000 + at}
        for new, at in ((3, 9000), (1, 1000), (2, 5000))
    ]
    events = [{"event_type": "user_attribute_change", "data": data} for data in changes]
    body = {"user_identities": {"customer_id": "c"}, "user_attributes": {"a": 0}, "events": events}
    records, _ = records_from_batch(batch_from_json(json.dumps(body).encode()), update(record, "1.p").context)
    assert [(id, data["a"]) for id, data in said(planned(records))] == [("7.p", 0), ("7.1", 1), ("7.2", 2), ("7.0", 3)]
