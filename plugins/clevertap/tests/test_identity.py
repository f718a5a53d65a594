"""Who a record is about: the order of the ids, each step a setting."""

from collections.abc import Callable
from typing import Any

import pytest
from router_clevertap.identity import RootFinder
from router_clevertap.settings import ClevertapConnection

from router_core.records import Record

Make = Callable[..., Record]
GIVEN = "__0123456789abcdef0123456789abcdef"
BATCH: dict[str, Any] = {
    "user_identities": {
        "customer_id": "c-1",
        "email": "a@example.com",
        "mobile_number": "+1 415 555 0100",
        "facebook": "fb-1",
        "google": "g-1",
    },
    "integration_attributes": {"135": {"clevertap_id_integration_setting": GIVEN}},
    "device_info": {"ios_idfv": "0AB1C2D3-E4F5-4678-9ABC-DEF012345678"},
    "mpid": "77",
}
ALL_STEPS = {"derive_clevertap_id": True, "fall_back_to_other_identities": True, "fall_back_to_mpid": True}
ORDER = [
    ("identity", "c-1", ["customer_id"]),
    ("objectId", GIVEN, ["integration_attributes"]),
    ("objectId", "-v0ab1c2d3e4f546789abcdef012345678", ["device_info"]),
    ("identity", "a@example.com", ["email"]),
    ("identity", "+14155550100", ["mobile_number"]),
    ("FBID", "fb-1", ["facebook"]),
    ("GPID", "g-1", ["google"]),
    ("identity", "77", ["mpid"]),
]


def found(record: Make, batch: dict[str, Any], **settings: Any) -> Any:
    made = record(data={"event_name": "A"}, **batch)
    return RootFinder(ClevertapConnection(**settings)).find(made.batch)


def without(names: list[str]) -> dict[str, Any]:
    batch = {key: value for key, value in BATCH.items() if key not in names}
    return batch | {"user_identities": {k: v for k, v in BATCH["user_identities"].items() if k not in names}}


@pytest.mark.parametrize("step", range(len(ORDER) + 1))
def test_the_order_of_the_ids(record: Make, step: int) -> None:
    batch = without([name for _, _, names in ORDER[:step] for name in names])
    root = found(record, batch, **ALL_STEPS).root
    assert root == (ORDER[step][:2] if step < len(ORDER) else None)


@pytest.mark.parametrize(
    ("settings", "gone", "root"),
    [
        ({"use_clevertap_id": False}, [], None),
        ({}, ["integration_attributes"], None),
        ({"derive_clevertap_id": True}, ["integration_attributes"], ORDER[2][:2]),
        ({"fall_back_to_other_identities": True}, ["integration_attributes"], ORDER[3][:2]),
        ({"fall_back_to_mpid": True}, ["integration_attributes"], ORDER[7][:2]),
        ({}, [], ORDER[1][:2]),
    ],
)
def test_each_step_is_taken_only_if_its_setting_is_on(
    record: Make, settings: dict[str, Any], gone: list[str], root: Any
) -> None:
    assert found(record, without(["customer_id", *gone]), **settings).root == root


@pytest.mark.parametrize(
    ("identities", "root"),
    [
        ({"email": "nonsense", "mobile_number": "123", "facebook": "f" * 121, "google": "g"}, ("GPID", "g")),
        ({"email": "nonsense", "mobile_number": "123"}, None),
        ({"mobile_number": "0415 555 0100"}, None),
    ],
)
def test_a_fallback_that_cleverTap_would_refuse_is_passed_over(record: Make, identities: Any, root: Any) -> None:
    settings = {"fall_back_to_other_identities": True}
    assert found(record, {"user_identities": identities}, **settings).root == root


def test_an_id_that_is_too_long_is_none_and_is_noted(record: Make) -> None:
    batch = {**BATCH, "user_identities": {"customer_id": "x" * 121}}
    assert found(record, batch) == (("objectId", GIVEN), GIVEN, (("bad_identity", "customer_id"),))
    assert found(record, {**BATCH, "user_identities": {"customer_id": "x" * 120}}).root == ("identity", "x" * 120)


@pytest.mark.parametrize("word", ["undefined", "NULL", " none ", "NaN", "[object Object]", GIVEN, "-v" + GIVEN[2:]])
def test_a_word_for_nothing_and_a_devices_id_name_no_person(record: Make, word: str) -> None:
    batch = {"user_identities": {"customer_id": word}}
    assert found(record, batch) == (None, "", (("bad_identity", "customer_id"),))


@pytest.mark.parametrize(
    ("settings", "gone", "device"),
    [
        ({}, [], GIVEN),
        ({"link_anonymous": False}, [], ""),
        ({"use_clevertap_id": False}, [], ""),
        ({}, ["integration_attributes"], ""),
        ({"derive_clevertap_id": True}, ["integration_attributes"], ""),
        ({"link_derived_ids": True}, ["integration_attributes"], ORDER[2][1]),
        ({"link_derived_ids": True}, [], GIVEN),
    ],
)
def test_which_device_may_be_linked(record: Make, settings: dict[str, Any], gone: list[str], device: str) -> None:
    assert found(record, without(gone), **settings).device == device
