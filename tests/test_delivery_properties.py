"""The promise of the product as properties: whatever a partner answers, and whenever the router stops or dies, each
record ends exactly once where it is seen, and no record of a user goes out before an earlier one has ended.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st

from router_core.components import Accepts, Destination, DestinationType, Limits
from router_core.connection import DeliveryPolicy
from router_core.errors import CallRefused, InvalidCredentials, LogFull, Throttled, Unavailable
from router_core.events import EventType
from router_core.holding import HoldLimits
from router_core.log.memory import MemoryLog
from router_core.log.port import DeadLetter, HeldRecord, Lease, Settlement, StoredBatch, partition_of
from router_core.outcomes import Disposition, Outcome
from router_core.records import Record
from router_core.testing import Bench, VirtualClock, custom_event, event_batch, run_in_virtual_time, user_of_partition

USERS = [user_of_partition(partition) for partition in (0, 1, 21, 22, 43, 63)]
ENDS = {Disposition.DELIVERED, Disposition.SKIPPED, Disposition.REJECTED}

# --- what can happen --------------------------------------------------------------------------------------------------

WIRE: Mapping[str, dict[str, Any]] = {
    "good": custom_event("good"),
    "refused": custom_event("refused"),  # the partner refuses every call that holds it
    "crashing": custom_event("crashing"),  # the plugin fails on every call that holds it
    "malformed": custom_event("malformed", timestamp_unixtime_ms={}),
    "unsupported": {"event_type": "breadcrumb", "data": {"label": "x"}},
}
"""Kinds of event. The last two end before any call."""


@dataclass(frozen=True)
class Append:
    """One upload of one user."""

    user: int
    kinds: tuple[str, ...]
    profile: bool


@dataclass(frozen=True)
class Sleep:
    seconds: float


@dataclass(frozen=True)
class Restart:
    """The router stops, as by SIGTERM, and starts again."""


@dataclass(frozen=True)
class Kill:
    """The router dies and starts again."""


@dataclass(frozen=True)
class Marks:
    """One letter per record, again and again: delivered, skipped, rejected, three retries, unreported."""

    letters: str
    backwards: bool
    noise: bool
    """Outcomes that nobody asked for: of records that are not in the call, and second ones."""


@dataclass(frozen=True)
class Slow:
    seconds: float


Answer = Marks | Slow | Exception
Step = Append | Sleep | Restart | Kill

OUTCOMES: Mapping[str, Callable[[str], Outcome | None]] = {
    "d": Outcome.delivered,
    "s": lambda i: Outcome.skipped(i, "by_choice"),
    "x": lambda i: Outcome.rejected(i, "by_partner"),
    "r": lambda i: Outcome.retry(i, "later"),
    "R": lambda i: Outcome.retry(i, "later", retry_after=5.0),
    "z": lambda i: Outcome.retry(i, "later", retry_after=0.0),
    "u": lambda i: None,
}

appends = st.builds(
    Append,
    user=st.sampled_from(USERS),
    kinds=st.lists(
        st.sampled_from(["good", "good", "good", "good", "refused", "crashing", "malformed", "unsupported"]), max_size=5
    ).map(tuple),
    profile=st.booleans(),
)
waits = st.builds(Sleep, st.sampled_from([0.0, 0.01, 0.1, 0.25, 1.0, 3.0, 31.0]))
quiet_steps: st.SearchStrategy[list[Step]] = st.lists(st.one_of(appends, appends, waits), max_size=14)
stopping_steps: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(appends, appends, waits, st.just(Restart())), max_size=16
)
dying_steps: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(appends, appends, waits, st.just(Restart()), st.just(Kill())), max_size=16
)
answers: st.SearchStrategy[list[Answer]] = st.lists(
    st.one_of(
        st.builds(Marks, st.text("ddddsxrRzu", min_size=1, max_size=6), st.booleans(), st.booleans()),
        st.builds(Slow, st.sampled_from([0.0, 0.3, 2.0, 29.0, 45.0])),
        st.builds(Throttled, retry_after=st.sampled_from([None, 0.0, 0.5, 7.0])),
        st.builds(Unavailable, retry_after=st.sampled_from([None, None, 3.0])),
        st.builds(InvalidCredentials),
    ),
    max_size=14,
)


@dataclass(frozen=True)
class Shape:
    """How the connection is cut."""

    records: int
    lanes: int
    hold: HoldLimits


shapes = st.builds(
    Shape,
    records=st.integers(1, 6),
    lanes=st.sampled_from([1, 1, 2, 3]),
    hold=st.sampled_from([HoldLimits(), HoldLimits(), HoldLimits(users=1, records=2)]),
)

# --- the partner, who watches -----------------------------------------------------------------------------------------


@dataclass
class Ledger:
    """What was accepted, and how often each record was given an end."""

    accepted: dict[int, list[str]] = field(default_factory=dict)
    """User to the ids of their records, in order of acceptance."""
    kinds: dict[str, str] = field(default_factory=dict)
    ends: Counter[str] = field(default_factory=Counter)
    rejected: set[str] = field(default_factory=set)
    delivered: set[str] = field(default_factory=set)

    def accept(self, seq: int, upload: Append) -> None:
        """Note what the upload holds."""
        ids = [(f"{seq}.p", "good")] if upload.profile else []
        ids += [(f"{seq}.{index}", kind) for index, kind in enumerate(upload.kinds)]
        self.accepted.setdefault(upload.user, []).extend(record_id for record_id, _ in ids)
        self.kinds.update(ids)

    def end(self, record_id: str, disposition: Disposition) -> None:
        """A record was given its end."""
        self.ends[record_id] += 1
        if disposition is Disposition.REJECTED:
            self.rejected.add(record_id)
        elif disposition is Disposition.DELIVERED:
            self.delivered.add(record_id)

    def ended(self, record_id: str) -> bool:
        """Whether nothing more is to come of it."""
        return self.ends[record_id] > 0 or self.kinds[record_id] in ("malformed", "unsupported")

    def require_order(self, records: Sequence[Record]) -> None:
        """Before each record of a user, all earlier ones have ended or go with it, before it."""
        called: set[str] = set()
        for record in records:
            for earlier in self.accepted[record.context.user]:
                if earlier == record.id:
                    break
                assert earlier in called or self.ended(earlier), f"{record.id} goes out before {earlier}"
            called.add(record.id)


class WatchingPartner(Destination):
    """Follows a script and looks at every call."""

    def __init__(self, ledger: Ledger, script: Sequence[Answer], shape: Shape) -> None:
        self._ledger = ledger
        self._script: Iterator[Answer] = iter(script)
        self._shape = shape
        self._in_flight: list[Sequence[Record]] = []
        self._not_before = 0.0
        self.faults: list[AssertionError] = []

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        try:
            self._watch(records)
        except AssertionError as fault:
            self.faults.append(fault)
        self._in_flight.append(records)
        try:
            return await self._answer(records)
        finally:
            self._in_flight.remove(records)

    def _watch(self, records: Sequence[Record]) -> None:
        assert 1 <= len(records) <= self._shape.records
        assert len({record.id for record in records}) == len(records)
        assert len(self._in_flight) < self._shape.lanes
        assert asyncio.get_running_loop().time() >= self._not_before, "called in the time that the partner asked for"
        users = {record.context.user for record in records}
        assert not any(record.context.user in users for call in self._in_flight for record in call)
        self._ledger.require_order(records)

    async def _answer(self, records: Sequence[Record]) -> Sequence[Outcome]:
        kinds = {self._ledger.kinds[record.id] for record in records}
        for kind, error in (("refused", CallRefused("by_rule", "not this one")), ("crashing", KeyError("name"))):
            if kind in kinds:
                if len(records) == 1:
                    self._ledger.end(records[0].id, Disposition.REJECTED)
                raise error
        answer = next(self._script, None)
        if isinstance(answer, Exception):
            if isinstance(answer, (Throttled, Unavailable)) and answer.retry_after:
                self._not_before = max(self._not_before, asyncio.get_running_loop().time() + answer.retry_after)
            raise answer
        if isinstance(answer, Slow):
            await asyncio.sleep(answer.seconds)
        marks = answer if isinstance(answer, Marks) else Marks("d", backwards=False, noise=False)
        return self._marked(records, marks)

    def _marked(self, records: Sequence[Record], marks: Marks) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for index, record in enumerate(records):
            outcome = OUTCOMES[marks.letters[index % len(marks.letters)]](record.id)
            if outcome is None:
                continue
            outcomes.append(outcome)
            if outcome.disposition in ENDS:
                self._ledger.end(record.id, outcome.disposition)
        if marks.backwards:
            outcomes.reverse()
        if marks.noise:
            outcomes += [Outcome.rejected(o.record_id, "second") for o in outcomes]
            outcomes += [Outcome.delivered("999.0"), Outcome.rejected("nonsense", "made_up")]
        return outcomes


class FlakyLog(MemoryLog):
    """A log in memory whose settlements fail now and then, before or after they are on file."""

    def __init__(self, now: Any, failures: Collection[int]) -> None:
        super().__init__(now=now)
        self.failures = failures
        self.settlements = 0

    def lease(self, connection: str, partitions: range) -> Any:
        return FlakyLease(self, super().lease(connection, partitions))


class FlakyLease(Lease):
    def __init__(self, log: FlakyLog, lease: Lease) -> None:
        self._log = log
        self._lease = lease

    async def settle(self, settlement: Settlement) -> None:
        self._log.settlements += 1
        await asyncio.sleep(0.002)  # a commit takes a while, and the router can die in it
        if self._log.settlements in self._log.failures:
            raise LogFull("no room for the note")
        await self._lease.settle(settlement)
        await asyncio.sleep(0.002)

    async def read(self, max_records: int, wait: float, *, oversize: bool = True) -> Sequence[StoredBatch]:
        return await self._lease.read(max_records, wait, oversize=oversize)

    async def held(self) -> Sequence[HeldRecord]:
        return await self._lease.held()

    async def replays(self) -> Sequence[tuple[DeadLetter, StoredBatch]]:
        return await self._lease.replays()

    @property
    def unsettled(self) -> bool:
        return self._lease.unsettled


KIND = DestinationType(
    name="watching",
    title="Watching",
    summary="",
    create=lambda _: pytest.fail("made by hand"),
    accepts=Accepts(event_types={EventType.CUSTOM_EVENT}),
)


@dataclass
class Run:
    """What a run left behind."""

    ledger: Ledger
    letters: Sequence[DeadLetter]
    settled: Counter[str]
    """Records by how they ended, by the settlement reports."""
    held: int


async def run(steps: Sequence[Step], script: Sequence[Answer], shape: Shape, full: Collection[int] = ()) -> Run:
    """Do all steps, then let the router run until nothing waits."""
    ledger = Ledger()
    partner = WatchingPartner(ledger, script, shape)
    log = FlakyLog(VirtualClock().now, full)
    bench = Bench(
        partner,
        log=log,
        kind=KIND,
        limits=Limits(records=shape.records, calls_in_flight=shape.lanes, timeout=timedelta(seconds=30)),
        hold_limits=shape.hold,
    )
    await log.open(["shop"], {"connection": "shop"})
    bench.start()
    for step in steps:
        match step:
            case Append():
                body = event_batch_of(step)
                await bench.append(body, user=step.user)
                ledger.accept(log.head, step)
            case Sleep():
                await asyncio.sleep(step.seconds)
            case Restart():
                await bench.stop()
                bench.start()
            case Kill():
                await bench.kill()
                bench.start()
    await bench.idle()
    await bench.stop()
    assert not bench.faults
    if partner.faults:
        raise partner.faults[0]
    settled: Counter[str] = Counter()
    for report in bench.reports:
        settled["delivered"] += report.delivered
        settled["skipped"] += sum(report.skipped.values())
        settled["rejected"] += sum(report.rejected.values())
        settled["expired"] += report.expired
    return Run(ledger, await bench.letters(), settled, (await bench.stats()).held)


def event_batch_of(upload: Append) -> bytes:
    """The upload's body."""
    fields: dict[str, Any] = {"events": [WIRE[kind] for kind in upload.kinds]}
    if upload.profile:
        fields["user_attributes"] = {"plan": "gold"}
    return event_batch(**fields)


