"""Faults on order."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from router_clevertap.sandbox import Fault, SandboxServer


def event(name: str = "Seen", identity: str = "u1") -> dict[str, Any]:
    return {"type": "event", "identity": identity, "evtName": name, "evtData": {}}


def statuses(sandbox: SandboxServer, calls: int) -> list[int]:
    return [sandbox.upload(event()).status_code for _ in range(calls)]


def test_a_fault_befalls_as_many_calls_as_ordered(sandbox: SandboxServer) -> None:
    sandbox.fault(status=503, times=2)
    sandbox.fault(status=500)
    assert statuses(sandbox, 5) == [503, 503, 500, 200, 200]
    assert sandbox.faults() == []
    assert sandbox.stats()["faults_fired"] == 3


def test_a_fault_for_ever_lasts_until_it_is_cleared(sandbox: SandboxServer) -> None:
    sandbox.fault(status=503, times="forever")
    assert statuses(sandbox, 3) == [503] * 3
    assert [(fault["fired"], fault["seen"]) for fault in sandbox.faults()] == [(3, 3)]
    sandbox.clear_faults()
    assert statuses(sandbox, 1) == [200]


def test_every_nth_call_is_hit_and_two_such_faults_run_side_by_side(sandbox: SandboxServer) -> None:
    sandbox.fault(status=503, every=3, times="forever")
    sandbox.fault(status=500, every=2, times=2)
    # the second fault sees only the calls that the first leaves alone
    assert statuses(sandbox, 9) == [200, 500, 503, 200, 500, 503, 200, 200, 503]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 502, 503, 504])
def test_any_status_is_answered_in_the_shape_of_the_service(sandbox: SandboxServer, status: int) -> None:
    sandbox.fault(status=status)
    response = sandbox.upload(event())
    assert response.status_code == status
    assert response.json()["status"] == "fail"
    assert response.json()["code"] == status
    assert "retry-after" not in response.headers
    assert sandbox.stats()["accepted"] == 0


@pytest.mark.parametrize(
    ("retry_after", "header"),
    [(2, "2"), (0.5, "0.5"), ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:00 GMT")],
)
def test_retry_after_is_seconds_or_a_date_and_means_429(
    sandbox: SandboxServer, retry_after: float | str, header: str
) -> None:
    sandbox.fault(retry_after=retry_after)
    response = sandbox.upload(event())
    assert (response.status_code, response.headers["retry-after"]) == (429, header)
    assert response.json() == {"status": "fail", "error": "Too many concurrent requests", "code": 429}


@pytest.mark.parametrize(
    ("order", "error"),
    [
        (True, "Invalid Credentials"),
        ("passcode", "Invalid Credentials"),
        ("account_id", "Account ID is not valid"),
    ],
)
def test_unauthorized_answers_401(sandbox: SandboxServer, order: Any, error: str) -> None:
    sandbox.fault(unauthorized=order)
    response = sandbox.upload(event())
    assert (response.status_code, response.json()) == (401, {"status": "fail", "error": error, "code": 401})


@pytest.mark.parametrize(("fault", "status"), [({}, 200), ({"status": 502}, 502)])
def test_not_json_answers_html(sandbox: SandboxServer, fault: dict[str, Any], status: int) -> None:
    sandbox.fault(not_json=True, **fault)
    response = sandbox.upload(event())
    assert (response.status_code, response.headers["content-type"]) == (status, "text/html")
    assert response.text.startswith("<html>")


def test_a_body_can_be_dictated(sandbox: SandboxServer) -> None:
    body = {"status": "fail", "processed": 0, "unprocessed": []}
    sandbox.fault(body=body)
    response = sandbox.upload(event())
    assert (response.status_code, response.json()) == (200, body)


def test_a_stored_fault_stores_before_it_answers_badly(sandbox: SandboxServer) -> None:
    sandbox.fault(status=504, stored=True)
    assert statuses(sandbox, 2) == [504, 200]
    assert sandbox.stats()["accepted"] == 2


def test_delay_holds_the_answer_back(sandbox: SandboxServer) -> None:
    sandbox.fault(delay=0.2)
    before = time.monotonic()
    assert statuses(sandbox, 1) == [200]
    assert time.monotonic() - before >= 0.2


@pytest.mark.parametrize(("cut", "stored"), [("before_storing", 0), ("after_storing", 1), ("mid_answer", 1)])
def test_cut_closes_the_connection(sandbox: SandboxServer, cut: str, stored: int) -> None:
    sandbox.fault(cut=cut)
    with pytest.raises(httpx.RemoteProtocolError):
        sandbox.upload(event())
    stats = sandbox.stats()
    assert stats["accepted"] == stored
    assert stats["answers"] == {"cut": 1}
    assert stats["accounts"]["DEMO-ACCOUNT"]["in_flight"] == 0
    assert statuses(sandbox, 1) == [200]


@pytest.mark.parametrize(
    ("partial", "refused"),
    [
        ({"positions": [1, 3]}, [1, 3]),
        ({"event_names": ["B"]}, [2]),
        ({"identities": ["u3"]}, [3]),
        ({"identities": ["u3"], "positions": [1]}, [1, 3]),
        ({"event_names": ["nothing"]}, []),
    ],
)
def test_partial_refuses_chosen_records(sandbox: SandboxServer, partial: dict[str, Any], refused: list[int]) -> None:
    sandbox.fault(partial=partial)
    answer = sandbox.upload(event("A"), event("B", "u2"), event("C", "u3")).json()
    assert [int(entry["error"].rpartition(" ")[2]) for entry in answer["unprocessed"]] == refused
    assert {entry["code"] for entry in answer["unprocessed"]} <= {555}
    assert answer["processed"] == 3 - len(refused) == sandbox.stats()["accepted"]


def test_partial_can_name_code_and_text_and_leaves_real_refusals_alone(sandbox: SandboxServer) -> None:
    sandbox.fault(partial={"positions": [1, 2], "code": 522, "error": "Too much"})
    answer = sandbox.upload(event(), event("App Launched")).json()
    assert [entry["code"] for entry in answer["unprocessed"]] == [522, 513]
    assert answer["unprocessed"][0]["error"] == "Too much. Skipped record number : 1"


def test_faults_fit_one_api_and_one_account(sandbox: SandboxServer) -> None:
    sandbox.fault(status=500, api="delete")
    sandbox.fault(status=503, account="SECOND")
    assert statuses(sandbox, 1) == [200]
    assert sandbox.upload(event(), account="SECOND").status_code == 503
    deletion = httpx.post(f"{sandbox.url}/1/delete/profiles.json", headers=sandbox.headers, json={"identity": "u1"})
    assert deletion.status_code == 500
    assert sandbox.profile(identity="u1") is not None


def test_a_program_is_posted_as_json_and_listed_with_counts(sandbox: SandboxServer) -> None:
    program = [{"status": 503, "times": 3}, {"partial": {"positions": [1]}, "every": 2, "times": "forever"}]
    response = httpx.post(f"{sandbox.url}/sandbox/faults", json=program)
    assert response.json()["faults"] == [
        {"status": 503, "times": 3, "fired": 0, "seen": 0},
        {"partial": {"positions": [1], "code": 555}, "every": 2, "times": "forever", "fired": 0, "seen": 0},
    ]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({}, "a fault needs one of"),
        ({"times": 2}, "a fault needs one of"),
        ({"status": 503, "cut": "after_storing"}, "different kinds"),
        ({"partial": {}}, "partial needs positions"),
        ({"stored": True, "delay": 1}, "stored goes with"),
        ({"status": 42}, "status: "),
        ({"statsu": 503}, "statsu: "),
        ({"status": 503, "times": 0}, "times"),
        ({"cut": "sometimes"}, "cut: "),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_with_a_sentence(
    sandbox: SandboxServer, fault: dict[str, Any], told: str
) -> None:
    response = httpx.post(f"{sandbox.url}/sandbox/faults", json=fault)
    assert response.status_code == 400
    assert told in response.json()["error"]
    assert sandbox.faults() == []


def test_faults_can_be_in_force_from_the_start() -> None:
    with SandboxServer(faults=(Fault(status=503),)) as sandbox:
        assert statuses(sandbox, 2) == [503, 200]


def test_the_upload_beyond_the_accounts_concurrency_is_answered_429() -> None:
    with SandboxServer(concurrency=3) as sandbox, ThreadPoolExecutor(5) as pool:
        sandbox.fault(delay=1, times="forever")
        under_way = [pool.submit(sandbox.upload, event()) for _ in range(3)]
        while sandbox.stats()["accounts"]["DEMO-ACCOUNT"]["in_flight"] < 3:
            threading.Event().wait(0.01)
        refused = sandbox.upload(event())
        assert (refused.status_code, refused.json()["error"]) == (429, "Too many concurrent requests")
        assert [call.result().status_code for call in under_way] == [200] * 3
        sandbox.clear_faults()
        assert statuses(sandbox, 1) == [200]
        assert sandbox.stats()["accepted"] == 4
