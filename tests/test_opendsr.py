"""OpenDSR's endpoints: what they take, what they refuse and how, and that no answer and no error names anybody."""

from __future__ import annotations

from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import orjson
import pytest

from router_core.admin import admin_routes
from router_core.erasure import Status
from router_core.erasurefile import opened
from router_core.http import Request, Response
from router_core.identifiers import TYPES
from router_core.listener import Listener
from router_core.opendsr import EXTENSION
from router_core.reports import Overview

from .people import ID, erasure_of

BODY: dict[str, Any] = {
    "regulation": "gdpr",
    "subject_request_id": ID,
    "subject_request_type": "erasure",
    "submitted_time": "2026-11-01T10:00:00Z",
    "api_version": "3.0",
    "subject_identities": {"email": {"value": "Ada@b.c", "encoding": "raw"}},
}
JSON = {b"content-type": b"application/json; charset=utf-8", b"host": b"127.0.0.1:9090"}


async def call(
    folder: Path, method: str, path: str, body: Any = None, *, token: str | None = None, query: str = "",
    headers: dict[bytes, bytes] | None = None,
) -> Response:  # fmt: skip
    listener = Listener(("admin", route) for route in admin_routes(Overview({}), token, folder))
    content = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    request = Request(method, path, query, {**JSON, **(headers or {})}, content, client="127.0.0.1")
    return await listener.target(path.encode()).found.route.handle(request)


def document(answer: Response) -> Any:
    return orjson.loads(answer.body)


async def test_an_erasure_is_taken_and_answered_as_documented(tmp_path: Path) -> None:
    body = {**BODY, "group_id": "g", "status_callback_urls": ["https://x.y"]}
    answer = await call(tmp_path, "POST", "/v3/requests", body)
    told = document(answer)
    assert answer.status == 201
    assert set(told) == {
        "controller_id", "expected_completion_time", "received_time", "encoded_request", "subject_request_id",
        "extensions",
    }  # fmt: skip
    assert told["subject_request_id"] == ID
    assert orjson.loads(b64decode(told["encoded_request"])) == body
    assert told["extensions"] == {"router_core": {"ignored": ["status_callback_urls"]}}
    made = erasure_of(tmp_path)
    assert (made.source, made.regulation, made.group_id, made.submitted_at_ms) == (
        "opendsr",
        "gdpr",
        "g",
        1793527200000,
    )
    assert made.person is not None
    assert made.person.requested == {"email": ["Ada@b.c"]}


async def test_every_identity_of_the_discovery_is_taken(tmp_path: Path) -> None:
    found = document(await call(tmp_path, "GET", "/v3/discovery"))
    assert found["supported_subject_request_types"] == ["erasure"]
    plain = [one["identity_type"] for one in found["supported_identities"]]
    extended = [one["identity_type"] for one in found["extensions"][EXTENSION]["supported_identities"]]
    assert {"controller_customer_id", "email", "android_id", "ios_vendor_id", "roku_publisher_id"} <= set(plain)
    assert {"mpid", "other", "other2", "mobile_number"} <= set(extended)
    body = {
        **BODY,
        "subject_identities": {name: {"value": "a1"} for name in plain},
        "extensions": {EXTENSION: {"skip_waiting_period": True,
                                   "subject_identities": {"mpid": {"value": 17}, "other2": {"value": "o"}}}},
    }  # fmt: skip
    assert (await call(tmp_path, "POST", "/v3/requests", body)).status == 201
    person = erasure_of(tmp_path).person
    assert person is not None
    assert set(person.requested) <= set(TYPES)
    assert person.requested["ios_idfv"] == ["a1"]
    assert person.requested["customer_id"] == ["a1"]
    assert (person.requested["mpid"], person.requested["other_id_2"]) == (["17"], ["o"])


def but(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in {**BODY, **fields}.items() if value is not ...}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "Not valid JSON"),
        (b"[" * 100_000, "Not valid JSON"),
        ([], "must be a JSON object"),
        (but(regulation=...), "regulation must be one of gdpr, ccpa"),
        (but(regulation=["gdpr"]), "regulation must be one of"),
        (but(subject_request_type="access"), "access is not supported"),
        (but(subject_request_type="portability"), "portability is not supported"),
        (but(subject_request_type="forget"), "subject_request_type must be one of"),
        (but(subject_request_id="17"), "UUID of version 4"),
        (but(subject_request_id="11111111-1111-1111-8111-111111111111"), "UUID of version 4"),
        (but(submitted_time="yesterday"), "RFC 3339"),
        (but(submitted_time="2026-11-01T10:00:00"), "RFC 3339"),
        (but(submitted_time=5), "RFC 3339"),
        (but(api_version="1.0"), "api_version"),
        (but(group_id=5), "group_id"),
        (but(subject_identities=...), "1 to 50 identities"),
        (but(subject_identities=[{"identity_type": "email"}]), "must be an object"),
        (but(subject_identities={"shoe": {"value": "Ada@b.c"}}), "identity 1 is not supported"),
        (but(subject_identities={"email": {"value": "Ada@b.c", "encoding": "sha256"}}), "email.encoding must be raw"),
        (but(subject_identities={"email": {"value": ""}}), "email.value must be text"),
        (but(subject_identities={"email": "Ada@b.c"}), "email.value must be text"),
        (but(subject_identities={"email": {"value": "  "}}), "names nobody"),
        (but(subject_identities={"email": {"value": "x" * 5000}}), "email.value must be text"),
        (but(extensions=[]) | {"extensions": [1]}, "extensions must hold"),
        (but(extensions={EXTENSION: [1]}), "extensions must hold"),
        (b'{"regulation":"gdpr","regulation":"ccpa"}', ""),
    ],
)
async def test_what_is_wrong_is_told_in_opendsrs_envelope_without_a_value(tmp_path: Path, body: Any, said: str) -> None:
    answer = await call(tmp_path, "POST", "/v3/requests", body)
    error = document(answer)["error"]
    assert answer.status == error["code"] == 400
    assert said in error["message"]
    assert set(error["errors"][0]) == {"domain", "reason", "message"}
    assert b"Ada" not in answer.body
    assert not (tmp_path / "erasures.db").exists()


