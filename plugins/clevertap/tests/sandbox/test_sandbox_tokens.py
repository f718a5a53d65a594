"""Checks of device token records."""

from typing import Any

import pytest
from router_clevertap.sandbox import SandboxServer

ANDROID, APPLE, WEB = "__g" + "a" * 32, "-v" + "b" * 32, "c" * 32


def token(object_id: Any = ANDROID, kind: Any = "fcm", **data: Any) -> dict[str, Any]:
    return {"type": "token", "objectId": object_id, "tokenData": {"id": "tok", "type": kind} | data}


@pytest.mark.parametrize(
    "record",
    [
        token(),
        token(kind="gcm"),
        token(APPLE, "apns"),
        token(WEB, "chrome", keys={"p256dh": "x", "auth": "y"}),
        token("_w_abc", "chrome"),
    ],
)
def test_good_tokens_are_accepted(sandbox: SandboxServer, record: dict[str, Any]) -> None:
    assert sandbox.upload(record).json()["status"] == "success"
    assert sandbox.stats()["records"] == {"event": 0, "profile": 0, "token": 1}


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ({"type": "token", "tokenData": {"id": "tok", "type": "fcm"}}, 530),
        ({"type": "token", "identity": "u1", "tokenData": {"id": "tok", "type": "fcm"}}, 530),
        (token(""), 530),
        (token(7), 530),
        (token("with blank"), 530),
        ({"type": "token", "objectId": ANDROID}, 531),
        ({"type": "token", "objectId": ANDROID, "tokenData": "tok"}, 531),
        ({"type": "token", "objectId": ANDROID, "tokenData": {}}, 531),
        ({"type": "token", "objectId": ANDROID, "tokenData": {"type": "fcm"}}, 532),
        (token(id=""), 532),
        ({"type": "token", "objectId": ANDROID, "tokenData": {"id": "tok"}}, 533),
        (token(kind="apns"), 534),
        (token(APPLE, "fcm"), 534),
        (token(WEB, "fcm"), 534),
        (token(kind="pigeon"), 534),
        (token(id=7), 535),
        (token(kind=["fcm"]), 535),
        (token(keys="x"), 535),
    ],
)
def test_bad_tokens_are_refused_with_their_code(sandbox: SandboxServer, record: dict[str, Any], code: int) -> None:
    (refused,) = sandbox.upload(record).json()["unprocessed"]
    assert refused["code"] == code


def test_a_token_hangs_on_the_person_of_its_device(sandbox: SandboxServer) -> None:
    sandbox.upload(
        {"type": "profile", "objectId": ANDROID, "profileData": {"identity": "u1"}},
        token(),
        token(id="newer"),
    )
    record = sandbox.profile(identity="u1")
    assert record is not None
    assert record["platformInfo"] == [{"platform": "Android", "objectId": ANDROID, "push_token": "newer"}]


def test_more_than_a_hundred_tokens_are_refused_as_a_call(sandbox: SandboxServer) -> None:
    tokens = [token(id=f"tok{n}") for n in range(101)]
    assert sandbox.upload(*tokens).status_code == 400
    assert sandbox.upload(*tokens[:100]).json()["processed"] == 100
