"""The running sandbox's list of silent damage, and damage that only an account's history tells."""

from typing import Any

import httpx
import pytest
from router_clevertap.sandbox import SandboxServer
from router_clevertap.sandbox.state import DAMAGE_KEPT

NOW = 1_795_000_000
DEVICE, OTHER = "__g" + "a" * 32, "__g" + "b" * 32


def event(name: str = "Seen", **changes: Any) -> dict[str, Any]:
    return {"type": "event", "identity": "u1", "ts": NOW, "evtName": name, "evtData": {}} | changes


def profile(root: str = "u1", /, **data: Any) -> dict[str, Any]:
    return {"type": "profile", "identity": root, "profileData": data}


def device(object_id: str, **data: Any) -> dict[str, Any]:
    return {"type": "profile", "objectId": object_id, "profileData": data}


def delete(sandbox: SandboxServer, **ids: Any) -> None:
    response = httpx.post(f"{sandbox.url}/1/delete/profiles.json", headers=sandbox.headers, json=ids)
    assert response.json() == {"status": "success"}


def codes(sandbox: SandboxServer, **query: str) -> list[tuple[str, str]]:
    return [(one["code"], one["field"]) for one in sandbox.damage(**query)]


def test_an_entry_tells_record_place_consequence_and_source(sandbox: SandboxServer) -> None:
    record = event(evtData={"a.b": 1})
    sandbox.upload(event(), record)
    (entry,) = sandbox.damage()
    assert isinstance(entry.pop("at"), float)
    assert entry == {
        "n": 2,
        "call": 1,
        "account": "DEMO-ACCOUNT",
        "kind": "event",
        "record": record,
        "code": "key_characters",
        "field": "evtData.a.b",
        "silently": "unknown: SDKs strip such characters from keys",
        "source": "official documentation: Upload Events",
    }


def test_damage_is_counted_by_code_and_account(sandbox: SandboxServer) -> None:
    sandbox.upload(event(evtData={"a": "", "b": None}), event(evtData={"a": ""}))
    sandbox.upload(event(evtData={"a": None}), account="SECOND")
    stats = sandbox.stats()
    assert stats["damage"] == {"empty_value": 2, "null_value": 2}
    assert stats["accounts"]["SECOND"]["damage"] == {"null_value": 1}
    assert codes(sandbox, account="SECOND") == [("null_value", "evtData.a")]
    assert len(sandbox.damage(code="empty_value")) == 2
    answer = httpx.get(f"{sandbox.url}/sandbox/damage?account=SECOND").json()
    assert answer["counts"] == {"null_value": 1}
    assert httpx.get(f"{sandbox.url}/sandbox/damage?account=NOBODY").status_code == 400


def test_refused_records_and_dry_runs_are_no_damage(sandbox: SandboxServer) -> None:
    sandbox.upload(event("App Launched", evtData={"a": None}))
    sandbox.upload(event(evtData={"a": None}), dry_run=True)
    assert (sandbox.damage(), sandbox.stats()["damage"]) == ([], {})


def test_old_damage_falls_out_and_counts_stay_exact(sandbox: SandboxServer) -> None:
    for _ in range(3):
        sandbox.upload(*(event(evtData={"a": None}) for _ in range(500)))
    assert len(sandbox.damage()) == DAMAGE_KEPT == 1000
    assert sandbox.damage()[-1]["n"] == 1500
    assert sandbox.stats()["damage"] == {"null_value": 1500}


def test_reset_forgets_damage_and_history(sandbox: SandboxServer) -> None:
    sandbox.upload(event(evtData={"a": None}))
    delete(sandbox, identity="u1")
    sandbox.reset()
    sandbox.upload(event())
    assert (sandbox.damage(), sandbox.stats()["damage"]) == ([], {})


@pytest.mark.parametrize(
    ("ids", "later", "expected"),
    [
        ({"identity": "u1"}, event(), [("profile_after_erasure", "identity")]),
        ({"identity": "u1"}, event(identity="u2"), []),
        ({"identity": "u1"}, device(DEVICE), [("profile_after_erasure", "objectId")]),
        ({"guid": DEVICE}, event(), [("profile_after_erasure", "identity")]),
        ({"guid": [OTHER]}, device(OTHER), [("profile_after_erasure", "objectId")]),
        ({"identity": ["unknown"]}, profile("unknown"), [("profile_after_erasure", "identity")]),
        ({"identity": "u1"}, device(OTHER, identity="u1"), [("profile_after_erasure", "profileData.identity")]),
    ],
)
def test_whatever_comes_for_an_erased_person_is_damage(
    sandbox: SandboxServer, ids: dict[str, Any], later: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    sandbox.upload(profile(), device(DEVICE, identity="u1"))
    delete(sandbox, **ids)
    assert sandbox.upload(later).json()["status"] == "success"
    assert codes(sandbox) == expected


def test_damage_of_an_erased_person_is_listed_without_their_data(sandbox: SandboxServer) -> None:
    sandbox.upload(profile(email="secret@b.example"))
    delete(sandbox, identity="u1")
    assert [(one["code"], one["record"], one["erased"]) for one in sandbox.damage()] == [("misspelt_field", None, True)]


def test_two_known_people_that_become_one_are_damage(sandbox: SandboxServer) -> None:
    sandbox.upload(profile("u1"), profile("u2"))
    sandbox.upload(device(DEVICE, identity="u1"))
    assert codes(sandbox) == []
    sandbox.upload(device(DEVICE, identity="u1"))
    assert codes(sandbox) == []
    sandbox.upload(device(DEVICE, identity="u2"))
    assert codes(sandbox) == [("people_merged", "profileData.identity")]


def test_event_names_beyond_the_accounts_limit_are_damage(sandbox: SandboxServer) -> None:
    sandbox.upload(*(event(f"Name {n}") for n in range(500)))
    assert {code for code, _ in codes(sandbox)} == {"too_many_event_names"}
    kept = 500 - len(sandbox.damage())
    assert kept == 512 - 31  # as many system events take their part
    sandbox.upload(event("name0"), event("Another"))
    assert [one["record"]["evtName"] for one in sandbox.damage()[500 - kept :]] == ["Another"]
    sandbox.upload(event("Another"), account="SECOND")
    assert codes(sandbox, account="SECOND") == []


def test_profile_keys_beyond_the_accounts_limit_are_damage(sandbox: SandboxServer) -> None:
    sandbox.upload(*(profile(**{f"key {n}": 1, "Name": "A"}) for n in range(256)))
    sandbox.upload(profile(**{"KEY 7": 1, "another": 1, "Email": "a@b.example"}))
    assert codes(sandbox) == [("too_many_profile_keys", "profileData.another")]


def test_one_profile_with_too_many_keys_is_damage_too(sandbox: SandboxServer) -> None:
    sandbox.upload(profile(**{f"key {n}": 1 for n in range(257)}))
    assert ("too_many_profile_keys", "profileData") in codes(sandbox)


def test_with_known_devices_every_other_one_is_a_ghost() -> None:
    odd = "made-by-the-app"
    with SandboxServer(devices=frozenset({DEVICE, odd})) as sandbox:
        sandbox.upload(device(DEVICE), device(odd), event(), device(OTHER))
        assert codes(sandbox) == [("ghost_profile", "objectId")]
        assert sandbox.damage()[0]["record"]["objectId"] == OTHER


def test_fast_mode_looks_for_no_damage() -> None:
    with SandboxServer(fast=True) as sandbox:
        sandbox.upload(event(evtData={"a": None}))
        assert (sandbox.damage(), sandbox.stats()["damage"]) == ([], {})
