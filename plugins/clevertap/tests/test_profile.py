"""User attributes and identities → profile records."""

from collections.abc import Callable
from typing import Any

import pytest
from router_clevertap.mapping import Mapped, map_record
from router_clevertap.settings import ClevertapConnection

from router_core.records import Record

Make = Callable[..., Record]


def mapped(record: Record, **settings: Any) -> Mapped:
    return map_record(record, ClevertapConnection(**settings))


def profile_data(record: Record, **settings: Any) -> Any:
    return mapped(record, **settings).items[0]["profileData"]


def test_a_profile_update_holds_identities_attributes_and_deletions(record: Make) -> None:
    update = record(
        "profile_update",
        user_identities={
            "customerid": "cust-1",
            "email": "a.user@example.com",
            "mobile_number": "+35922333232",
            "facebook": "fb-1",
            "google": "g-1",
            "twitter": "t-1",
        },
        user_attributes={"$FirstName": "Ada", "$lastname": "Lovelace", "plan": "gold", "score": 7, "vip": True},
        deleted_user_attributes=["old", "$Mobile", "birthday"],
    )
    assert mapped(update).items == (
        {
            "type": "profile",
            "identity": "cust-1",
            "ts": 1_700_000_100,
            "profileData": {
                "Email": "a.user@example.com",
                "Phone": "+35922333232",
                "FBID": "fb-1",
                "GPID": "g-1",
                "FirstName": "Ada",
                "LastName": "Lovelace",
                "Name": "Ada Lovelace",
                "plan": "gold",
                "score": 7,
                "vip": True,
                "old": {"$delete": True},
                "DOB": {"$delete": True},  # a deleted phone is still an identity here, so it stays
            },
        },
    )


@pytest.mark.parametrize(
    ("attributes", "data", "notes"),
    [
        ({"$Gender": "female", "$age": "36"}, {"Gender": "F", "Age": 36}, []),
        ({"name": "Ada L", "$firstname": "Ada"}, {"Name": "Ada L", "FirstName": "Ada"}, []),
        ({"$lastname": "L"}, {"LastName": "L", "Name": "L"}, []),
        ({"birthday": "1970-01-02"}, {"DOB": "$D_86400"}, []),
        (
            {"birthday": "in May"},
            {"birthday": "in May"},
            [("invalid_field", "birthday"), ("attribute_kept_as_text", "birthday")],
        ),
        ({"DOB": "in May", "a": 1}, {"a": 1}, [("invalid_field", "DOB")]),
        ({"$Mobile": "223", "a": 1}, {"a": 1}, [("invalid_field", "$Mobile")]),
        ({"$City": "Paris", "$zip": "75"}, {"City": "Paris", "Zip": "75"}, []),
        ({"Email": "1234", "a": 1}, {"a": 1}, [("invalid_field", "Email")]),
        ({"email": "1234", "a": 1}, {"a": 1}, [("invalid_field", "email")]),
        ({"email": "a@b.example", "EMAIL": "c@d.example"}, {"Email": "a@b.example"}, [("key_collision", "EMAIL")]),
        ({"customer type": "vip", "msg-SMS": "false"}, {"Customer Type": "vip", "MSG-sms": False}, []),
        ({"tags": ["a", "b"]}, {"tags": {"$set": ["a", "b"]}}, []),
        ({"tags": ["a", "b", "a", 3, None, ""]}, {"tags": {"$set": ["a", "b", "3"]}}, [("list_changed", "tags")]),
        ({"category-unsubscribe": {"email": ["Offers"]}}, {"category-unsubscribe": {"email": ["Offers"]}}, []),
        ({"category-resubscribe": '{"sms":["A","A"]}'}, {"category-resubscribe": {"sms": ["A"]}}, []),
        ({"category-unsubscribe": "email", "a": 1}, {"a": 1}, [("invalid_field", "category-unsubscribe")]),
        ({"category-unsubscribe": {"email": [1]}, "a": 1}, {"a": 1}, [("invalid_field", "category-unsubscribe")]),
        ({"joined": "2023-11-14T22:13:20Z"}, {"joined": "$D_1700000000"}, [("date_converted", "joined")]),
        ({"tags": []}, {"tags": {"$delete": True}}, []),
        ({"tags": [None], "a": 1}, {"a": 1}, [("empty_value", "tags")]),
        ({"Gender": ["F"], "a": 1}, {"a": 1}, [("invalid_field", "Gender")]),
        ({"email": ["a", "b"], "a": 1}, {"a": 1}, [("invalid_field", "email")]),
        ({"home": {"city": "Paris"}}, {"home": '{"city":"Paris"}'}, [("nested_as_text", "home")]),
        ({"tag": None, "a": 1}, {"a": 1}, [("empty_value", "tag")]),
        ({"long": "x" * 600}, {"long": "x" * 512}, [("value_cut", "long")]),
        ({"big": 2**70}, {"big": str(2**70)}, [("number_as_text", "big")]),
        ({"a.b": 1}, {"ab": 1}, [("key_changed", "a.b")]),
        ({"$own": 1}, {"own": 1}, []),
        ({"wzrk_x": 1, "CT y": 2, "a": 1}, {"a": 1}, [("reserved_key", "wzrk_x"), ("reserved_key", "CT y")]),
        ({"Identity": "x", "fbid": "y", "a": 1}, {"a": 1}, [("reserved_key", "Identity"), ("reserved_key", "fbid")]),
        ({"gender": "x", "$Gender": "F"}, {"Gender": "F"}, [("invalid_field", "gender")]),
        ({"MSG-email": "false"}, {"MSG-email": False}, []),
    ],
)
def test_an_attribute_becomes_a_field_or_a_property(
    record: Make, attributes: dict[str, Any], data: dict[str, Any], notes: list[tuple[str, str]]
) -> None:
    result = mapped(record("profile_update", user_attributes=attributes))
    assert result.items[0]["profileData"] == data
    assert list(result.notes) == notes


