"""A partner that refuses, stumbles or is not there: the data stays, in order, and nothing else suffers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from router_clevertap.sandbox import SandboxServer

from router_core.log.port import PARTITIONS, partition_of, user_hash

from .configurations import to_clevertap, with_archive
from .daemon import Daemon, batch, free_port, names, running, until

Start = Callable[..., Daemon]


def users_of_lane(lane: int, count: int, lanes: int = 3) -> list[str]:
    """Users whose records are all in one lane, so that they are sent one call after the other."""
    candidates = (f"user-{number}" for number in range(10_000))
    chosen = (u for u in candidates if partition_of(user_hash(f"customer_id:{u}")) * lanes // PARTITIONS == lane)
    return [next(chosen) for _ in range(count)]


def calls(sandbox: SandboxServer) -> int:
    count: int = sandbox.stats()["calls"]
    return count


def archived(path: Path) -> list[str]:
    """Event names in the file of the healthy connection."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [line["data"]["event_name"] for line in map(json.loads, lines) if line["event_type"] == "custom_event"]


@pytest.fixture(scope="module")
def _shared(tmp_path_factory: pytest.TempPathFactory, _sandbox_process: SandboxServer) -> Iterator[Daemon]:
    with running(Daemon(tmp_path_factory.mktemp("partner"), to_clevertap(_sandbox_process.url))) as daemon:
        yield daemon


@pytest.fixture
def daemon(_shared: Daemon, sandbox: SandboxServer) -> Iterator[Daemon]:
    """A router that several tests share; it is settled and in good health before and after each."""
    _shared.pass_over_letters()
    yield _shared
    sandbox.clear_faults()
    _shared.settled()
    until("ok again", lambda: _shared.connection()["state"] == "ok")


# --- credentials ------------------------------------------------------------------------------------------------------


def test_wrong_credentials_pause_the_connection_until_the_secret_changes_and_all_is_delivered_once(
    router: Start, sandbox: SandboxServer, tmp_path: Path
) -> None:
    passcode = tmp_path / "passcode"
    passcode.write_text("wrong\n")
    config = to_clevertap(sandbox.url, passcode=f"${{file:{passcode}}}", delivery={"back_off_maximum": "5m"})
    daemon = router(with_archive(config, tmp_path / "archive"))
    daemon.send(batch("Before"))
    until("paused", lambda: daemon.connection()["state"] == "paused")
    status = daemon.connection()
    assert "401" in status["last_error"]
    assert "Check the settings passcode" in status["last_error"]
    ready, text = daemon.readiness(verbose=True)
    assert ready == 200, "a refusing partner does not make the router unready"
    assert "[!] connection main: paused: CleverTap answered 401" in text
    daemon.metric_reaches("router_connection_paused", 1, connection="main")
    tried = sandbox.stats()["answers"]
    daemon.send(*[batch(f"While {n}", user=f"user-{n}") for n in range(50)])
    until("the archive has all", lambda: len(archived(tmp_path / "archive")) == 51)
    assert sandbox.stats()["answers"] == tried, "a paused connection makes no calls"
    assert daemon.waiting() > 0
    assert sandbox.stats()["accepted"] == 0
    passcode.write_text("demo-passcode\n")
    sandbox.wait_for(51, timeout=15)
    daemon.settled()
    assert sandbox.stats()["accepted"] == 51
    assert names(sandbox.records(identity="user-1"))[0] == "Before"
    until("ok again", lambda: daemon.connection()["state"] == "ok")
    assert "[+] connection main: ok" in daemon.readiness(verbose=True)[1]
    assert daemon.letters() == []
    assert len(daemon.groups) == 1, "without a restart"


def test_a_pause_survives_a_restart_and_the_data_too(router: Start, sandbox: SandboxServer, tmp_path: Path) -> None:
    passcode = tmp_path / "passcode"
    passcode.write_text("wrong")
    daemon = router(to_clevertap(sandbox.url, passcode=f"${{file:{passcode}}}"))
    daemon.send(batch("Kept"))
    until("paused", lambda: daemon.connection()["state"] == "paused")
    assert daemon.stop() == 0
    passcode.write_text("demo-passcode")
    daemon.start()
    sandbox.wait_for(1)
    daemon.settled()
    assert names(sandbox.records()) == ["Kept"]


# --- answers that pass ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "faults",
    [
        [{"status": 500, "times": 3}],
        [{"status": 502, "times": 2}, {"status": 503}, {"status": 504}],
        [{"status": 408}, {"status": 425}],
        [{"not_json": True, "times": 2}],
        [{"body": {"status": "who knows"}}, {"body": []}, {"body": None, "status": 204}],
        [{"cut": "before_storing", "times": 3}],
        [{"status": 500}, {"cut": "before_storing"}, {"not_json": True}, {"status": 429}, {"delay": 0.3}],
    ],
    ids=["500", "5xx", "408", "not JSON", "other JSON", "cut", "mixed"],
)
def test_a_call_that_fails_is_made_again_and_each_record_arrives_once(
    daemon: Daemon, sandbox: SandboxServer, faults: list[dict[str, Any]]
) -> None:
    for fault in faults:
        sandbox.fault(**fault)
    daemon.send(*[batch(f"E{n}", user=f"user-{n % 7}") for n in range(70)])
    sandbox.wait_for(70, timeout=15)
    daemon.settled()
    arrived = names(sandbox.records())
    assert len(arrived) == 70
    for user in range(7):
        assert names(sandbox.records(identity=f"user-{user}")) == [f"E{n}" for n in range(user, 70, 7)]


