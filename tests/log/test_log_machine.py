"""Hypothesis looks for a sequence of calls, restarts and crashes after which the embedded log breaks a promise.

The memory engine is the model: it does the same in a few lines, and what it is told is durable at once.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from router_core.log.embedded import EmbeddedLog
from router_core.log.memory import MemoryLog
from router_core.log.port import PARTITIONS, EventLog, HeldRecord, Lease, NewBatch, Settlement, StoredBatch
from router_core.testing.log_contract import Clock, dead_letter, held_record, read_all
from tests.log.embedded import crash_image

T = TypeVar("T")

INPUTS = {"a": "shop", "b": "shop"}
ALL = range(PARTITIONS)
CUTS = ([range(64)], [range(32), range(32, 64)], [range(1), range(1, 33), range(33, 64)])
connections = st.sampled_from(sorted(INPUTS))
users = st.sampled_from([0, 1, 2, 31, 33, 63, 64 + 33])
batches = st.lists(
    st.tuples(users, st.integers(1, 4), st.sampled_from([0, 9_000]), st.integers(0, 12)), min_size=1, max_size=6
)


@dataclass
class Lane:
    """A lease in both logs, and what both have read with it since the last settlement."""

    real: Lease
    model: Lease
    partitions: range
    rows: list[StoredBatch] = field(default_factory=list)
    erased: set[int] = field(default_factory=set)


class LogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.images = count()
        self.numbers = count(1)
        self.clock = Clock()
        self.model = MemoryLog(max_bytes=1 << 40, now=self.clock)
        self.real: EmbeddedLog
        self.lanes: dict[str, list[Lane]] = {}
        self.accepted: list[tuple[int, int]] = []
        """Position and user of everything that was accepted."""
        self.ended: dict[str, set[int]] = {name: set() for name in INPUTS}
        """Positions that a settlement has covered since the last seek behind them."""
        self.kept_from = 1

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def both(self, real: Coroutine[Any, Any, T], model: Coroutine[Any, Any, T]) -> T:
        """Do the same with both logs, and see the same."""
        result = self.run(real)
        assert result == self.run(model)
        return result

    # --- starts and ends ---

    @initialize()
    def start(self) -> None:
        self._open(self.folder / "data", 0)

    def _open(self, folder: Path, cut: int) -> None:
        self.real = EmbeddedLog(folder, segment_bytes=64 * 1024, now=self.clock)
        for log in (self.real, self.model):
            self.run(log.open(["shop"], INPUTS))
        for name in INPUTS:
            self._cut(name, cut)

    def _cut(self, name: str, cut: int) -> None:
        self.lanes[name] = [Lane(self.real.lease(name, p), self.model.lease(name, p), p) for p in CUTS[cut]]

    @rule(kill=st.booleans(), cut=st.integers(0, len(CUTS) - 1))
    def start_again(self, kill: bool, cut: int) -> None:
        dead, folder = self.real, self.real._folder
        if kill:
            folder = self.folder / f"image{next(self.images)}"
            self.run(crash_image(dead, dead._folder, folder))
        self.run(dead.close())
        if kill:
            shutil.rmtree(dead._folder)
        self._open(folder, cut)

    def teardown(self) -> None:
        if hasattr(self, "real"):
            self.run(self.real.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    # --- appending ---

    @rule(groups=st.lists(batches, min_size=1, max_size=3))
    def append(self, groups: list[list[tuple[int, int, int, int]]]) -> None:
        """Some appends at once; a key of 0 is none, and the others meet again before long."""
        new = [[self._batch(*batch) for batch in group] for group in groups]

        async def at_once(log: EventLog) -> list[list[bool]]:
            return [list(flags) for flags in await asyncio.gather(*(log.append(group) for group in new))]

        flags = self.both(at_once(self.real), at_once(self.model))
        self.clock.now += 1
        for group, accepted in zip(new, flags, strict=True):
            for batch, is_new in zip(group, accepted, strict=True):
                if is_new:
                    self.accepted.append((len(self.accepted) + 1, batch.user))

    def _batch(self, user: int, records: int, size: int, key: int) -> NewBatch:
        body = b"%d of %d " % (next(self.numbers), user) + b"x" * size
        return NewBatch("shop", user, records, body, b"headers", b"%d" % key if key else None)

    @rule()
    def begin_a_new_file(self) -> None:
        async def rotate() -> None:
            if (appender := self.real._appender) is not None and not appender.writer.is_empty:
                appender.rotate()

        self.run(rotate())

    @rule()
    def give_up_delivered_files(self) -> None:
        if self.real._appender is not None:
            self.real._appender.delete_settled(-1.0)
            self.kept_from = max(self.kept_from, self.real._segments.firsts[0])

    # --- delivering ---

    @rule(name=connections, cut=st.integers(0, len(CUTS) - 1))
    def cut_lanes_anew(self, name: str, cut: int) -> None:
        self._cut(name, cut)

    @rule(name=connections, lane=st.integers(0, 2), records=st.integers(1, 9), oversize=st.booleans())
    def read(self, name: str, lane: int, records: int, oversize: bool) -> None:
        it = self.lanes[name][lane % len(self.lanes[name])]
        it.rows += self.both(
            _listed(it.real.read(records, 0.0, oversize=oversize)),
            _listed(it.model.read(records, 0.0, oversize=oversize)),
        )

    @rule(name=connections, lane=st.integers(0, 2), choice=st.randoms(use_true_random=False))
    def settle(self, name: str, lane: int, choice: Any) -> None:
        """Deliver, hold or park what was read; end or hold again some of what was held; end some replays."""
        it = self.lanes[name][lane % len(self.lanes[name])]
        held_before = self.both(_listed(it.real.held()), _listed(it.model.held()))
        replays = self.both(_listed(it.real.replays()), _listed(it.model.replays()))
        ends = {row.seq: choice.choice(["delivered", "held", "parked"]) for row in it.rows}
        again = [record for record in held_before if choice.random() < 0.3]
        settlement = Settlement(
            held=[
                *(held_record_again(record.seq, record.user, record.record_id) for record in again),
                *(held_record(row, index) for row in it.rows if ends[row.seq] == "held" for index in range(2)),
            ],
            released=[record.record_id for record in held_before if record not in again and choice.random() < 0.5],
            letters=[(dead_letter(row, name), row) for row in it.rows if ends[row.seq] == "parked"],
            replayed=[letter.record_id for letter, _ in replays if choice.random() < 0.5],
        )
        self.both(it.real.settle(settlement), it.model.settle(settlement))
        self.ended[name] |= {row.seq for row in it.rows} | it.erased
        it.rows, it.erased = [], set()

    @rule(
        name=connections, lane=st.integers(0, 2), records=st.integers(1, 12), choice=st.randoms(use_true_random=False)
    )
    def deliver(self, name: str, lane: int, records: int, choice: Any) -> None:
        """What lanes do all the time; apart, the two calls meet too seldom."""
        self.read(name, lane, records, oversize=True)
        self.settle(name, lane, choice)

    @rule(name=connections, back=st.integers(0, 12))
    def seek(self, name: str, back: int) -> None:
        seq = max(len(self.accepted) - back, self.kept_from - 1)
        self.both(self.real.seek(name, seq), self.model.seek(name, seq))
        self.ended[name] = {position for position, _ in self.accepted if position <= seq}
        self._cut(name, 0)

    # --- people ---

    @rule(user=users)
    def erase(self, user: int) -> None:
        erased, expected = self.run(self.real.erase(of_user(user))), self.run(self.model.erase(of_user(user)))
        assert erased == expected or (self.kept_from > 1 and erased < expected)
        for lanes in self.lanes.values():
            for lane in lanes:
                # As delivery would have it: what is in a partner's hands goes on, without what was erased.
                lane.erased |= {row.seq for row in lane.rows if row.user == user}
                lane.rows = [row for row in lane.rows if row.user != user]

    @precondition(lambda self: self.ended["a"] or self.ended["b"])
    @rule(name=st.none() | connections, some=st.none() | st.sets(st.integers(1, 20)))
    def replay_letters(self, name: str | None, some: set[int] | None) -> None:
        self.both(self.real.replay_letters(some, name), self.model.replay_letters(some, name))

    @precondition(lambda self: self.ended["a"] or self.ended["b"])
    @rule(name=st.none() | connections, some=st.sets(st.integers(1, 20)))
    def drop_letters(self, name: str | None, some: set[int]) -> None:
        self.both(self.real.drop_letters(some, name), self.model.drop_letters(some, name))

    # --- promises ---

    @invariant()
    def nothing_is_lost_and_nothing_settled_comes_back(self) -> None:
        for name in INPUTS:
            waiting = self.both(_waiting(self.real, name), _waiting(self.model, name))
            seqs = [row.seq for row in waiting]
            assert seqs == sorted(seqs)
            assert {*seqs, *self.ended[name]} == {position for position, _ in self.accepted}
            assert not self.ended[name] & set(seqs)
            assert [(row.seq, row.user) for row in waiting] == [(p, u) for p, u in self.accepted if p in set(seqs)]

    @invariant()
    def held_records_and_letters_are_the_same(self) -> None:
        for name in INPUTS:
            held = self.both(_listed(self.real.lease(name, ALL).held()), _listed(self.model.lease(name, ALL).held()))
            seqs = {record.seq for record in held}
            self.both(self.real.fetch(seqs), self.model.fetch(seqs))
        for number, _ in self.both(_listed(self.real.letters()), _listed(self.model.letters())):
            self.both(self.real.letter(number), self.model.letter(number))

    @invariant()
    def figures_agree(self) -> None:
        real, model = self.run(self.real.stats()), self.run(self.model.stats())
        assert (real.head, real.damaged, real.full) == (model.head, 0, False)
        for name in INPUTS:
            ours, theirs = real.connections[name], model.connections[name]
            assert (ours.held, ours.letters) == (theirs.held, theirs.letters)
            # A cut-off read counts foreign rows behind its last own one as waiting in one engine, not in the other.
            assert ours.depth >= theirs.depth
            assert (ours.depth == ours.held) == (theirs.depth == theirs.held)
            assert (ours.oldest_ms is None) == (theirs.oldest_ms is None)


def held_record_again(seq: int, user: int, record_id: str) -> HeldRecord:
    return HeldRecord(
        seq=seq, record_id=record_id, user=user, not_before_ms=5, attempts=7, code="again", message="and again"
    )


def of_user(user: int) -> Callable[[bytes], bool]:
    """What `EventLog.erase` asks, for a user of `_batch`."""
    return lambda body: body.split(b" ", 3)[2] == b"%d" % user


async def _listed(work: Any) -> list[Any]:
    return list(await work)


async def _waiting(log: EventLog, name: str) -> list[StoredBatch]:
    return await read_all(log.lease(name, ALL))


TestLogMachine = LogMachine.TestCase
TestLogMachine.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
