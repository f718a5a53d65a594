"""SIGTERM under load: the router ends in time, loses nothing, and repeats nothing to a healthy partner."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from router_clevertap.sandbox import SandboxServer

from .configurations import to_clevertap
from .daemon import Daemon, batch, names, until
from .traffic import Account, Traffic, arrived_at_clevertap

New = Callable[..., Daemon]


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[SandboxServer]:
    with SandboxServer(process=True, record_file=tmp_path / "records", max_events=1000) as server:
        yield server


def test_a_stop_under_load_is_quick_and_loses_and_repeats_nothing(
    new_daemon: New, recording: SandboxServer, tmp_path: Path
) -> None:
    daemon = new_daemon(to_clevertap(recording.url, records_per_call=40)).start()
    traffic = Traffic.start(daemon)
    recording.fault(delay=0.1, times="forever", every=3)  # so that calls are under way
    for whole_group in (False, True, False, True, False):
        time.sleep(0.6)
        began = time.monotonic()
        if whole_group:  # as a service manager does, and Ctrl-C
            daemon.signal_group(signal.SIGTERM)
        else:
            daemon.process.send_signal(signal.SIGTERM)
        assert daemon.ended(10) == 0
        assert time.monotonic() - began < 10
        assert daemon.pids() == []
        daemon.start()
    time.sleep(0.3)
    traffic.halt()
    daemon.settled(within=30)
    account = Account.of(traffic.acknowledged, arrived_at_clevertap((tmp_path / "records").read_bytes().splitlines()))
    assert account.acknowledged > 300
    assert not account.lost
    assert account.duplicates == 0, account
    assert account.inversions == 0
    assert daemon.letters() == []
    assert [line["event"] for line in daemon.lines()].count("stopped") == 5


def test_ctrl_c_stops_the_whole_group(new_daemon: New, sandbox: SandboxServer) -> None:
    daemon = new_daemon(to_clevertap(sandbox.url)).start()
    daemon.signal_group(signal.SIGINT)
    assert daemon.ended(10) == 0
    assert daemon.pids() == []


def test_a_stop_waits_for_the_call_under_way_and_its_settlement(new_daemon: New, sandbox: SandboxServer) -> None:
    daemon = new_daemon(to_clevertap(sandbox.url)).start()
    sandbox.fault(delay=1.5)
    daemon.send(batch("Under way"))
    until("the call", lambda: sandbox.stats()["calls"] == 1)
    assert daemon.stop() == 0
    assert sandbox.stats()["accepted"] == 1
    daemon.start()
    daemon.send(batch("Next"))
    sandbox.wait_for(2)
    daemon.settled()
    assert names(sandbox.records()) == ["Under way", "Next"]


def test_a_stop_does_not_wait_for_a_partner_that_hangs(new_daemon: New, tmp_path: Path) -> None:
    with SandboxServer(process=True) as hanging:
        daemon = new_daemon(to_clevertap(hanging.url, delivery={"stop_within": "1s"})).start()
        hanging.fault(delay=3)
        daemon.send(batch("Late"))
        until("the call", lambda: hanging.stats()["calls"] == 1)
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 2.8
        daemon.start()
        until("it is sent again", lambda: hanging.stats()["calls"] == 2)
        daemon.settled()


def test_a_stop_while_the_partner_is_down_keeps_everything(new_daemon: New, sandbox: SandboxServer) -> None:
    daemon = new_daemon(to_clevertap(sandbox.url)).start()
    sandbox.fault(status=503, times="forever")
    daemon.send(*[batch(f"E{n}", user=f"user-{n % 5}") for n in range(50)])
    until("a failed call", lambda: sandbox.stats()["calls"] >= 1)
    assert daemon.stop() == 0
    sandbox.clear_faults()
    daemon.start()
    sandbox.wait_for(50)
    daemon.settled()
    assert len(sandbox.records()) == 50


def test_a_single_process_stops_and_starts_as_well(new_daemon: New, sandbox: SandboxServer) -> None:
    daemon = new_daemon(to_clevertap(sandbox.url))
    for number in range(2):
        daemon.start("--single-process")
        daemon.send(batch(f"E{number}"))
        sandbox.wait_for(number + 1)
        daemon.settled()
        assert len(daemon.pids()) == 1
        assert daemon.stop() == 0
    assert names(sandbox.records()) == ["E0", "E1"]