def test_of_a_long_list_the_last_hundred_are_sent(record: Make) -> None:
    update = record("profile_update", user_attributes={"l": [str(n) for n in range(150)]})
    assert profile_data(update) == {"l": {"$set": [str(n) for n in range(50, 150)]}}


def test_a_bad_identity_field_costs_only_itself(record: Make) -> None:
    identities = {"customer_id": "c", "email": "nonsense", "mobile_number": "123", "google": "g"}
    result = mapped(record("profile_update", user_identities=identities))
    assert result.items[0]["profileData"] == {"GPID": "g"}
    assert result.notes == (("invalid_field", "email"), ("invalid_field", "mobile_number"))


def test_an_attribute_does_not_displace_an_identity(record: Make) -> None:
    identities = {"customer_id": "c", "email": "a@example.com"}
    update = record("profile_update", user_identities=identities, user_attributes={"Email": "other@example.com"})
    assert profile_data(update) == {"Email": "a@example.com"}


def test_what_is_set_wins_over_what_is_deleted(record: Make) -> None:
    update = record("profile_update", user_attributes={"plan": "gold"}, deleted_user_attributes=["plan"])
    result = mapped(update)
    assert (result.items[0]["profileData"], result.notes) == ({"plan": "gold"}, ())


def test_a_profile_that_would_say_nothing_is_skipped(record: Make) -> None:
    outcome = mapped(record("profile_update", user_attributes={})).outcome
    assert outcome is not None
    assert (outcome.disposition, outcome.code) == ("skipped", "nothing_to_say")


def test_the_customer_id_is_added_where_another_identity_names_the_user(record: Make) -> None:
    identities = {"customer_id": "cust-1", "email": "a@example.com"}
    result = mapped(record("profile_update", user_identities=identities), user_id="email")
    assert result.items[0]["identity"] == "a@example.com"
    assert result.items[0]["profileData"] == {"identity": "cust-1", "Email": "a@example.com"}


@pytest.mark.parametrize(
    ("change", "data"),
    [
        ({"user_attribute_name": "plan", "new": "gold", "old": "silver", "deleted": False}, {"plan": "gold"}),
        ({"user_attribute_name": "$Gender", "new": "F", "deleted": False}, {"Gender": "F"}),
        ({"user_attribute_name": "plan", "new": None, "old": "gold", "deleted": True}, {"plan": {"$delete": True}}),
        ({"user_attribute_name": "name", "new": None, "old": "Ada"}, {"Name": {"$delete": True}}),
        ({"user_attribute_name": "tags", "new": ["a"]}, {"tags": {"$set": ["a"]}}),
        ({"user_attribute_name": "$FirstName", "new": "Ada"}, {"FirstName": "Ada", "Name": "Ada Byron"}),
    ],
)
def test_an_attribute_change_is_a_profile_of_one_attribute(
    record: Make, change: dict[str, Any], data: dict[str, Any]
) -> None:
    event = record("user_attribute_change", change, user_attributes={"$lastname": "Byron", "plan": "x"})
    assert mapped(event).items == ({"type": "profile", "identity": "cust-1", "ts": 1_700_000_000, "profileData": data},)


def test_a_change_to_an_attribute_without_a_value_is_a_tag(record: Make) -> None:
    change = {"user_attribute_name": "beta", "new": None, "old": None, "deleted": False}
    result = mapped(record("user_attribute_change", change))
    assert result.items[0]["profileData"] == {"beta": True}
    assert result.notes == (("null_as_tag", "beta"),)


