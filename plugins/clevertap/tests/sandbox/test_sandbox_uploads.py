"""Batches: statuses, numbers, order, limits, dry runs."""

from typing import Any

import httpx
import pytest
from router_clevertap.sandbox import SandboxServer


def event(name: str = "Seen", **changes: Any) -> dict[str, Any]:
    return {"type": "event", "identity": "u1", "evtName": name, "evtData": {}} | changes


def profile(**data: Any) -> dict[str, Any]:
    return {"type": "profile", "identity": "u1", "profileData": data}


def post(sandbox: SandboxServer, content: bytes, **headers: str) -> httpx.Response:
    return httpx.post(f"{sandbox.url}/1/upload", headers=sandbox.headers | headers, content=content)


@pytest.mark.parametrize(
    ("records", "status", "processed"),
    [
        ([event(), profile()], "success", 2),
        ([event(), event("")], "partial", 1),
        ([event(""), event("")], "fail", 0),
        ([], "success", 0),
    ],
)
def test_the_status_tells_whether_all_some_or_none_were_processed(
    sandbox: SandboxServer, records: list[dict[str, Any]], status: str, processed: int
) -> None:
    response = sandbox.upload(*records)
    answer = response.json()
    assert (response.status_code, answer["status"], answer["processed"]) == (200, status, processed)
    assert len(answer["unprocessed"]) == len(records) - processed


def test_refused_records_are_listed_in_request_order_with_their_number_from_one(
    sandbox: SandboxServer,
) -> None:
    bad = [event("App Launched"), profile(Email="x"), event("")]
    answer = sandbox.upload(bad[0], event(), bad[1], event(), bad[2]).json()
    assert [entry["error"].rpartition(" ")[2] for entry in answer["unprocessed"]] == ["1", "3", "5"]
    assert [entry["record"] for entry in answer["unprocessed"]] == bad
    assert answer["processed"] == 2


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "Malformed JSON"),
        (b"{", "Malformed JSON"),
        (b'{"d":[NaN]}', "Malformed JSON"),
        (b"\x1f\x8b\x08\x00", "Malformed JSON"),
        (b"[]", "The body must be a JSON object"),
        (b'"d"', "The body must be a JSON object"),
        (b"{}", "'d' must be an array"),
        (b'{"d":{}}', "'d' must be an array"),
        (b'{"d":null}', "'d' must be an array"),
    ],
)
def test_a_body_of_another_shape_is_answered_400(sandbox: SandboxServer, content: bytes, error: str) -> None:
    response = post(sandbox, content)
    assert (response.status_code, response.json()) == (400, {"status": "fail", "error": error, "code": 400})


def test_a_thousand_records_pass_and_one_more_refuses_the_call(sandbox: SandboxServer) -> None:
    records = [event(identity=f"u{n}") for n in range(1001)]
    assert sandbox.upload(*records).status_code == 400
    assert sandbox.stats()["accepted"] == 0
    assert sandbox.upload(*records[:1000]).json()["processed"] == 1000
    assert sandbox.stats()["people"] == 1000


@pytest.mark.parametrize(("levels", "status"), [(30, 200), (40, 400), (900, 400), (5000, 400)])
def test_json_nested_too_deeply_is_answered_400(sandbox: SandboxServer, levels: int, status: int) -> None:
    nested = b"[" * levels + b"]" * levels
    body = b'{"d":[{"type":"profile","identity":"u1","profileData":{"a":%s}}]}' % nested
    assert post(sandbox, body).status_code == status


def test_a_body_beyond_every_limit_is_answered_413(sandbox: SandboxServer) -> None:
    assert post(sandbox, b" " * (32 * 1024 * 1024 + 1)).status_code == 413


def test_a_body_in_chunks_is_put_together(sandbox: SandboxServer) -> None:
    response = httpx.post(
        f"{sandbox.url}/1/upload",
        headers=sandbox.headers,
        content=iter([b'{"d":[{"type":"event","identity":"u1",', b'"evtName":"Seen","evtData":{}}]}']),
    )
    assert response.json()["processed"] == 1


def test_a_dry_run_answers_as_usual_and_stores_nothing(sandbox: SandboxServer) -> None:
    records = [event(), event("App Launched")]
    dry = sandbox.upload(*records, dry_run=True).json()
    stats = sandbox.stats()
    assert (stats["dry_runs"], stats["accepted"], stats["refused"], stats["people"]) == (1, 0, {}, 0)
    assert sandbox.records() == []
    assert sandbox.upload(*records).json() == dry


def test_dry_run_zero_is_a_normal_upload(sandbox: SandboxServer) -> None:
    httpx.post(f"{sandbox.url}/1/upload?dryRun=0", headers=sandbox.headers, json={"d": [event()]})
    assert sandbox.stats()["accepted"] == 1
