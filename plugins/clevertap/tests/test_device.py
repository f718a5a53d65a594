"""CleverTap IDs of devices."""

from typing import Any

import msgspec
import pytest
from router_clevertap.device import derived_clevertap_id, given_clevertap_id

from router_core.events import EventBatch

HEX = "0123456789abcdef0123456789abcdef"
UUID = "01234567-89AB-CDEF-0123-456789ABCDEF"
ZERO = "00000000-0000-0000-0000-000000000000"


def batch(**fields: Any) -> EventBatch:
    return msgspec.convert(fields, EventBatch)


@pytest.mark.parametrize(
    "value",
    [f"__{HEX}", f"__g{HEX}", f"__i{HEX}", "__hmy-id", f"-{HEX}", f"-v{HEX}", f"-g{HEX}", "-hA.b", HEX, "_w_abc"],
)
def test_an_id_in_a_form_of_cleverTaps_sdks_is_taken_verbatim(value: str) -> None:
    attributes = {"135": {"clevertap_id_integration_setting": value}}
    assert given_clevertap_id(batch(integration_attributes=attributes)) == (value, ())


@pytest.mark.parametrize(
    "value", ["a b", "x" * 121, 12, "a/b", ["x"], "__g123", UUID, f"__g{'0' * 32}", f"-v{'0' * 32}", f"__{HEX} "]
)
def test_any_other_id_would_make_a_ghost_and_is_noted(value: Any) -> None:
    attributes = {"135": {"clevertap_id_integration_setting": value}}
    assert given_clevertap_id(batch(integration_attributes=attributes)) == (
        "",
        (("bad_clevertap_id", "clevertap_id_integration_setting"),),
    )


@pytest.mark.parametrize("attributes", [None, {}, {"135": {}}, {"28": {"a": "b"}}])
def test_no_id_is_no_fault(attributes: Any) -> None:
    assert given_clevertap_id(batch(integration_attributes=attributes)) == ("", ())


@pytest.mark.parametrize(
    ("device", "id"),
    [
        ({"ios_idfv": UUID, "ios_advertising_id": UUID}, f"-v{HEX}"),
        ({"ios_idfv": f" {{{UUID}}} "}, f"-v{HEX}"),
        ({"ios_idfv": ZERO, "ios_advertising_id": UUID}, f"-g{HEX}"),
        ({"ios_advertising_id": UUID, "att_authorization_status": "authorized", "limit_ad_tracking": True}, f"-g{HEX}"),
        ({"ios_advertising_id": UUID, "att_authorization_status": "denied"}, ""),
        ({"ios_advertising_id": UUID, "limit_ad_tracking": True}, ""),
        ({"android_advertising_id": UUID, "android_uuid": "0123456789abcdef"}, f"__g{HEX}"),
        ({"google_advertising_id": UUID}, f"__g{HEX}"),
        ({"android_advertising_id": UUID, "limit_ad_tracking": True}, ""),
        ({"android_advertising_id": ZERO, "android_uuid": "0123456789ABCDEF"}, "__h0123456789abcdef"),
        ({"android_advertising_id": "12345678-0000-0000-1234-567812345678"}, ""),
        ({"android_uuid": "123"}, ""),
        ({"ios_idfv": 12}, ""),
        ({}, ""),
    ],
)
def test_an_id_is_derived_as_the_sdk_makes_it(device: dict[str, Any], id: str) -> None:
    assert derived_clevertap_id(batch(device_info=device)) == id


def test_without_a_device_nothing_is_derived() -> None:
    assert derived_clevertap_id(batch()) == ""
