"""What tests can read back: records, counts, the record file."""

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from router_clevertap.sandbox import SandboxServer


def event(name: str = "Seen", identity: str = "u1") -> dict[str, Any]:
    return {"type": "event", "identity": identity, "evtName": name, "evtData": {}}


PROFILE = {"type": "profile", "identity": "u1", "profileData": {"Phone": "+35922333232"}}


def test_every_accepted_record_is_listed_in_arrival_order(sandbox: SandboxServer) -> None:
    before = time.time()
    sandbox.upload(event("A"), event(""), PROFILE)
    sandbox.upload(event("B"), account="SECOND")
    entries = sandbox.records()
    assert [(e["n"], e["call"], e["kind"], e["account"]) for e in entries] == [
        (1, 1, "event", "DEMO-ACCOUNT"),
        (2, 1, "profile", "DEMO-ACCOUNT"),
        (3, 2, "event", "SECOND"),
    ]
    assert all(before <= entry["at"] <= time.time() for entry in entries)
    assert entries[1]["record"]["profileData"] == {"Phone": 35922333232}  # as the server holds it


def test_records_are_read_page_by_page(sandbox: SandboxServer) -> None:
    sandbox.upload(*(event(str(n)) for n in range(5)))
    pages = []
    for after in (0, 2, 4):
        page = httpx.get(f"{sandbox.url}/sandbox/records", params={"after": after, "limit": 2}).json()
        pages.append(([entry["n"] for entry in page["records"]], page["next"]))
    assert pages == [([1, 2], 2), ([3, 4], 4), ([5], None)]


def test_a_query_that_is_no_number_is_answered_400(sandbox: SandboxServer) -> None:
    assert httpx.get(f"{sandbox.url}/sandbox/records?after=x").status_code == 400


def test_counts_are_kept_by_kind_code_and_account(sandbox: SandboxServer) -> None:
    first = sandbox.upload(event(), event(), PROFILE, event("App Launched"), event(""))
    sandbox.upload(event(), account="SECOND")
    stats = sandbox.stats()
    assert stats["calls"] == 2
    assert stats["accepted"] == 4
    assert stats["records"] == {"event": 3, "profile": 1, "token": 0}
    assert stats["refused"] == {"509": 1, "513": 1}
    assert stats["answers"] == {"200": 2}
    own = stats["accounts"]["DEMO-ACCOUNT"]
    assert (own["calls"], own["accepted"], own["people"]) == (1, 3, 1)
    assert own["bytes"] == len(first.request.content)
    assert stats["first_arrival"] <= stats["last_arrival"]


def test_refused_records_are_listed_with_their_reason(sandbox: SandboxServer) -> None:
    sandbox.upload(event("App Launched"))
    (refusal,) = sandbox.refusals()
    assert (refusal["code"], refusal["call"], refusal["account"]) == (513, 1, "DEMO-ACCOUNT")


def test_old_records_fall_out_and_counts_stay_exact() -> None:
    with SandboxServer(max_events=3) as sandbox:
        for n in range(5):
            sandbox.upload(event(str(n)))
        assert [entry["n"] for entry in sandbox.records()] == [3, 4, 5]
        assert [entry["n"] for entry in sandbox.records(after=4)] == [5]
        stats = sandbox.stats()
        assert (stats["accepted"], stats["stored"]) == (5, 3)
        record = sandbox.profile(identity="u1")
        assert record is not None
        assert len(record["events"]) == 5


def test_reset_forgets_everything_and_numbers_start_again(sandbox: SandboxServer) -> None:
    sandbox.upload(event(), event(""))
    sandbox.fault(status=503)
    sandbox.reset()
    stats = sandbox.stats()
    assert (stats["calls"], stats["accepted"], stats["refused"], stats["people"]) == (0, 0, {}, 0)
    assert (sandbox.records(), sandbox.refusals(), sandbox.faults()) == ([], [], [])
    sandbox.upload(event())
    assert [(entry["n"], entry["call"]) for entry in sandbox.records()] == [(1, 1)]


def test_wait_for_returns_when_the_records_are_there_and_complains_when_not(sandbox: SandboxServer) -> None:
    sandbox.upload(event(), event())
    assert sandbox.wait_for(2)["accepted"] == 2
    with pytest.raises(TimeoutError, match="2 of 3 records"):
        sandbox.wait_for(3, timeout=0.05)


def test_the_record_file_holds_each_accepted_record_when_the_call_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "records.ndjson"
    path.write_text('{"n":0}\n')
    with SandboxServer(record_file=path) as sandbox:
        sandbox.upload(event("A"), event(""), event("B\n"))
        sandbox.upload(event("C"), dry_run=True)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert lines[1:] == sandbox.records()
    assert [line.get("record", {}).get("evtName") for line in lines] == [None, "A", "B\n"]


def test_the_sandboxs_own_routes_obey_no_foreign_page(sandbox: SandboxServer) -> None:
    sandbox.upload(event())
    foreign = httpx.post(f"{sandbox.url}/sandbox/reset", headers={"origin": "https://elsewhere.example"})
    assert foreign.status_code == 403
    assert sandbox.stats()["accepted"] == 1
    assert httpx.post(f"{sandbox.url}/sandbox/reset", headers={"origin": sandbox.url}).status_code == 200
