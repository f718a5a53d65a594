"""Fast mode: a sink that counts."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from router_clevertap.sandbox import Fault, SandboxServer, SandboxSettings
from router_clevertap.sandbox.calls import Call
from router_clevertap.sandbox.state import Sandbox
from router_clevertap.sandbox.upload import fast_upload


@pytest.fixture(scope="module")
def running_fast() -> Iterator[SandboxServer]:
    with SandboxServer(fast=True) as server:
        yield server


@pytest.fixture
def fast(running_fast: SandboxServer) -> SandboxServer:
    running_fast.reset()
    return running_fast


def event(n: int) -> dict[str, Any]:
    data = {f"attribute {k}": f"value {n * k}" for k in range(10)}
    return {"type": "event", "identity": f"u{n}", "ts": 1795000000, "evtName": "Seen", "evtData": data}


def test_fast_mode_counts_and_keeps_nothing(fast: SandboxServer) -> None:
    before = time.time()
    profile = {"type": "profile", "identity": "u1", "profileData": {"Email": "not looked at"}}
    response = fast.upload(event(1), event(2), profile)
    assert response.json() == {"status": "success", "processed": 3, "unprocessed": []}
    stats = fast.stats()
    assert (stats["calls"], stats["accepted"], stats["records"]["event"], stats["records"]["profile"]) == (
        1,
        3,
        2,
        1,
    )
    assert stats["bytes"] == len(response.request.content)
    assert before <= stats["last_arrival"] <= time.time()
    assert (stats["stored"], stats["people"], fast.records()) == (0, 0, [])


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{}",
        b'{"d":[{}]}',
        b'{"d":[1]}',
        b'{"d":[[]]}',
        b'{"d":[{"type":"x"}]}',
        b'{"d":[{"type":[]}]}',
    ],
)
def test_fast_mode_refuses_bodies_that_are_no_records(fast: SandboxServer, body: bytes) -> None:
    response = httpx.post(f"{fast.url}/1/upload", headers=fast.headers, content=body)
    assert (response.status_code, response.json()["code"]) == (400, 400)
    assert fast.stats()["accepted"] == 0


def test_fast_mode_checks_credentials_and_the_number_of_records(fast: SandboxServer) -> None:
    wrong = fast.headers | {"x-clevertap-passcode": "wrong"}
    assert httpx.post(f"{fast.url}/1/upload", headers=wrong, content=b'{"d":[]}').status_code == 401
    assert fast.upload(*(event(n) for n in range(1001))).status_code == 400


def test_fast_mode_knows_faults_but_no_partial_ones(fast: SandboxServer) -> None:
    fast.fault(status=503)
    assert [fast.upload(event(1)).status_code for _ in range(2)] == [503, 200]
    with pytest.raises(ValueError, match="partial"):
        fast.fault(partial={"positions": [1]})


def test_fast_mode_runs_dry(fast: SandboxServer) -> None:
    fast.upload(event(1), dry_run=True)
    assert (fast.stats()["dry_runs"], fast.stats()["accepted"]) == (1, 0)


@pytest.mark.parametrize(
    "settings",
    [
        {"fast": True, "record_file": Path("x")},
        {"fast": True, "faults": (Fault.model_validate({"partial": {"positions": [1]}}),)},
        {"accounts": {}},
        {"accounts": {"A": ""}},
        {"max_events": 0},
        {"concurrency": 0},
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\."):
        SandboxSettings(**settings)


def test_fast_mode_costs_little_more_than_parsing() -> None:
    """A ratio of CPU times, for machines differ: parsing alone is about 0.8 of it."""
    sandbox = Sandbox(SandboxSettings(fast=True))
    account = next(iter(sandbox.accounts.values()))
    call = Call(1, {}, orjson.dumps({"d": [event(n) for n in range(1000)]}))

    def cost(work: Any) -> float:
        start = time.process_time()
        for _ in range(20):
            work()
        return time.process_time() - start

    ratios = (
        cost(lambda: fast_upload(sandbox, account, call)) / cost(lambda: orjson.loads(call.body)) for _ in range(7)
    )
    assert min(ratios) < 1.6
