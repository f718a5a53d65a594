"""Filters: each list by a table, and no blocked name in anything that a destination can reach."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from router_core.destinations.lines import line_from_record
from router_core.events import CommerceEvent, CustomEvent, ScreenView
from router_core.feeds import SOURCE_FEED, mark_source_feed
from router_core.filters import DEVICE_IDENTITIES, Filtering, Filters
from router_core.names import folded
from router_core.records import Record
from router_core.testing import custom_event, event_batch, records_of


def filtered(filters: Mapping[str, Any], body: bytes) -> tuple[list[Record], dict[str, str]]:
    """What is left, and the codes of the others by id."""
    kept, outcomes = Filtering(Filters.model_validate(filters), "connections.c.filters")(records_of(body))
    return kept, {outcome.record_id: outcome.code for outcome in outcomes}


def screen(name: str | None, **attributes: Any) -> dict[str, Any]:
    return {"event_type": "screen_view", "data": {"screen_name": name, "custom_attributes": attributes}}


def commerce(**data: Any) -> dict[str, Any]:
    return {"event_type": "commerce_event", "data": data}


def action(name: str, *products: Mapping[str, Any]) -> dict[str, Any]:
    return commerce(product_action={"action": name, "products": list(products)})


def change(name: str) -> dict[str, Any]:
    return {"event_type": "user_attribute_change", "data": {"user_attribute_name": name, "new": "x"}}


def identity_change(new: Any, old: Any = None) -> dict[str, Any]:
    sides = {side: {"identity_type": kind, "identity": "i"} if kind is not None else None
             for side, kind in (("new", new), ("old", old))}  # fmt: skip
    return {"event_type": "user_identity_change", "data": sides}


SKIPPED = [
    # setting, its value, event, code
    ("event_types", {"block": ["location"]}, custom_event(custom_event_type="location"), "filtered_event_type"),
    ("event_types", {"block": ["location"]}, custom_event(custom_event_type="Location"), "filtered_event_type"),
    ("event_types", {"block": ["location"]}, custom_event(custom_event_type="search"), None),
    ("event_types", {"block": ["unknown"]}, custom_event(custom_event_type=None), "filtered_event_type"),
    ("event_types", {"allow": ["search"]}, custom_event(custom_event_type="location"), "filtered_event_type"),
    ("event_types", {"allow": ["search"]}, custom_event(custom_event_type="made_up"), "filtered_event_type"),
    ("event_types", {"allow": ["search"]}, action("purchase"), None),
    ("event_names", {"block": ["Viewed"]}, custom_event("Viewed"), "filtered_event_name"),
    ("event_names", {"block": ["Viewed"]}, custom_event(" viewed "), "filtered_event_name"),
    ("event_names", {"block": ["Viewed"]}, custom_event("Viewed Item"), None),
    ("event_names", {"block": ["Viewed"]}, screen("Viewed"), None),
    ("event_names", {"allow": ["Viewed"]}, custom_event("VIEWED"), None),
    ("event_names", {"allow": ["Viewed"]}, custom_event("Other"), "filtered_event_name"),
    ("event_names", {"allow": []}, custom_event("Other"), "filtered_event_name"),
    ("screen_names", {"block": ["Health"]}, screen("health"), "filtered_screen_name"),
    ("screen_names", {"block": ["Health"]}, screen("Home"), None),
    ("screen_names", {"block": ["Health"]}, screen(None), None),
    ("screen_names", {"allow": ["Home"]}, screen(None), "filtered_screen_name"),
    ("screen_names", {"allow": ["Home"]}, custom_event("Viewed"), None),
    ("commerce", {"block": ["refund"]}, action("refund"), "filtered_commerce"),
    ("commerce", {"block": ["refund"]}, action("purchase"), None),
    ("commerce", {"block": ["remove_from_wishlist"]}, action("remove_from_wish_list"), "filtered_commerce"),
    ("commerce", {"block": ["promotion_view"]}, commerce(promotion_action={"action": 1}), "filtered_commerce"),
    ("commerce", {"block": ["promotion_click"]}, commerce(promotion_action={"action": "click"}), "filtered_commerce"),
    ("commerce", {"block": ["impression"]}, commerce(product_impressions=[{}]), "filtered_commerce"),
    ("commerce", {"allow": ["purchase"]}, commerce(), "filtered_commerce"),
    ("user_attributes", {"block": ["$Age"]}, change("$age"), "filtered_user_attribute"),
    ("user_attributes", {"block": ["$Age"]}, change("plan"), None),
    ("user_identities", {"block": ["email"]}, identity_change("email"), "filtered_user_identity"),
    ("user_identities", {"block": ["email"]}, identity_change(7), "filtered_user_identity"),
    ("user_identities", {"block": ["customer_id"]}, identity_change("customerid"), "filtered_user_identity"),
    ("user_identities", {"block": ["customer_id"]}, identity_change("other", "customer_id"), "filtered_user_identity"),
    ("user_identities", {"block": ["email"]}, identity_change("other2"), None),
    ("user_identities", {"allow": ["email"]}, identity_change("made_up"), "filtered_user_identity"),
]  # fmt: skip


@pytest.mark.parametrize(("setting", "value", "event", "code"), SKIPPED)
def test_events_are_skipped_by_their_type_or_name(setting: str, value: Any, event: Any, code: str | None) -> None:
    kept, skipped = filtered({setting: value}, event_batch(event))
    assert skipped == ({} if code is None else {"1.0": code})
    assert len(kept) == (code is None)


@pytest.mark.parametrize(
    ("value", "event", "left"),
    [
        ({"event_attributes": {"block": {"Viewed": ["email"]}}}, "Viewed", {"colour"}),
        ({"event_attributes": {"block": {"viewed ": ["EMAIL"]}}}, "Viewed", {"colour"}),
        ({"event_attributes": {"block": {"Other": ["email"]}}}, "Viewed", {"colour", "Email"}),
        ({"event_attributes": {"block": {"*": ["email"]}}}, "Viewed", {"colour"}),
        ({"event_attributes": {"block": {"*": ["email"], "Viewed": ["colour"]}}}, "Viewed", set()),
        ({"event_attributes": {"allow": {"Viewed": ["colour"]}}}, "Viewed", {"colour"}),
        ({"event_attributes": {"allow": {"Viewed": ["colour"]}}}, "Other", set()),
        ({"event_attributes": {"allow": {"*": ["colour"]}}}, "Other", {"colour"}),
        ({"screen_attributes": {"block": {"*": ["email"]}}}, "Viewed", {"colour", "Email"}),
        ({"send_new_data_points": False, "event_names": {"allow": ["Viewed"]}, "event_types": {"allow": ["other"]}},
         "Viewed", set()),
    ],
)  # fmt: skip
def test_attributes_are_taken_out_by_their_event(value: Any, event: str, left: set[str]) -> None:
    ((record,), _) = filtered(
        value, event_batch(custom_event(event, custom_attributes={"colour": "red", "Email": "a@b"}))
    )
    assert isinstance(record.event, CustomEvent)
    assert set(record.event.custom_attributes or {}) == left


def test_attributes_of_screens_and_of_products_are_taken_out() -> None:
    product = {"id": "1", "custom_attributes": {"margin": 3, "size": "M"}}
    sale = action("purchase", product)
    sale["data"] |= {"custom_attributes": {"Margin": 1, "till": 2}, "shopping_cart": {"products": [product]}}
    shown = commerce(product_impressions=[{"products": [product]}])
    kept, _ = filtered(
        {"screen_attributes": {"block": {"Home": ["from"]}}, "commerce_attributes": {"block": ["margin"]}},
        event_batch(screen("home", **{"from": "x", "to": "y"}), sale, shown),
    )
    view, bought, seen = (record.event for record in kept)
    assert isinstance(view, ScreenView)
    assert view.custom_attributes == {"to": "y"}
    assert isinstance(bought, CommerceEvent)
    assert isinstance(seen, CommerceEvent)
    assert bought.custom_attributes == {"till": 2}
    assert bought.product_action
    assert bought.shopping_cart
    assert seen.product_impressions
    for holder in (bought.product_action, bought.shopping_cart, seen.product_impressions[0]):
        assert [one.custom_attributes for one in holder.products or ()] == [{"size": "M"}]


def test_the_batch_loses_blocked_attributes_identities_and_device_identities() -> None:
    body = event_batch(
        user_attributes={"ssn": 1, "plan": "gold"},
        deleted_user_attributes=["SSN", "old"],
        user_identities={"customerid": "c", "email": "e", "made_up": "m"},
        device_info={"android_uuid": "u", "google_advertising_id": "g", "push_token": "p", "brand": "b"},
    )
    kept, skipped = filtered(
        {
            "user_attributes": {"block": ["ssn"]},
            "user_identities": {"allow": ["customer_id"]},
            "device_identities": {"block": ["android_advertising_id", "push_token"]},
        },
        body,
    )
    assert skipped == {}
    assert kept[0].batch is kept[1].batch
    batch = kept[0].batch
    assert (batch.user_attributes, batch.deleted_user_attributes) == ({"plan": "gold"}, ["old"])
    assert batch.user_identities == {"customerid": "c"}
    device = batch.device_info
    assert device is not None
    assert (device.android_uuid, device.google_advertising_id, device.push_token, device.brand) == (
        "u",
        None,
        None,
        "b",
    )


def test_a_profile_update_of_which_nothing_is_left_is_skipped() -> None:
    filters = {"user_attributes": {"block": ["a"]}, "user_identities": {"block": ["email"]}}
    body = event_batch(custom_event(), user_attributes={"a": 1}, user_identities={"email": "e"})
    kept, skipped = filtered(filters, body)
    assert [record.id for record in kept] == ["1.0"]
    assert skipped == {"1.p": "filtered_profile_update"}


def test_new_data_points_are_sent_by_default_and_held_back_otherwise() -> None:
    body = event_batch(custom_event(), screen("Home"), action("click"), user_attributes={"a": 1}, customer_id="c")
    assert filtered({}, body)[1] == {}
    assert filtered({"send_new_data_points": False}, body)[1] == {
        "1.p": "filtered_profile_update", "1.0": "filtered_event_type", "1.1": "filtered_screen_name",
        "1.2": "filtered_commerce",
    }  # fmt: skip


def test_the_source_feed_is_not_filtered() -> None:
    records = records_of(event_batch(custom_event(custom_attributes={SOURCE_FEED: "made up", "b": 1})))
    mark_source_feed(records, "Orders")
    filters = Filters.model_validate({"send_new_data_points": True, "event_attributes": {"allow": {}}})
    ((record,), _) = Filtering(filters, "f")(records)
    assert record.event is not None
    assert record.event.custom_attributes == {SOURCE_FEED: "Orders"}


def test_the_sentence_names_the_setting() -> None:
    for filters, sentence in (
        ({"event_names": {"block": ["Viewed"]}}, "connections.c.filters.event_names keeps events of its name back"),
        ({"send_new_data_points": False}, "connections.c.filters.send_new_data_points is off"),
    ):
        _, (outcome,) = Filtering(Filters.model_validate(filters), "connections.c.filters")(records_of(event_batch()))
        assert sentence in outcome.message


@pytest.mark.parametrize(
    "wrong",
    [
        {"event_names": {}},
        {"event_names": {"allow": ["a"], "block": ["b"]}},
        {"send_new_data_points": False, "event_names": {"block": ["b"]}},
        {"event_types": {"block": ["made_up"]}},
        {"event_attributes": {"block": ["a"]}},
    ],
)
def test_what_says_nothing_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        Filters.model_validate(wrong)


# --- nothing leaks ----------------------------------------------------------------------------------------------------

NAMES = st.text(string.ascii_letters + " $_", min_size=3, max_size=5).filter(lambda name: len(name.strip()) > 2)
MARK = "\N{SNOWMAN}"
"""Around each name of the batches, so that no name is found within another, or within a field's name."""