async def test_status_groups_and_cancelling(tmp_path: Path) -> None:
    await call(tmp_path, "POST", "/v3/requests", but(group_id="g & co"))
    answer = await call(tmp_path, "GET", f"/v3/requests/{ID.upper()}")
    assert document(answer)["request_status"] == "pending"
    assert b"Ada" not in answer.body
    listed = await call(tmp_path, "GET", "/v3/requests", query="group_id=g+%26+co")
    assert [one["subject_request_id"] for one in document(listed)] == [ID]
    assert document(await call(tmp_path, "GET", "/v3/requests", query="group_id=x")) == []
    assert (await call(tmp_path, "GET", "/v3/requests")).status == 400
    assert (await call(tmp_path, "DELETE", f"/v3/requests/{ID}")).status == 202
    assert erasure_of(tmp_path).status is Status.CANCELLED
    assert (await call(tmp_path, "DELETE", f"/v3/requests/{ID}")).status == 409
    assert document(await call(tmp_path, "GET", f"/v3/requests/{ID}"))["request_status"] == "cancelled"


async def test_conflicts_and_unknown_requests(tmp_path: Path) -> None:
    await call(tmp_path, "POST", "/v3/requests", BODY)
    again = await call(tmp_path, "POST", "/v3/requests", BODY)
    same = await call(tmp_path, "POST", "/v3/requests", but(subject_request_id="22222222-2222-4222-8222-222222222222"))
    assert (again.status, same.status) == (409, 409)
    for method in ("GET", "DELETE"):
        answer = await call(tmp_path, method, "/v3/requests/33333333-3333-4333-8333-333333333333")
        assert (answer.status, document(answer)["error"]["code"]) == (404, 404)
    with opened(tmp_path) as file:
        file.start([1])
    assert (await call(tmp_path, "DELETE", f"/v3/requests/{ID}")).status == 409


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (None, 401), (b"Bearer wrong", 401), (b"Bearer t0ken", 200), (b"Basic " + b64encode(b"anybody:t0ken"), 200),
        (b"basic  " + b64encode(b":t0ken"), 200), (b"Basic " + b64encode(b"t0ken:"), 401), (b"Basic !!", 401),
        (b"Basic " + b64encode(b"t0ken"), 401), (b"Digest t0ken", 401),
    ],
)  # fmt: skip
async def test_the_admin_token_is_the_bearer_or_the_basic_password(
    tmp_path: Path, given: bytes | None, status: int
) -> None:
    headers = {} if given is None else {b"authorization": given}
    answer = await call(tmp_path, "GET", "/v3/discovery", token="t0ken", headers=headers)  # a test's
    assert answer.status == status
    if status == 401:
        assert dict(answer.headers)[b"www-authenticate"].startswith(b"Basic")


async def test_a_foreign_page_cannot_post_without_the_browser_asking(tmp_path: Path) -> None:
    answer = await call(tmp_path, "POST", "/v3/requests", BODY, headers={b"content-type": b"text/plain"})
    assert answer.status == 415
    assert not (tmp_path / "erasures.db").exists()


async def test_other_methods_are_refused_with_those_that_work(tmp_path: Path) -> None:
    answer = await call(tmp_path, "PUT", f"/v3/requests/{ID}")
    assert (answer.status, dict(answer.headers)[b"allow"]) == (405, b"GET, DELETE")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"localhost", 201),
        (b"LocalHost:9090", 201),
        (b"127.0.0.1:1", 201),
        (b"[::1]:9090", 201),
        (b"[::1]", 201),
        (b"", 403),
        (b"evil.example:9090", 403),
        (b"localhost.evil.example", 403),
        (b"127.0.0.1.evil.example:9090", 403),
        (b"127.0.0.1:9090@evil.example", 403),
    ],
)
async def test_without_a_token_only_this_machines_own_names_are_answered(
    tmp_path: Path, host: bytes, status: int
) -> None:
    """A foreign page whose name points at 127.0.0.1 is of the same origin to a browser."""
    answer = await call(tmp_path, "POST", "/v3/requests", BODY, headers={b"host": host})
    assert answer.status == status
    if status == 403:
        assert "admin.token" in document(answer)["error"]["message"]
        assert list(tmp_path.iterdir()) == []
        for method, path in (("GET", "/v3/discovery"), ("GET", f"/v3/requests/{ID}"), ("DELETE", f"/v3/requests/{ID}")):
            assert (await call(tmp_path, method, path, headers={b"host": host})).status == 403


async def test_with_a_token_any_name_is_answered(tmp_path: Path) -> None:
    headers = {b"host": b"router.example:9090", b"authorization": b"Bearer t0ken"}
    assert (await call(tmp_path, "POST", "/v3/requests", BODY, token="t0ken", headers=headers)).status == 201
