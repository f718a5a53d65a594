"""Whoever a batch names is found, in whatever spelling."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_core.events import IDENTITY_ALIASES, UserIdentity, batch_from_json
from router_core.identifiers import TYPES, as_sent, identifiers_in, identifiers_of, integration_of, spelled, type_of


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("email", ["a@b.c", "A@B.C", " a@b.C "]),
        ("mobile_number", ["+44 20 7946-0001", "00442079460001", "442079460001"]),
        ("ios_idfv", ["6F0F0E0A-0000-4ADA-8ADA-000000001815", "{6f0f0e0a00004ada8ada000000001815}"]),
        ("mpid", [8123456789012345678, "8123456789012345678"]),
        ("customer_id", ["7", 7, 7.0, " 7"]),
        ("customer_id", ["Zoe\u0301", "Zo\u00e9"]),
    ],
)
def test_spellings_that_mean_the_same_are_one(kind: str, values: list[Any]) -> None:
    assert len({spelled(kind, value) for value in values}) == 1
    assert spelled(kind, values[0])


@pytest.mark.parametrize(
    ("kind", "value"),
    [("mpid", 0), ("mpid", "0"), ("email", "  "), ("customer_id", True), ("customer_id", None), ("customer_id", {}),
     ("ios_advertising_id", "00000000-0000-0000-0000-000000000000")],
)  # fmt: skip
def test_what_names_nobody_is_empty(kind: str, value: Any) -> None:
    assert spelled(kind, value) == ""


def test_customer_ids_keep_their_case() -> None:
    assert spelled("customer_id", "Ada") != spelled("customer_id", "ada")


@pytest.mark.parametrize("name", [*IDENTITY_ALIASES, *TYPES, "customerId", "CUSTOMER_ID", "phone"])
def test_clients_spellings_of_types_are_known(name: str) -> None:
    assert type_of(name) in TYPES


def test_an_unknown_type_is_none() -> None:
    assert type_of("shoe_size") is None


def test_everything_that_names_somebody_is_found() -> None:
    body = {
        "user_identities": {"customerid": 5, "Email": "A@b.c", "other2": "o", "shoe": "9", "yahoo": None},
        "mpid": 17, "mp_deviceid": "D-1",
        "device_info": {"ios_idfv": "V-1", "brand": "x", "google_advertising_id": "G-1"},
        "integration_attributes": {"135": {"clevertap_id_integration_setting": "__ct"}, "x": {}},
        "events": [
            {"event_type": "user_identity_change", "data": {
                "new": {"identity_type": "email", "identity": "New@b.c"},
                "old": {"identity_type": 1, "identity": "c-0"}}},
            {"event_type": "profile", "data": {"current_mpid": 18, "previous_mpid": None}},
            {"event_type": "custom_event", "data": {"event_name": "n", "custom_attributes": {"email": "not@me"}}},
        ],
    }  # fmt: skip
    for found in (
        identifiers_in(json.dumps(body).encode()),
        identifiers_of(batch_from_json(json.dumps(body).encode())),
    ):
        assert found is not None
        assert set(found.own) == {
            ("customer_id", "5"), ("email", "a@b.c"), ("other_id_2", "o"), ("mpid", "17"), ("mp_deviceid", "d1"),
            ("ios_idfv", "v1"), ("android_advertising_id", "g1"),
            ("integration:135:clevertap_id_integration_setting", "__ct"),
        }  # fmt: skip
        assert set(found.in_events) == {("email", "new@b.c"), ("customer_id", "c-0"), ("mpid", "18")}


def test_as_sent_keeps_what_the_partner_was_told() -> None:
    found = identifiers_in(b'{"user_identities":{"email":"A@B.c","mobile_number":"+44 1"}}', as_sent)
    assert found is not None
    assert found.own == [("email", "A@B.c"), ("mobile_number", "+44 1")]


def test_integration_types_tell_module_and_key() -> None:
    assert integration_of("integration:135:a:b") == (135, "a:b")
    assert integration_of("integration:x:a") is None
    assert integration_of("email") is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b"\xff\xfe", b"[" * 5000])
def test_what_is_no_batch_names_nobody_and_does_no_harm(body: bytes) -> None:
    found = identifiers_in(body)
    assert found is None or (found.own, found.in_events) == ([], [])


@pytest.mark.parametrize("body", [
    b'{"events":5,"user_identities":{"customer_id":"c"}}',
    b'{"events":[5],"user_identities":{"customer_id":"c"}}',
    b'{"device_info":"x","user_identities":{"customer_id":"c"}}',
])  # fmt: skip
def test_a_field_of_the_wrong_type_hides_nobody(body: bytes) -> None:
    found = identifiers_in(body)
    assert found is not None
    assert ("customer_id", "c") in found.own


def escaped(text: str, choice: list[bool]) -> str:
    """A JSON string with some of its characters written as escapes."""
    pieces = []
    for index, character in enumerate(text):
        if choice and choice[index % len(choice)]:
            units = character.encode("utf-16-be")
            pieces += [f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2)]
        else:
            pieces.append(json.dumps(character, ensure_ascii=False)[1:-1])
    return '"' + "".join(pieces) + '"'


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20).filter(str.strip)


@given(TEXTS, st.sampled_from(sorted(IDENTITY_ALIASES)), st.lists(st.booleans(), max_size=5))
def test_no_escape_hides_a_value_or_its_type(value: str, alias: str, choice: list[bool]) -> None:
    body = f'{{"user_identities": {{{escaped(alias, choice)}: {escaped(value, choice)}}}}}'.encode()
    kind = IDENTITY_ALIASES[alias].value
    wanted = [(kind, spelled(kind, value))] if spelled(kind, value) else []
    found = identifiers_in(body)
    assert found is not None
    assert found.own == wanted
    assert identifiers_of(batch_from_json(body)).own == wanted


def test_numbered_types_of_change_events_are_mparticles() -> None:
    for number, identity in (
        (0, "other"),
        (1, "customer_id"),
        (7, "email"),
        (10, "other_id_2"),
        (21, "phone_number_3"),
    ):
        body = json.dumps({"events": [{"event_type": "user_identity_change", "data": {
            "new": {"identity_type": number, "identity": "12345"}}}]}).encode()  # fmt: skip
        found = identifiers_in(body)
        assert found is not None
        assert found.in_events == [(UserIdentity(identity).value, "12345")]