def marked(name: str) -> str:
    return f"{MARK}{name.strip()}{MARK}"


ATTRIBUTES = st.dictionaries(NAMES.map(marked), st.integers(), max_size=4)
EVENTS = st.lists(
    st.one_of(
        st.builds(lambda name, values: custom_event(marked(name), custom_attributes=values), NAMES, ATTRIBUTES),
        st.builds(lambda name, values: screen(marked(name), **values), NAMES, ATTRIBUTES),
        st.builds(
            lambda own, values, shown: commerce(
                custom_attributes=own,
                screen_name=marked(shown),
                event_name=marked(shown),
                product_action={"action": "purchase", "products": [{"id": "1", "custom_attributes": values}]},
            ),
            ATTRIBUTES, ATTRIBUTES, NAMES,
        ),
        st.builds(lambda name: change(marked(name)), NAMES),
        st.builds(lambda values: {"event_type": "session_start", "data": {"custom_attributes": values}}, ATTRIBUTES),
    ),
    max_size=5,
)  # fmt: skip


def names_in(batch: Mapping[str, Any]) -> list[str]:
    """All marked names."""
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(key)
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)
        elif isinstance(value, str) and value.startswith(MARK):
            found.append(value)

    walk(batch)
    return sorted(set(found))


def reachable(record: Record) -> Iterator[str]:
    """Everything that a destination can reach from a record, as text."""
    yield msgspec.json.encode(msgspec.to_builtins(record)).decode()
    yield record.context.body.decode()
    yield msgspec.json.encode(line_from_record(record)).decode()
    yield from (bytes(event.data).decode() for event in record.batch.events or ())


