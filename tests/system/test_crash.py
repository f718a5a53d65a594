"""kill -9 at random instants under load: what was acknowledged arrives, in the order of its user, twice at the most
where a call was under way.

ROUTER_CRASH_ROUNDS sets the number of kills, ROUTER_CRASH_SEED their sequence.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from router_clevertap.sandbox import SandboxServer

from .configurations import to_clevertap
from .daemon import Daemon, until
from .traffic import Account, Traffic, arrived_at_clevertap

ROUNDS = int(os.environ.get("ROUTER_CRASH_ROUNDS", "20"))
SEED = int(os.environ.get("ROUTER_CRASH_SEED", "0")) or random.randrange(1, 10**6)
RECORDS_PER_CALL = 40
CALLS_IN_FLIGHT = 3
VICTIMS = ("supervisor", "all", "ingest", "deliver")


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[SandboxServer]:
    """A sandbox that writes down what it takes, before it answers."""
    with SandboxServer(process=True, record_file=tmp_path / "records", max_events=1000) as server:
        yield server


def kill(daemon: Daemon, victim: str) -> bool:
    """Kill one process or all; returns whether there was one to kill."""
    if victim == "supervisor":
        daemon.kill_supervisor()
    elif victim == "all":
        daemon.kill_all()
    else:
        return daemon.kill_worker(victim)
    return True


def crash(daemon: Daemon, chance: random.Random, deadline: float) -> Counter[str]:
    """Kill at random instants, starting and restarting included, and bring the router back each time."""
    kills: Counter[str] = Counter()
    while kills.total() < ROUNDS and time.monotonic() < deadline:
        time.sleep(chance.uniform(0.05, 1.4))
        assert daemon.is_alive(), f"ended by itself with {daemon.status}:\n{daemon.output()[-4000:]}"
        victim = chance.choice(VICTIMS)
        if kill(daemon, victim):
            kills[victim] += 1
        if not daemon.is_alive():
            daemon.launch()
    return kills


def test_nothing_acknowledged_is_lost_and_no_order_is_broken_by_kill_9(
    new_daemon: Callable[..., Daemon], recording: SandboxServer, tmp_path: Path
) -> None:
    config = to_clevertap(recording.url, records_per_call=RECORDS_PER_CALL, calls_in_flight=CALLS_IN_FLIGHT)
    daemon = new_daemon(config).start()
    recording.fault(delay=0.05, times="forever", every=2)  # so that kills meet calls under way
    traffic = Traffic.start(daemon)
    kills = crash(daemon, random.Random(SEED), time.monotonic() + 10 * ROUNDS)
    daemon.wait_ready(30)
    time.sleep(0.5)  # some of the load meets the router that came back
    traffic.halt()
    daemon.settled(within=60)
    assert daemon.letters() == []
    account = Account.of(traffic.acknowledged, arrived_at_clevertap((tmp_path / "records").read_bytes().splitlines()))
    told = f"seed {SEED}, kills {dict(kills)}, repeated requests {traffic.repeated}, {account}"
    print(told)
    assert kills.total() == ROUNDS, told
    assert account.acknowledged > 50 * ROUNDS, told
    assert not account.lost, told
    assert not account.inversions, told
    assert account.duplicates <= CALLS_IN_FLIGHT * RECORDS_PER_CALL * kills.total(), told
    until("a healthy end", lambda: daemon.readiness()[0] == 200)
    assert daemon.stop() == 0
