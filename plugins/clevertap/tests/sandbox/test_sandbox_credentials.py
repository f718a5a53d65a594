"""Who may call, and with which headers."""

import httpx
import pytest
from router_clevertap.sandbox import SandboxServer

GOOD = {
    "X-CleverTap-Account-Id": "DEMO-ACCOUNT",
    "X-CleverTap-Passcode": "demo-passcode",
    "Content-Type": "application/json",
}
UNKNOWN_ACCOUNT = {"status": "fail", "error": "Account ID is not valid", "code": 401}
WRONG_PASSCODE = {"status": "fail", "error": "Invalid Credentials", "code": 401}
EMPTY = b'{"d":[]}'


def without(name: str) -> dict[str, str]:
    return {header: value for header, value in GOOD.items() if header != name}


@pytest.mark.parametrize(
    ("headers", "status", "body"),
    [
        (without("X-CleverTap-Account-Id"), 401, UNKNOWN_ACCOUNT),
        (GOOD | {"X-CleverTap-Account-Id": "NOBODY"}, 401, UNKNOWN_ACCOUNT),
        (GOOD | {"X-CleverTap-Account-Id": "demo-account"}, 401, UNKNOWN_ACCOUNT),
        (without("X-CleverTap-Passcode"), 401, WRONG_PASSCODE),
        (GOOD | {"X-CleverTap-Passcode": "demo"}, 401, WRONG_PASSCODE),
        (GOOD | {"X-CleverTap-Passcode": "other-passcode"}, 401, WRONG_PASSCODE),
    ],
)
def test_bad_credentials_are_answered_401_in_the_recorded_shape(
    sandbox: SandboxServer, headers: dict[str, str], status: int, body: dict[str, object]
) -> None:
    response = httpx.post(f"{sandbox.url}/1/upload", headers=headers, content=EMPTY)
    assert (response.status_code, response.json()) == (status, body)
    assert response.headers["content-type"] == "application/json;charset=utf-8"


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON;charset=UTF-8", 200),
        ("text/plain", 400),
        ("application/x-www-form-urlencoded", 400),
        (None, 400),
    ],
)
def test_an_upload_needs_the_json_content_type(sandbox: SandboxServer, content_type: str | None, status: int) -> None:
    headers = without("Content-Type") | ({"Content-Type": content_type} if content_type else {})
    response = httpx.post(f"{sandbox.url}/1/upload", headers=headers, content=EMPTY)
    assert response.status_code == status
    if status == 400:
        error = "Content-Type must be application/json"
        assert response.json() == {"status": "fail", "error": error, "code": 400}


def test_reading_a_profile_needs_no_content_type(sandbox: SandboxServer) -> None:
    sandbox.upload({"type": "profile", "identity": "u1", "profileData": {}})
    headers = without("Content-Type")
    assert httpx.get(f"{sandbox.url}/1/profile.json?identity=u1", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/1/upload", 405),
        ("POST", "/1/profile.json", 405),
        ("POST", "/1/nothing", 404),
        ("GET", "/elsewhere", 404),
    ],
)
def test_unknown_paths_and_methods_are_refused(sandbox: SandboxServer, method: str, path: str, status: int) -> None:
    assert httpx.request(method, sandbox.url + path, headers=GOOD).status_code == status


def test_accounts_do_not_see_each_other(sandbox: SandboxServer) -> None:
    sandbox.upload({"type": "profile", "identity": "u1", "profileData": {"Name": "A"}})
    assert sandbox.profile(identity="u1", account="SECOND") is None
    sandbox.upload({"type": "profile", "identity": "u1", "profileData": {"Name": "B"}}, account="SECOND")
    first, second = sandbox.profile(identity="u1"), sandbox.profile(identity="u1", account="SECOND")
    assert first is not None
    assert second is not None
    assert (first["name"], second["name"]) == ("A", "B")
    accounts = sandbox.stats()["accounts"]
    assert (accounts["DEMO-ACCOUNT"]["accepted"], accounts["SECOND"]["accepted"]) == (1, 1)
    assert [entry["account"] for entry in sandbox.records(account="SECOND")] == ["SECOND"]


def test_refused_callers_leave_no_trace_but_a_count(sandbox: SandboxServer) -> None:
    httpx.post(f"{sandbox.url}/1/upload", headers=without("X-CleverTap-Passcode"), content=EMPTY)
    stats = sandbox.stats()
    assert stats["calls"] == 0
    assert stats["answers"] == {"401": 1}
