"""The calls beside upload."""

from typing import Any

import httpx
import pytest
from router_clevertap.sandbox import SandboxServer

DEVICE = "__g" + "a" * 32


def post(sandbox: SandboxServer, path: str, content: Any) -> httpx.Response:
    return httpx.post(f"{sandbox.url}/1/{path}", headers=sandbox.headers, json=content)


def known(sandbox: SandboxServer, root: str, /, **data: Any) -> None:
    record = {"type": "profile", "identity": root, "profileData": data}
    assert sandbox.upload(record).json()["status"] == "success"


@pytest.mark.parametrize("query", ["", "?identity=", "?identity=a&email=b", "?phone=1"])
def test_reading_a_profile_needs_exactly_one_id(sandbox: SandboxServer, query: str) -> None:
    assert httpx.get(f"{sandbox.url}/1/profile.json{query}", headers=sandbox.headers).status_code == 400


def test_an_unknown_profile_is_answered_404(sandbox: SandboxServer) -> None:
    response = httpx.get(f"{sandbox.url}/1/profile.json?identity=x", headers=sandbox.headers)
    assert (response.status_code, response.json()["status"]) == (404, "fail")


@pytest.mark.parametrize(
    ("content", "gone"),
    [
        ({"identity": "u1"}, {"u1"}),
        ({"identity": ["u1", "u2"]}, {"u1", "u2"}),
        ({"guid": DEVICE}, {"u3"}),
        ({"identity": ["u1"], "guid": [DEVICE]}, {"u1", "u3"}),
        ({"identity": "nobody"}, set()),
    ],
)
def test_delete_forgets_people_by_identity_and_guid(
    sandbox: SandboxServer, content: dict[str, Any], gone: set[str]
) -> None:
    for identity in ("u1", "u2", "u3"):
        known(sandbox, identity)
    sandbox.upload({"type": "profile", "objectId": DEVICE, "profileData": {"identity": "u3"}})
    assert post(sandbox, "delete/profiles.json", content).json() == {"status": "success"}
    assert {name for name in ("u1", "u2", "u3") if sandbox.profile(identity=name) is None} == gone


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        {"identity": []},
        {"identity": 7},
        {"identity": [""]},
        {"identity": ["x"] * 101},
        {"guid": ["x"] * 101},
    ],
)
def test_delete_refuses_bodies_without_usable_ids(sandbox: SandboxServer, content: Any) -> None:
    assert post(sandbox, "delete/profiles.json", content).status_code == 400


def test_data_after_a_deletion_makes_a_new_profile_and_the_old_records_stay_marked(
    sandbox: SandboxServer,
) -> None:
    known(sandbox, "u1", Plan="pro")
    post(sandbox, "delete/profiles.json", {"identity": "u1"})
    known(sandbox, "u1", Town="Sofia")
    record = sandbox.profile(identity="u1")
    assert record is not None
    assert record["profileData"] == {"Town": "Sofia"}
    assert [entry.get("erased", False) for entry in sandbox.records()] == [True, False]


def test_demerge_gives_an_identity_a_profile_of_its_own(sandbox: SandboxServer) -> None:
    known(sandbox, "u1", Plan="pro", identity="u2")
    assert post(sandbox, "demerge/profiles.json", {"identities": ["u2"]}).json() == {"status": "success"}
    first, second = sandbox.profile(identity="u1"), sandbox.profile(identity="u2")
    assert first is not None
    assert second is not None
    assert (first["profileData"], second["profileData"]) == ({"Plan": "pro"}, {})


@pytest.mark.parametrize("content", [{}, {"identities": []}, {"identities": ["x"] * 101}])
def test_demerge_refuses_bodies_without_usable_ids(sandbox: SandboxServer, content: Any) -> None:
    assert post(sandbox, "demerge/profiles.json", content).status_code == 400


def test_unsubscribing_an_address_affects_everybody_who_has_it(sandbox: SandboxServer) -> None:
    known(sandbox, "u1", Email="a@b.example", Phone="+35922333232")
    known(sandbox, "u2", Email="a@b.example")
    orders = [
        {"type": "email", "value": "a@b.example", "status": "Unsubscribe"},
        {"type": "phone", "value": "+35922333232", "status": "Unsubscribe"},
    ]
    assert post(sandbox, "subscribe", {"d": orders}).json()["processed"] == 2
    first, second = sandbox.profile(identity="u1"), sandbox.profile(identity="u2")
    assert first is not None
    assert second is not None
    assert first["sandbox"]["unsubscribed"] == ["a@b.example", "+35922333232"]
    assert second["sandbox"]["unsubscribed"] == ["a@b.example"]
    post(sandbox, "subscribe", {"d": [orders[0] | {"status": "Resubscribe"}]})
    second = sandbox.profile(identity="u2")
    assert second is not None
    assert second["sandbox"]["unsubscribed"] == []


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ({"type": "email", "value": "x", "status": "Unsubscribe"}, 515),
        ({"type": "phone", "value": "123", "status": "Unsubscribe"}, 516),
        ({"type": "post", "value": "x", "status": "Unsubscribe"}, 524),
        ({"type": "email", "value": "a@b.example", "status": "No"}, 524),
        ("text", 524),
    ],
)
def test_bad_subscription_orders_are_listed(sandbox: SandboxServer, order: Any, code: int) -> None:
    answer = post(sandbox, "subscribe", {"d": [order]}).json()
    assert (answer["status"], [entry["code"] for entry in answer["unprocessed"]]) == ("fail", [code])


def test_disassociate_takes_a_phone_off_whoever_has_it_as_identity(sandbox: SandboxServer) -> None:
    known(sandbox, "u1", identity="+35922333232", Phone="+35922333232")
    orders = [{"type": "phone", "value": "+35922333232"}, {"type": "phone", "value": "+35922333233"}]
    answer = post(sandbox, "disassociate", {"d": orders}).json()
    assert (answer["status"], answer["processed"]) == ("partial", 1)
    assert [entry["record"] for entry in answer["unprocessed"]] == orders[1:]
    assert sandbox.profile(identity="+35922333232") is None
    record = sandbox.profile(identity="u1")
    assert record is not None
    assert record["profileData"] == {}
