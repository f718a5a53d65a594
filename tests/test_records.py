"""What a batch falls into: ids, order, times, and events that cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from router_core.events import Platform, batch_from_json
from router_core.outcomes import Disposition, Outcome
from router_core.records import PROFILE_UPDATE, BatchContext, Record, records_from_batch
from router_core.testing import custom_event, event_batch, record, records_of


def split(body: bytes, seq: int = 7) -> tuple[list[Record], list[Outcome]]:
    return records_from_batch(batch_from_json(body), BatchContext(seq=seq, input="shop", platform=Platform.IOS))


def test_the_profile_update_comes_first_and_the_events_keep_their_order() -> None:
    records, malformed = split(event_batch(custom_event("A"), custom_event("B"), customer_id="c"))
    assert [(item.id, item.event_type) for item in records] == [
        ("7.p", PROFILE_UPDATE), ("7.0", "custom_event"), ("7.1", "custom_event"),
    ]  # fmt: skip
    assert records[0].event is None
    assert malformed == []


def test_a_batch_that_says_nothing_of_its_user_has_no_profile_update() -> None:
    assert [item.id for item in split(event_batch())[0]] == ["7.0"]


def test_a_batch_without_anything_has_no_records() -> None:
    assert split(b"{}") == split(b'{"events":null}') == ([], [])


def test_records_of_one_batch_share_its_context() -> None:
    records, _ = split(event_batch(custom_event(), customer_id="c"))
    assert records[0].context is records[1].context
    assert records[0].batch is records[1].batch


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ({"event_name": "x", "location": 5}, "$.location"),
        ({"event_name": "x", "custom_flags": []}, "$.custom_flags"),
        ({"event_name": "x", "session_id": {}}, "$.session_id"),
        ({"event_name": ["x"]}, "$.event_name"),
    ],
)
def test_an_event_that_cannot_be_read_is_rejected_and_the_others_go_on(data: Any, place: str) -> None:
    bad = {"event_type": "custom_event", "data": data}
    records, (outcome,) = split(event_batch(custom_event("A"), bad, custom_event("B")))
    assert [item.id for item in records] == ["7.0", "7.2"]
    assert (outcome.record_id, outcome.disposition, outcome.code) == ("7.1", Disposition.REJECTED, "malformed_event")
    assert place in outcome.message


@pytest.mark.parametrize("event_type", ["commerce_event", "user_identity_change", "made_up"])
def test_an_event_of_any_type_that_cannot_be_read_is_rejected(event_type: str) -> None:
    records, (outcome,) = split(event_batch({"event_type": event_type, "data": {"location": "here"}}))
    assert records == []
    assert outcome.code == "malformed_event"


def test_an_unknown_type_keeps_its_name() -> None:
    assert record("made_up_type").event_type == "made_up_type"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (1_600_000_000_123, 1_600_000_000_123),
        ("1600000000123", 1_600_000_000_123),
        (1_600_000_000_123.9, 1_600_000_000_123),
        (None, 99),
        (0, 99),
        (-5, 99),
        (True, 99),
        ("", 99),
        ("soon", 99),
        ("-5", 99),
        ("١٢٣", 99),
        ("9" * 5000, 99),
    ],
)
def test_the_time_is_the_events_own_or_that_of_acceptance(given: Any, expected: int) -> None:
    assert record(data={"timestamp_unixtime_ms": given}, received_at_ms=99).occurred_at_ms == expected


def test_a_profile_update_happened_when_it_was_accepted() -> None:
    (update,) = records_of(b'{"user_attributes":{"a":1}}', received_at_ms=99)
    assert update.occurred_at_ms == 99


@pytest.mark.parametrize(
    ("outcome", "disposition"),
    [
        (Outcome.delivered("1.0"), Disposition.DELIVERED),
        (Outcome.skipped("1.0", "c", "m"), Disposition.SKIPPED),
        (Outcome.retry("1.0", "c", "m", 5.0), Disposition.RETRY),
        (Outcome.rejected("1.0", "c", "m"), Disposition.REJECTED),
        (Outcome.expired("1.0", "c", "m"), Disposition.EXPIRED),
    ],
)
def test_each_end_has_its_own_maker(outcome: Outcome, disposition: Disposition) -> None:
    assert outcome.disposition is disposition
    assert outcome.record_id == "1.0"
    assert (outcome.code, outcome.message) == (("", "") if disposition is Disposition.DELIVERED else ("c", "m"))
    assert outcome.retry_after == (5.0 if disposition is Disposition.RETRY else None)