def require_ends_exactly_once(outcome: Run) -> None:
    """Each record was given one end, and the router's books say the same."""
    ledger, kinds = outcome.ledger, Counter(outcome.ledger.kinds.values())
    called = [record_id for record_id, kind in ledger.kinds.items() if kind not in ("malformed", "unsupported")]
    assert {record_id: ledger.ends[record_id] for record_id in called} == dict.fromkeys(called, 1)
    malformed = {record_id for record_id, kind in ledger.kinds.items() if kind == "malformed"}
    assert Counter(letter.record_id for letter in outcome.letters) == Counter(malformed | ledger.rejected)
    assert outcome.settled["delivered"] == len(ledger.delivered)
    assert outcome.settled["rejected"] == len(malformed | ledger.rejected)
    assert outcome.settled["skipped"] == (
        len(called) - len(ledger.delivered) - len(ledger.rejected) + kinds["unsupported"]
    )
    assert outcome.held == 0


PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=250)


@PROPERTY
@given(quiet_steps, answers, shapes, st.sets(st.integers(1, 8)))
def test_each_record_ends_exactly_once_and_no_user_is_overtaken_whatever_the_partner_answers(
    steps: list[Step], script: list[Answer], shape: Shape, full: set[int]
) -> None:
    outcome = run_in_virtual_time(run(steps, script, shape, full))
    event(f"records: {len(outcome.ledger.kinds) // 5 * 5}+")
    require_ends_exactly_once(outcome)


