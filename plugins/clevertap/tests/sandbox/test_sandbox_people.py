"""What becomes of accepted records: people, links, merges, operations."""

from typing import Any

import pytest
from router_clevertap.sandbox import SandboxServer

DEVICE = "__g" + "a" * 32


def profile(root: str = "u1", /, **data: Any) -> dict[str, Any]:
    return {"type": "profile", "identity": root, "profileData": data}


def device(object_id: str = DEVICE, **data: Any) -> dict[str, Any]:
    return {"type": "profile", "objectId": object_id, "profileData": data}


def event(name: str, root: str = "identity", value: Any = "u1", **changes: Any) -> dict[str, Any]:
    return {"type": "event", root: value, "evtName": name, "evtData": {}} | changes


def person(sandbox: SandboxServer, **asked: str) -> dict[str, Any]:
    record = sandbox.profile(**asked)
    assert record is not None
    return record


def ids(record: dict[str, Any]) -> set[str]:
    return {entry["value"] for entry in record["sandbox"]["ids"]}


def test_an_unknown_id_makes_a_profile(sandbox: SandboxServer) -> None:
    sandbox.upload(event("Seen", identity="ghost"))
    assert person(sandbox, identity="ghost")["profileData"] == {}


def test_ids_are_compared_as_text(sandbox: SandboxServer) -> None:
    sandbox.upload(profile("18", Name="A"), event("Seen", value=18))
    assert sandbox.stats()["people"] == 1
    assert person(sandbox, identity="18")["events"]["Seen"]["count"] == 1


def test_updates_overwrite_single_properties_and_leave_the_others(sandbox: SandboxServer) -> None:
    sandbox.upload(profile(Plan="free", Town="Sofia"))
    sandbox.upload(profile(Plan="pro"))
    assert person(sandbox, identity="u1")["profileData"] == {"Plan": "pro", "Town": "Sofia"}


def test_email_and_phone_are_stored_and_email_finds_the_person(sandbox: SandboxServer) -> None:
    sandbox.upload(profile(Name="A", Email="a@b.example", Phone="+35922333232"))
    record = person(sandbox, email="a@b.example")
    assert (record["name"], record["email"], record["identity"]) == ("A", "a@b.example", "u1")
    assert record["profileData"]["Phone"] == 35922333232


def test_a_device_and_an_identity_are_linked_by_one_record(sandbox: SandboxServer) -> None:
    sandbox.upload(event("Before", "objectId", DEVICE))
    sandbox.upload(device(identity="u1", Plan="pro"))
    sandbox.upload(event("After"))
    record = person(sandbox, identity="u1")
    assert record == person(sandbox, object_id=DEVICE)
    assert ids(record) == {DEVICE, "u1"}
    assert set(record["events"]) == {"Before", "After"}
    assert "identity" not in record["profileData"]
    assert sandbox.stats()["people"] == 1


def test_linking_to_a_known_person_merges_the_two(sandbox: SandboxServer) -> None:
    sandbox.upload(profile(Plan="free", Town="Sofia"), event("Seen", ts=200))
    sandbox.upload(device(Plan="pro"), event("Seen", "objectId", DEVICE, ts=100))
    sandbox.upload(device(identity="u1"))
    record = person(sandbox, identity="u1")
    assert record["profileData"] == {"Plan": "pro", "Town": "Sofia"}  # the device was updated later
    assert record["events"]["Seen"] == {"count": 2, "first_seen": 100, "last_seen": 200}
    assert sandbox.stats()["people"] == 1
    assert [entry["n"] for entry in sandbox.records(identity="u1")] == [1, 2, 3, 4, 5]


def test_two_people_on_one_device_become_one(sandbox: SandboxServer) -> None:
    sandbox.upload(profile("u1"), profile("u2"))
    sandbox.upload(device(identity="u1"), device(identity="u2"))
    assert ids(person(sandbox, identity="u1")) == ids(person(sandbox, identity="u2")) == {"u1", "u2", DEVICE}


def test_naming_the_own_identity_changes_nothing(sandbox: SandboxServer) -> None:
    sandbox.upload(profile("18", identity=18))
    assert ids(person(sandbox, identity="18")) == {"18"}