@pytest.mark.parametrize(
    "fault",
    [
        {"cut": "after_storing"},
        {"cut": "mid_answer"},
        {"status": 503, "stored": True},
        {"not_json": True, "stored": True},
    ],
    ids=["cut behind", "cut amid", "503 but stored", "not JSON but stored"],
)
def test_a_call_whose_answer_is_lost_is_made_again_so_its_records_arrive_twice_and_others_once(
    daemon: Daemon, sandbox: SandboxServer, fault: dict[str, Any]
) -> None:
    sandbox.fault(**fault)
    daemon.send(batch("Twice"))
    sandbox.wait_for(2)
    daemon.send(batch("Once"))
    sandbox.wait_for(3)
    daemon.settled()
    assert names(sandbox.records()) == ["Twice", "Twice", "Once"]
    assert daemon.letters() == []
    assert daemon.letters() == []


def test_a_slow_partner_is_waited_for_and_asked_once(daemon: Daemon, sandbox: SandboxServer) -> None:
    sandbox.fault(delay=1.0)
    daemon.send(batch("Slow"))
    sandbox.wait_for(1)
    daemon.settled()
    assert calls(sandbox) == 1
    assert daemon.connection()["state"] == "ok"


@pytest.mark.parametrize(("status", "form"), [(429, "seconds"), (503, "date"), (429, "date")])
def test_no_call_is_made_while_the_partner_wants_to_be_left_alone(
    daemon: Daemon, sandbox: SandboxServer, form: str, status: int
) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
    sandbox.fault(status=status, retry_after=2 if form == "seconds" else format_datetime(ends, usegmt=True))
    daemon.send(batch("Throttled"))
    until("the refused call", lambda: calls(sandbox) == 1, every=0.005)
    until_then = time.time() + 2 if form == "seconds" else ends.timestamp()
    while time.time() < until_then - 0.4:
        daemon.send(*[batch("Later", user=f"user-{n}") for n in range(20)])
        assert calls(sandbox) == 1
        time.sleep(0.1)
    sandbox.wait_for(21)
    first = min(entry["at"] for entry in sandbox.records())
    assert until_then - 0.05 < first < until_then + 1.5
    daemon.settled()
    assert names(sandbox.records(identity="user-1"))[0] == "Throttled"


def test_a_call_that_was_under_way_and_succeeds_does_not_end_the_wait(daemon: Daemon, sandbox: SandboxServer) -> None:
    (early,), (late,) = users_of_lane(0, 1), users_of_lane(2, 1)
    sandbox.fault(delay=0.8)
    daemon.send(batch("Under way", user=early))
    until("the slow call", lambda: calls(sandbox) == 1, every=0.005)
    sandbox.fault(retry_after=3)
    daemon.send(batch("Throttled", user=late))
    until("the refused call", lambda: calls(sandbox) == 2, every=0.005)
    until_then = time.time() + 3
    sandbox.wait_for(1)
    while time.time() < until_then - 0.4:
        daemon.send(batch("Later", user=early))
        assert calls(sandbox) == 2
        time.sleep(0.1)
    sandbox.wait_for(3)
    daemon.settled()


# --- answers per record -----------------------------------------------------------------------------------------------


def test_a_record_that_is_put_off_by_555_keeps_its_place_before_later_ones_of_its_user(
    daemon: Daemon, sandbox: SandboxServer
) -> None:
    sandbox.fault(partial={"event_names": ["Wait 1"], "code": 555}, times=4)
    daemon.send(batch("Wait 1", user="waits"), batch("Go 1", user="goes"))
    until("the record is held", lambda: daemon.held() == 1, every=0.005)
    for number in range(2, 8):
        daemon.send(batch(f"Wait {number}", user="waits"), batch(f"Go {number}", user="goes"))
        time.sleep(0.05)
    sandbox.wait_for(14)
    daemon.settled()
    assert names(sandbox.records(identity="waits")) == [f"Wait {n}" for n in range(1, 8)]
    assert names(sandbox.records(identity="goes")) == [f"Go {n}" for n in range(1, 8)]
    assert daemon.letters() == []