@PROPERTY
@given(stopping_steps, answers, shapes, st.sets(st.integers(1, 8), max_size=2))
def test_stopping_and_starting_again_neither_repeats_nor_loses_a_record(
    steps: list[Step], script: list[Answer], shape: Shape, full: set[int]
) -> None:
    require_ends_exactly_once(run_in_virtual_time(run(steps, script, shape, full)))


@PROPERTY
@given(dying_steps, answers, shapes, st.sets(st.integers(1, 8), max_size=2))
def test_after_a_crash_no_record_is_lost_and_no_user_is_overtaken(
    steps: list[Step], script: list[Answer], shape: Shape, full: set[int]
) -> None:
    outcome = run_in_virtual_time(run(steps, script, shape, full))
    note(f"ends: {outcome.ledger.ends}")
    ledger, parked = outcome.ledger, {letter.record_id for letter in outcome.letters}
    for record_id, kind in ledger.kinds.items():
        match kind:
            case "good":
                assert ledger.ends[record_id] >= 1
            case "refused" | "crashing" | "malformed":
                assert record_id in parked
    assert parked <= ledger.rejected | {i for i, kind in ledger.kinds.items() if kind == "malformed"}
    assert len(parked) == len(outcome.letters)
    assert outcome.held == 0
    if Kill() not in steps:
        require_ends_exactly_once(outcome)


