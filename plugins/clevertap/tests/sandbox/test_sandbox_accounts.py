"""Two accounts in one sandbox share nothing."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from router_clevertap.sandbox import SandboxServer

FIRST, SECOND = "DEMO-ACCOUNT", "SECOND"
PHONE = "+35922333232"
PROFILE = {"type": "profile", "identity": "u1", "profileData": {"identity": PHONE, "Phone": PHONE}}
EVENT = {"type": "event", "identity": "u1", "ts": 1_795_000_000, "evtName": "Seen", "evtData": {}}


def post(sandbox: SandboxServer, path: str, content: Any, account: str = FIRST) -> httpx.Response:
    passcode = sandbox.settings.accounts[account]
    headers = sandbox.headers | {"x-clevertap-account-id": account, "x-clevertap-passcode": passcode}
    return httpx.post(f"{sandbox.url}/1/{path}", headers=headers, json=content)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("delete/profiles.json", {"identity": "u1"}),
        ("demerge/profiles.json", {"identities": [PHONE]}),
        ("disassociate", {"d": [{"type": "phone", "value": PHONE}]}),
        ("subscribe", {"d": [{"type": "phone", "value": PHONE, "status": "Unsubscribe"}]}),
    ],
)
def test_an_order_for_one_account_leaves_the_other_alone(sandbox: SandboxServer, path: str, content: Any) -> None:
    for account in (FIRST, SECOND):
        sandbox.upload(PROFILE, EVENT, account=account)
    before = sandbox.profile(identity="u1", account=SECOND)
    untouched = sandbox.profile(identity="u1")
    assert post(sandbox, path, content).json()["status"] == "success"
    assert sandbox.profile(identity="u1", account=SECOND) == before
    assert sandbox.profile(identity="u1") != untouched
    assert sandbox.stats()["accounts"][SECOND]["other_calls"]["profile"] == 2


def test_an_erasure_in_one_account_is_none_in_the_other(sandbox: SandboxServer) -> None:
    post(sandbox, "delete/profiles.json", {"identity": "u1"})
    sandbox.upload(EVENT)
    sandbox.upload(EVENT, account=SECOND)
    assert [entry["account"] for entry in sandbox.damage()] == [FIRST]


def test_a_passcode_opens_its_own_account_only(sandbox: SandboxServer) -> None:
    headers = sandbox.headers | {"x-clevertap-account-id": SECOND}
    assert httpx.post(f"{sandbox.url}/1/upload", headers=headers, json={"d": [EVENT]}).status_code == 401
    assert sandbox.stats()["accepted"] == 0


def wait_until(sandbox: SandboxServer, account: str, calls: int) -> None:
    deadline = time.monotonic() + 10
    while sandbox.stats()["accounts"][account]["in_flight"] < calls:
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def test_fifteen_uploads_of_an_account_may_be_under_way_and_the_other_has_its_own_fifteen(
    sandbox: SandboxServer,
) -> None:
    sandbox.fault(delay=0.7, account=FIRST, times="forever")
    with ThreadPoolExecutor(16) as pool:
        under_way = [pool.submit(post, sandbox, "upload", {"d": [EVENT]}) for _ in range(15)]
        wait_until(sandbox, FIRST, 15)
        refused = post(sandbox, "upload", {"d": [EVENT]})
        assert (refused.status_code, refused.json()["error"]) == (429, "Too many concurrent requests")
        assert post(sandbox, "upload", {"d": [EVENT]}, SECOND).status_code == 200
        assert post(sandbox, "delete/profiles.json", {"identity": "x"}).status_code == 200  # a limit of its own
        assert [call.result().status_code for call in under_way] == [200] * 15
    accounts = sandbox.stats()["accounts"]
    assert (accounts[FIRST]["at_once"]["upload"], accounts[SECOND]["at_once"]["upload"]) == (16, 1)


def test_deletions_have_a_lower_limit_and_the_most_at_once_is_told(sandbox: SandboxServer) -> None:
    sandbox.fault(api="delete", delay=0.4, times="forever")
    with ThreadPoolExecutor(4) as pool:
        under_way = [pool.submit(post, sandbox, "delete/profiles.json", {"identity": "u1"}) for _ in range(3)]
        wait_until(sandbox, FIRST, 3)
        assert post(sandbox, "delete/profiles.json", {"identity": "u1"}).status_code == 429
        assert [call.result().status_code for call in under_way] == [200] * 3
    assert sandbox.stats()["accounts"][FIRST]["at_once"] == {"delete": 4}