@settings(max_examples=150)
@given(events=EVENTS, attributes=ATTRIBUTES, deleted=st.lists(NAMES.map(marked), max_size=2), data=st.data())
def test_no_blocked_name_is_within_reach_of_a_destination(
    events: Sequence[Any], attributes: Any, deleted: Any, data: st.DataObject
) -> None:
    batch = {"events": events, "user_attributes": attributes, "deleted_user_attributes": deleted}
    names = names_in(batch)
    blocked = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    spelled = [data.draw(st.sampled_from([name, name.upper(), f" {name}"])) for name in blocked]
    filters = {
        "event_names": {"block": spelled},
        "screen_names": {"block": spelled},
        "event_attributes": {"block": {"*": spelled}},
        "screen_attributes": {"block": {"*": spelled}},
        "commerce_attributes": {"block": spelled},
        "user_attributes": {"block": spelled},
    }
    body = msgspec.json.encode(batch)
    kept, skipped = filtered(filters, body)
    for record in kept:
        for text in reachable(record):
            for name in blocked:
                assert folded(name) not in text.lower()
    assert len(kept) + len(skipped) == len(records_of(body))
    # What holds no blocked name, in any case, is all there.
    lower = {folded(name) for name in blocked}
    texts = "".join(text for record in kept for text in reachable(record))
    for event in events:
        if not {folded(name) for name in names_in(event)} & lower:
            assert all(name in texts for name in names_in(event))


@given(kinds=st.lists(st.sampled_from(DEVICE_IDENTITIES), unique=True))
def test_no_blocked_device_identity_is_within_reach(kinds: Sequence[str]) -> None:
    device = {name: f"{MARK}{name}" for name in (*DEVICE_IDENTITIES, "google_advertising_id")}
    kept, _ = filtered({"device_identities": {"block": kinds}}, event_batch(device_info=device))
    text = "".join(reachable(kept[0]))
    for name in DEVICE_IDENTITIES:
        assert (f"{MARK}{name}" in text) == (name not in kinds)
    assert (f"{MARK}google" in text) == ("android_advertising_id" not in kinds)