@PROPERTY
@given(
    st.lists(st.sampled_from(USERS), min_size=1, max_size=6),
    st.integers(1, 3),
    st.lists(st.one_of(st.builds(Marks, st.text("rRzu", min_size=1), st.booleans(), st.booleans()),
                       st.builds(Unavailable), st.builds(Throttled)), max_size=5),
)  # fmt: skip
def test_what_never_succeeds_expires_by_its_age_and_never_without_a_try(
    users: list[int], records: int, script: list[Answer]
) -> None:
    class Never(WatchingPartner):
        def __init__(self) -> None:
            super().__init__(ledger, [], Shape(records, 1, HoldLimits()))
            self.tried: set[str] = set()
            self.calls = 0

        async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
            self.tried.update(record.id for record in records)
            self.calls += 1
            answer = script[self.calls % len(script)] if script else Unavailable()
            if isinstance(answer, Exception):
                raise answer
            assert isinstance(answer, Marks)
            return self._marked(records, answer)

    async def scenario() -> None:
        policy = DeliveryPolicy(give_up_after=600.0, back_off_maximum=60.0)
        async with Bench(partner, limits=Limits(records=records), policy=policy) as bench:
            for seq, user in enumerate(users, 1):
                upload = Append(user, ("good", "good"), profile=False)
                await bench.append(event_batch_of(upload), user=user)
                ledger.accept(seq, upload)
            await bench.idle()
            letters = await bench.letters()
            assert {letter.disposition for letter in letters} == {"expired"}
            assert {letter.code for letter in letters} == {"too_old"}
            assert sorted(letter.record_id for letter in letters) == sorted(ledger.kinds)
            assert partner.tried == set(ledger.kinds)
            assert all(letter.parked_at_ms - letter.received_at_ms > 600_000 for letter in letters)

    ledger = Ledger()
    partner = Never()
    run_in_virtual_time(scenario())


def test_the_users_of_these_properties_lie_in_lanes_of_their_own() -> None:
    assert {partition_of(user) * 3 // 64 for user in USERS} == {0, 1, 2}
