"""The hashes that kits get, by recorded vectors of the web SDK; and that they block what the router blocks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_core.filters import Filtering, Filters
from router_core.kitfilters import Encoding, KitFilters, filter_hash, kit_filters
from router_core.taxonomy import COMMERCE_NUMBERS, CUSTOM_EVENT_NUMBERS
from router_core.testing import custom_event, event_batch, records_of

VECTORS = json.loads((Path(__file__).parent / "kit_hashes.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["purpose"])
def test_the_hash_is_that_of_the_web_sdk(vector: dict[str, Any]) -> None:
    assert filter_hash(vector["input"]) == vector["hash"]
    if vector["input"].isascii():
        assert filter_hash(vector["input"], Encoding.UTF_8) == vector["hash"]


def test_nothing_hashes_to_zero_and_apple_hashes_bytes() -> None:
    assert filter_hash(None) == 0
    assert (filter_hash("Köln"), filter_hash("Köln", Encoding.UTF_8)) == (3427501, 104804352)


def kit(encoding: Encoding = Encoding.UTF_16, **filters: Any) -> KitFilters:
    return kit_filters(Filters.model_validate(filters), encoding)


LISTS = [
    ({"event_types": {"block": ["navigation"]}}, "event_types", {49}),
    ({"commerce": {"block": ["add_to_cart", "purchase"]}}, "event_types", {1567, 1573}),
    ({"event_types": {"block": ["attribution"]}}, "event_types", set()),
    ({"screen_names": {"block": ["Shop Home"]}}, "screen_names", {1289988505}),
    ({"screen_attributes": {"block": {"Shop Home": ["section"]}}}, "screen_attributes", {794789676}),
    ({"user_attributes": {"block": ["plan", "$FirstName"]}}, "user_attributes", {3443497, 1649237399}),
    ({"user_identities": {"block": ["email", "customer_id"]}}, "user_identities", {1, 7}),
    ({"user_identities": {"block": ["alias", "other_id_10", "mobile_number"]}}, "user_identities", {8, 18, 19}),
]


@pytest.mark.parametrize(("filters", "name", "numbers"), LISTS)
def test_each_list_has_the_hashes_of_the_recorded_vectors(filters: Any, name: str, numbers: set[int]) -> None:
    found = kit(**filters)
    assert set(getattr(found, name)) == numbers
    assert found.unexpressed == ()


def test_a_name_is_blocked_for_all_types_of_events() -> None:
    names = kit(event_names={"block": ["Video Watched"]}).event_names
    assert 1727231608 in names  # recorded, for navigation
    assert set(names) == {filter_hash(f"{number}Video Watched") for number in range(10)}
    attributes = kit(event_attributes={"block": {"Video Watched": ["category"]}}).event_attributes
    assert -768328842 in attributes
    assert len(attributes) == 10


def test_lists_of_what_is_allowed_become_lists_of_the_others_where_all_are_known() -> None:
    found = kit(event_types={"allow": ["navigation"]}, commerce={"allow": ["purchase"]}, user_identities={"allow": []})
    numbers = {*CUSTOM_EVENT_NUMBERS.values(), *COMMERCE_NUMBERS.values()}
    assert set(found.event_types) == {filter_hash(str(number)) for number in numbers - {1, 16}}
    assert list(found.user_identities) == list(range(22))
    assert found.unexpressed == ()


@pytest.mark.parametrize(
    ("filters", "unexpressed"),
    [
        ({"event_names": {"allow": ["a"]}}, {"event_names"}),
        ({"event_attributes": {"block": {"*": ["a"]}}}, {"event_attributes"}),
        ({"screen_attributes": {"allow": {"a": ["b"]}}}, {"screen_attributes"}),
        ({"commerce_attributes": {"block": ["a"]}}, {"commerce_attributes"}),
        ({"device_identities": {"block": ["amp_id"]}}, set()),
        ({"send_new_data_points": False, "event_types": {"allow": ["other"]}},
         {"event_names", "event_attributes", "screen_names", "screen_attributes", "user_attributes",
          "commerce_attributes"}),
    ],
)  # fmt: skip
def test_what_a_kit_cannot_be_told_is_named(filters: Any, unexpressed: set[str]) -> None:
    assert set(kit(**filters).unexpressed) == unexpressed


NAMES = st.text(min_size=1, max_size=6).map(str.strip).filter(bool)


@given(
    blocked=st.lists(NAMES, max_size=4), name=NAMES, kind=st.sampled_from([*CUSTOM_EVENT_NUMBERS]),
    encoding=st.sampled_from(Encoding), pick=st.booleans(),
)  # fmt: skip
def test_a_kit_blocks_every_name_that_the_router_blocks(
    blocked: list[str], name: str, kind: Any, encoding: Encoding, pick: bool
) -> None:
    name = blocked[0].upper() if pick and blocked and blocked[0].upper().lower() == blocked[0].lower() else name
    filters = Filters.model_validate({"event_names": {"block": blocked}})
    records = records_of(event_batch(custom_event(name, custom_event_type=kind)))
    kept, _ = Filtering(filters, "f")(records)
    hashed = filter_hash(f"{CUSTOM_EVENT_NUMBERS[kind]}{name}", encoding)
    if not kept:
        assert hashed in kit_filters(filters, encoding).event_names
    every = Filters.model_validate({
        "screen_names": {"block": blocked},
        "user_attributes": {"block": blocked},
        "event_attributes": {"block": {name: [one for one in blocked if one != "*"]}} if name != "*" else None,
        "screen_attributes": {"block": {name: [one for one in blocked if one != "*"]}} if name != "*" else None,
    })  # fmt: skip
    known = kit_filters(every, encoding)
    for one in blocked:
        assert filter_hash(f"0{one}", encoding) in known.screen_names
        assert filter_hash(one.lower(), encoding) in known.user_attributes
        if "*" not in (one, name):
            assert filter_hash(f"{CUSTOM_EVENT_NUMBERS[kind]}{name}{one}", encoding) in known.event_attributes
            assert filter_hash(f"0{name}{one}", encoding) in known.screen_attributes