@pytest.mark.parametrize(
    ("choice", "channel", "sent"),
    [
        ("by_source", "javascript", True),
        ("by_source", "native", True),
        ("by_source", "server_to_server", False),
        ("by_source", "partner", False),
        ("tag", "server_to_server", True),
        ("leave_out", "javascript", False),
    ],
)
def test_a_null_attribute_is_a_tag_where_it_can_only_be_one(
    record: Make, choice: str, channel: str, sent: bool
) -> None:
    update = record("profile_update", user_attributes={"beta": None, "$age": None, "a": 1}, channel=channel)
    result = mapped(update, null_attributes=choice)
    assert result.items[0]["profileData"] == ({"beta": True, "a": 1} if sent else {"a": 1})
    assert {note.key: note.code for note in result.notes} == {
        "$age": "empty_value",
        "beta": "null_as_tag" if sent else "empty_value",
    }


@pytest.mark.parametrize(
    ("attributes", "deleted", "data"),
    [
        ({}, ["$FirstName"], {"FirstName": {"$delete": True}, "Name": {"$delete": True}}),
        ({"$LastName": "L"}, ["$FirstName"], {"LastName": "L", "Name": "L", "FirstName": {"$delete": True}}),
        ({"name": "Ada L"}, ["$LastName"], {"Name": "Ada L", "LastName": {"$delete": True}}),
        ({}, ["$FirstName", "$LastName", "name"],
         {"FirstName": {"$delete": True}, "Name": {"$delete": True}, "LastName": {"$delete": True}}),
    ],
)  # fmt: skip
def test_a_deleted_part_of_the_name_goes_out_of_it(record: Make, attributes: Any, deleted: Any, data: Any) -> None:
    result = mapped(record("profile_update", user_attributes=attributes, deleted_user_attributes=deleted))
    assert result.items[0]["profileData"] == data


@pytest.mark.parametrize(
    ("attributes", "data"),
    [
        ({}, {"FirstName": {"$delete": True}, "Name": {"$delete": True}}),
        ({"$LastName": "L", "$firstname": "Ada"}, {"FirstName": {"$delete": True}, "Name": "L"}),
        ({"name": "Ada L"}, {"FirstName": {"$delete": True}}),
    ],
)
def test_a_change_that_deletes_a_part_of_the_name_does_so_too(record: Make, attributes: Any, data: Any) -> None:
    change = {"user_attribute_name": "$FirstName", "new": None, "deleted": True}
    assert profile_data(record("user_attribute_change", change, user_attributes=attributes)) == data


def test_nested_attributes_can_be_flattened(record: Make) -> None:
    attributes = {"home": {"city": "Paris", "geo": {"lat": 1}}, "home_city": "Rome", "work": {}}
    result = mapped(record("profile_update", user_attributes=attributes), nested_values="flatten")
    assert result.items[0]["profileData"] == {"home_city": "Rome", "home_geo_lat": 1}
    assert result.notes == (
        ("nested_flattened", "home"),
        ("key_collision", "home_city"),
        ("empty_value", "work"),
    )


def test_phone_numbers_of_one_country_need_no_code(record: Make) -> None:
    update = record("profile_update", user_identities={"customer_id": "c", "mobile_number": "(415) 555-0100"})
    assert mapped(update).outcome is not None
    assert profile_data(update, phone_region="us") == {"Phone": "+14155550100"}


def test_an_id_that_is_too_long_is_left_out_not_cut(record: Make) -> None:
    identities = {"customer_id": "c", "facebook": "f" * 121, "google": "g"}
    result = mapped(record("profile_update", user_identities=identities))
    assert result.items[0]["profileData"] == {"GPID": "g"}
    assert result.notes == (("invalid_field", "facebook"),)


@pytest.mark.parametrize(
    ("new", "old", "data"),
    [
        ({"identity_type": "email", "identity": "a@example.com"}, None, {"Email": "a@example.com"}),
        ({"identity_type": "mobile_number", "identity": "+14155550100"}, None, {"Phone": "+14155550100"}),
        ({"identity_type": "facebook", "identity": 12}, None, {"FBID": "12"}),
        (None, {"identity_type": "email", "identity": "a@example.com"}, {"Email": {"$delete": True}}),
        ({"identity_type": "google", "identity": None}, {"identity_type": "google", "identity": "g"},
         {"GPID": {"$delete": True}}),
    ],
)  # fmt: skip
def test_an_identity_change_is_a_profile_of_one_identity(record: Make, new: Any, old: Any, data: Any) -> None:
    assert profile_data(record("user_identity_change", {"new": new, "old": old})) == data


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ({"identity_type": "customer_id", "identity": "cust-1"}, None),
        (None, {"identity_type": "customer_id", "identity": "cust-0"}),
        ({"identity_type": "other", "identity": "o"}, None),
        ({"identity_type": None, "identity": "o"}, None),
        (None, None),
    ],
)
def test_an_identity_change_that_cleverTap_has_no_word_for_is_skipped(record: Make, new: Any, old: Any) -> None:
    outcome = mapped(record("user_identity_change", {"new": new, "old": old})).outcome
    assert outcome is not None
    assert (outcome.disposition, outcome.code) == ("skipped", "nothing_to_say")