@pytest.mark.parametrize(
    ("updates", "value"),
    [
        ([{"$set": ["a", "b", "a"]}], ["a", "b"]),
        ([["a", "b", "a"]], ["a", "b"]),
        ([{"$set": ["a"]}, {"$set": ["b"]}], ["b"]),
        ([{"$set": ["a"]}, {"$add": ["b", "a"]}], ["a", "b"]),
        (["a", {"$add": ["b"]}], ["a", "b"]),
        ([7, {"$add": ["b"]}], ["7", "b"]),
        ([{"$add": ["a"]}], ["a"]),
        ([{"$set": ["a", "b"]}, {"$remove": ["a", "x"]}], ["b"]),
        ([{"$set": ["a"]}, {"$remove": ["a"]}], None),
        ([{"$set": ["a"]}, {"$set": []}], None),
        ([{"$set": [str(n) for n in range(60)]}, {"$add": [str(n) for n in range(60, 120)]}],
         [str(n) for n in range(20, 120)]),
        ([{"$incr": 2}], 2),
        ([5, {"$incr": 2}], 7),
        ([5, {"$decr": 2.5}], 2.5),
        ([2**63 - 1, {"$incr": 1}], float(2**63)),
        (["text", {"$incr": 1}], 1),
        (["text", {"$delete": 1}], None),
        (["text", "other"], "other"),
        ([["a"], "single"], "single"),
        ([{"City": "Sofia"}], {"City": "Sofia"}),
        ([[1, 2]], [1, 2]),
    ],
)  # fmt: skip
def test_operations_change_a_property(sandbox: SandboxServer, updates: list[Any], value: Any) -> None:
    for update in updates:
        assert sandbox.upload(profile(Thing=update)).json()["status"] == "success"
    data = person(sandbox, identity="u1")["profileData"]
    assert data == ({} if value is None else {"Thing": value})


def test_events_are_kept_per_person_in_arrival_order(sandbox: SandboxServer) -> None:
    sandbox.upload(event("A", ts=300), event("B", identity="u2"), event("C", ts=100))
    sandbox.upload(event("A", ts=200))
    names = [entry["record"]["evtName"] for entry in sandbox.records(identity="u1")]
    assert names == ["A", "C", "A"]
    assert person(sandbox, identity="u1")["events"]["A"] == {"count": 2, "first_seen": 200, "last_seen": 300}


def test_people_not_heard_of_for_longest_fall_out() -> None:
    with SandboxServer(max_profiles=2) as sandbox:
        sandbox.upload(profile("u1"), profile("u2"), event("Seen", identity="u1"), profile("u3"))
        assert sandbox.profile(identity="u2") is None
        assert sandbox.profile(identity="u1") is not None
        assert sandbox.stats()["people"] == 2


@pytest.mark.parametrize(("root", "value"), [("objectId", DEVICE), ("FBID", "12"), ("GPID", "34"), ("identity", "u0")])
def test_any_root_id_is_linked_to_an_identity(sandbox: SandboxServer, root: str, value: str) -> None:
    sandbox.upload(event("Before", root, value))
    sandbox.upload({"type": "profile", root: value, "profileData": {"identity": "u1"}})
    sandbox.upload(event("After"))
    record = person(sandbox, identity="u1")
    assert set(record["events"]) == {"Before", "After"}
    assert ids(record) == {value, "u1"}
    assert sandbox.stats()["people"] == 1


def test_the_same_address_does_not_merge_people(sandbox: SandboxServer) -> None:
    sandbox.upload(profile("u1", Email="a@b.example"), profile("u2", Email="a@b.example"))
    assert sandbox.stats()["people"] == 2


def test_an_address_as_identity_is_another_person_until_it_is_linked(sandbox: SandboxServer) -> None:
    sandbox.upload(profile("u1", Email="a@b.example"), event("Seen", value="a@b.example"))
    assert sandbox.stats()["people"] == 2
    sandbox.upload(profile("u1", identity="a@b.example"))
    assert ids(person(sandbox, identity="u1")) == {"u1", "a@b.example"}


def test_null_changes_nothing(sandbox: SandboxServer) -> None:
    sandbox.upload(profile(Plan="pro"), profile(Plan=None, Town=None))
    assert person(sandbox, identity="u1")["profileData"] == {"Plan": "pro"}