def test_a_put_off_record_keeps_its_place_through_a_crash(router: Start, sandbox: SandboxServer) -> None:
    daemon = router(to_clevertap(sandbox.url, delivery={"back_off_initial": "1s", "back_off_maximum": "1s"}))
    sandbox.fault(partial={"event_names": ["Wait 1"], "code": 555}, times=2)
    daemon.send(batch("Wait 1", user="waits"))
    until("the record is held", lambda: daemon.held() == 1)
    daemon.send(batch("Wait 2", user="waits"))
    daemon.kill_all()
    daemon.start()
    daemon.send(batch("Wait 3", user="waits"))
    sandbox.wait_for(3)
    daemon.settled()
    assert names(sandbox.records(identity="waits")) == ["Wait 1", "Wait 2", "Wait 3"]


def test_a_record_that_is_refused_by_513_is_the_only_dead_letter(daemon: Daemon, sandbox: SandboxServer) -> None:
    sandbox.fault(partial={"event_names": ["E17"], "code": 513}, times="forever")
    daemon.send(*[batch(f"E{n}", user=f"user-{n % 5}") for n in range(50)])
    sandbox.wait_for(49)
    daemon.settled()
    assert [(kind, code) for kind, code, _ in daemon.letters()] == [("custom_event", "clevertap_513")]
    assert sorted(names(sandbox.records())) == sorted(f"E{n}" for n in range(50) if n != 17)
    daemon.metric_reaches("router_rejected_records_total", 1, code="clevertap_513")
    until("the status shows it", lambda: daemon.connection()["dead_letters"] >= 1)


@pytest.mark.parametrize("place", [0, 3, 7])
def test_a_record_that_makes_its_call_fail_with_400_is_found_alone(
    daemon: Daemon, sandbox: SandboxServer, place: int
) -> None:

    def refuse(first: int, after: int) -> None:
        """The answers to halves of 8 events, down to the one at `place`, which comes once with its profile update."""
        if not first <= place < after:
            sandbox.fault(delay=0.001)
            return
        sandbox.fault(status=400)
        if after - first == 1:
            sandbox.fault(status=400)
            return
        middle = (first + after) // 2
        refuse(first, middle)
        refuse(middle, after)

    refuse(0, 8)
    daemon.send(*[batch(f"E{n}") for n in range(8)])
    sandbox.wait_for(7)
    daemon.settled()
    assert names(sandbox.records()) == [f"E{n}" for n in range(8) if n != place]
    assert [(kind, code) for kind, code, _ in daemon.letters()] == [("custom_event", "clevertap_400")]
    assert sandbox.faults() == []


# --- not there, and the others ----------------------------------------------------------------------------------------


def test_a_partner_that_is_down_at_the_start_gets_everything_when_it_comes(router: Start, tmp_path: Path) -> None:
    port = free_port()
    daemon = router(to_clevertap(f"http://127.0.0.1:{port}"))
    daemon.send(*[batch(f"E{n}", user=f"user-{n % 7}") for n in range(70)])
    until("an error is told", lambda: daemon.connection().get("last_error"))
    assert daemon.connection()["state"] in ("waiting", "probing")
    assert daemon.readiness()[0] == 200
    assert daemon.stop() == 0
    daemon.start()
    with SandboxServer(process=True, port=port) as late:
        late.wait_for(70)
        daemon.settled()
        for user in range(7):
            assert names(late.records(identity=f"user-{user}")) == [f"E{n}" for n in range(user, 70, 7)]


def test_bad_partners_do_not_slow_a_healthy_connection(router: Start, tmp_path: Path) -> None:
    faults: dict[str, dict[str, Any]] = {
        "fails": {"status": 503},
        "hangs": {"delay": 5},
        "throttles": {"retry_after": 60},
        "refuses": {"unauthorized": True},
        "cuts": {"cut": "before_storing"},
    }
    with SandboxServer(process=True, accounts={**dict.fromkeys(faults, "passcode"), "good": "passcode"}) as partners:
        config = to_clevertap(partners.url)
        account = config["outputs"].pop("partner")
        for name in (*faults, "good"):
            settings = {**account["settings"], "account_id": name, "passcode": "passcode"}
            config["outputs"][name] = {**account, "settings": settings}
            config["connections"][f"to_{name}"] = {"input": "server", "output": name}
        del config["connections"]["main"]
        for name, fault in faults.items():
            partners.fault(account=name, times="forever", **fault)
        daemon = router(with_archive(config, tmp_path / "archive"))
        for start in range(0, 2000, 100):
            daemon.send(*[batch(f"E{n}", user=f"user-{n % 50}") for n in range(start, start + 100)])
        sent = time.monotonic()
        until("the good account has all", lambda: partners.stats()["accounts"]["good"]["accepted"] == 2000)
        until("the archive has all", lambda: len(archived(tmp_path / "archive")) == 2000)
        assert time.monotonic() - sent < 5
        daemon.settled("to_good")
        accounts = partners.stats()["accounts"]
        assert {name: accounts[name]["accepted"] for name in faults if name != "hangs"} == dict.fromkeys(
            ["fails", "throttles", "refuses", "cuts"], 0
        )
        assert all(daemon.waiting(f"to_{name}") for name in faults)
