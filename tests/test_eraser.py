"""Carrying erasures out: what is learned, wiped and told to partners, and what happens when something fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from router_core.account import Account
from router_core.components import Destination, DestinationType, Forgotten, Limits, Subject
from router_core.eraser import Eraser
from router_core.erasure import Erasure, State, Status
from router_core.erasurefile import opened
from router_core.errors import CallRefused, InvalidCredentials, LogDamaged, LogError, Throttled, Unavailable
from router_core.events import UserIdentity
from router_core.findings import Findings
from router_core.log.memory import MemoryLog
from router_core.log.port import EventLog, NewBatch
from router_core.outcomes import Outcome
from router_core.records import Record
from router_core.telemetry import Telemetry
from router_core.testing import FakeClock

from .people import ID, ask, batch, erasure_of, suppression_of

OTHER = "22222222-2222-4222-8222-222222222222"


class Partner(Destination):
    """Ends each erasure as told, then says yes."""

    def __init__(self, *ends: Exception | bool | Forgotten) -> None:
        self.ends = list(ends)
        self.subjects: list[Subject] = []

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        raise NotImplementedError

    async def erase(self, subject: Subject) -> bool | Forgotten:
        self.subjects.append(subject)
        end = self.ends.pop(0) if self.ends else True
        if isinstance(end, Exception):
            raise end
        return end


@dataclass
class FakeConnection:
    """What the eraser knows of a connection."""

    name: str
    destination: Destination
    account: Account = field(default_factory=lambda: Account(1))
    limits: Limits = field(default_factory=Limits)


@dataclass
class FakeLane:
    under_way: int | None = None


class FakeDeliverer:
    """What the eraser knows of deliveries."""

    def __init__(self, *connections: FakeConnection, erases: bool = True) -> None:
        self.connections = {connection.name: connection for connection in connections}
        self.lanes = [FakeLane()]
        self._type = DestinationType(name="partner", title="", summary="", create=lambda _: Partner(), erases=erases)

    def type_of(self, name: str) -> DestinationType:
        return self._type

    def output_of(self, name: str) -> str:
        return "account"


@dataclass
class Bench:
    folder: Path
    eraser: Eraser
    clock: FakeClock
    log: EventLog
    deliverer: FakeDeliverer
    telemetry: Telemetry

    async def pass_by(self, seconds: float = 2.5, steps: int = 4) -> Erasure:
        """Let time pass, look some times, and see how far the request is."""
        self.clock.advance(seconds)
        for _ in range(steps):
            await self.eraser.step()
            for _ in range(10):
                await asyncio.sleep(0)
        return erasure_of(self.folder)

    async def wiped(self) -> Erasure:
        """The request when it was noticed, searched and wiped, and partners were asked once."""
        for _ in range(3):
            found = await self.pass_by()
        return found

    async def carried_out(self) -> Erasure:
        for _ in range(6):
            found = await self.pass_by()
        return found

    async def bodies(self) -> list[bytes]:
        return [row.body for row in (await self.log.fetch(range(1, 100))).values()]


@asynccontextmanager
async def bench(
    folder: Path, *connections: FakeConnection, bodies: Sequence[bytes] = (), log: EventLog | None = None,
    erases: bool = True,
) -> AsyncIterator[Bench]:  # fmt: skip
    clock, telemetry = FakeClock(), Telemetry()
    kept = log or MemoryLog()
    if log is None:
        await kept.open(["shop"], {})
    if bodies:
        await kept.append([NewBatch("shop", index, 1, body) for index, body in enumerate(bodies)])
    deliverer = FakeDeliverer(*connections, erases=erases)
    suppression = suppression_of(folder)
    eraser = Eraser(folder, kept, suppression, deliverer, telemetry, clock=clock)  # type: ignore[arg-type]
    try:
        yield Bench(folder, eraser, clock, kept, deliverer, telemetry)
    finally:
        eraser.stop()
        eraser.close()
        suppression.close()
        await asyncio.sleep(0)


async def test_without_an_erasure_nothing_is_made(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        await it.eraser.step()
    assert list(tmp_path.iterdir()) == []


async def test_a_person_is_searched_wiped_and_forgotten_by_the_partner(tmp_path: Path) -> None:
    kit = {"135": {"clevertap_id_integration_setting": "__g"}}
    bodies = [
        batch("c-1", mpid=17, mp_deviceid="D-1", integration_attributes=kit),
        batch(mp_deviceid="D-1"),
        batch(mpid=17),
        batch("c-2", mp_deviceid="D-1"),
        batch(user_identities={"customerid": "c-1", "email": "A@b.c"}),
        batch(user_identities={"email": "a@b.c"}),
    ]
    ask(tmp_path, ("customer_id", "c-1"))
    partner = Partner()
    async with bench(tmp_path, FakeConnection("main", partner), bodies=bodies) as it:
        await it.eraser.step()
        assert erasure_of(tmp_path).status is Status.PENDING, "the accepting worker must have noticed first"
        done = await it.carried_out()
        assert done.status is Status.COMPLETED
        assert done.connections["main"].state is State.SENT
        assert done.batches == 5
        assert await it.bodies() == [b"", b"", b"", bodies[3], b"", b""]
        assert it.telemetry.value("erased_batches") == 5
        await it.pass_by()
        assert it.telemetry.value("erasures_open") == 0
    (subject,) = partner.subjects
    assert subject == Subject(
        user_identities={UserIdentity.CUSTOMER_ID: ("c-1",), UserIdentity.EMAIL: ("A@b.c",)},
        mpids=("17",),  # and not the stamp, which is of c-2's device, too
        integration_attributes={135: {"clevertap_id_integration_setting": ("__g",)}},
    )


async def test_nothing_is_wiped_while_a_call_from_before_is_under_way(tmp_path: Path) -> None:
    ask(tmp_path, ("customer_id", "c-1"))
    partner = Partner()
    async with bench(tmp_path, FakeConnection("main", partner), bodies=[batch("c-1")]) as it:
        await it.pass_by()
        await it.pass_by()
        it.deliverer.lanes[0].under_way = 0
        it.clock.advance(5.0)
        step = asyncio.create_task(it.eraser.step())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not step.done()
        assert await it.bodies() == [batch("c-1")]
        assert partner.subjects == []
        it.deliverer.lanes[0].under_way = None
        await step
        assert await it.bodies() == [b""]


@pytest.mark.parametrize(
    ("error", "state", "detail", "again_after"),
    [
        (Unavailable("it is down"), State.PENDING, "it is down", 2.0),
        (Throttled(retry_after=60.0), State.PENDING, "the partner asks to slow down", 61.0),
        (InvalidCredentials("no admin"), State.FAILED, "no admin", 901.0),
        (CallRefused("partner_400", "c-1 is nobody"), State.FAILED, "refused: partner_400", 901.0),
        (KeyError("c-1"), State.FAILED, "the plugin raised KeyError", 901.0),
        (Unavailable("c-1 is down"), State.PENDING, "*** is down", 2.0),
    ],
)
async def test_a_partner_that_fails_is_asked_again(
    tmp_path: Path, error: Exception, state: State, detail: str, again_after: float
) -> None:
    ask(tmp_path, ("customer_id", "c-1"))
    partner = Partner(error)
    async with bench(tmp_path, FakeConnection("main", partner), bodies=[batch("c-1")]) as it:
        found = await it.wiped()
        assert (found.connections["main"].state, found.connections["main"].detail) == (state, detail)
        assert len(partner.subjects) == 1
        assert found.status is Status.IN_PROGRESS
        assert await it.bodies() == [b""], "our own part does not wait for the partner"
        found = await it.pass_by(again_after)
        assert len(partner.subjects) == 2
        assert (found.status, found.connections["main"].tries) == (Status.COMPLETED, 2)


async def test_mended_credentials_are_tried_at_once(tmp_path: Path) -> None:
    ask(tmp_path, ("customer_id", "c-1"))
    connection = FakeConnection("main", Partner(InvalidCredentials("no")))
    async with bench(tmp_path, connection) as it:
        await it.wiped()
        assert it.eraser.partners.wait_for_settings
        connection.destination = Partner()
        assert (await it.pass_by(0.0)).status is Status.COMPLETED
        assert not it.eraser.partners.wait_for_settings


async def test_a_partner_without_a_suitable_id_and_one_that_cannot_erase_are_skipped(tmp_path: Path) -> None:
    ask(tmp_path, ("customer_id", "c-1"))
    async with bench(tmp_path, FakeConnection("main", Partner(False))) as it:
        done = await it.carried_out()
        assert (done.status, done.connections["main"].state) == (Status.COMPLETED, State.SKIPPED)
    ask(tmp_path, ("customer_id", "c-2"), id=OTHER)
    async with bench(tmp_path, FakeConnection("file", Partner()), erases=False) as it:
        await it.carried_out()
        at = erasure_of(tmp_path, OTHER).connections["file"]
        assert (at.state, at.detail) == (State.SKIPPED, "the destination partner cannot erase")


async def test_a_connection_that_is_gone_does_not_hold_an_erasure_up(tmp_path: Path) -> None:
    ask(tmp_path, ("customer_id", "c-1"))
    async with bench(tmp_path, FakeConnection("main", Partner(CallRefused("x", "y")))) as it:
        assert (await it.wiped()).connections["main"].state is State.FAILED
    async with bench(tmp_path, FakeConnection("new", Partner())) as it:
        done = await it.carried_out()
        assert done.status is Status.COMPLETED
        assert done.connections["main"].detail == "the connection is no longer configured"
        assert done.connections["new"].state is State.SENT


class DamagedLog(MemoryLog):
    damaged = True

    async def erase(self, is_theirs: Callable[[bytes], bool]) -> int:
        await super().erase(is_theirs)
        if self.damaged:
            raise LogDamaged("damaged files may hold more: 17.log")
        return 0


async def test_a_damaged_file_is_named_and_holds_up_the_end_but_not_the_partners(tmp_path: Path) -> None:
    ask(tmp_path, ("customer_id", "c-1"))
    log, partner = DamagedLog(), Partner()
    await log.open(["shop"], {})
    async with bench(tmp_path, FakeConnection("main", partner), bodies=[batch("c-1")], log=log) as it:
        found = await it.carried_out()
        assert (found.status, found.wiped) == (Status.IN_PROGRESS, False)
        assert found.note == "damaged files may hold more: 17.log"
        assert found.connections["main"].state is State.SENT
        log.damaged = False
        found = await it.pass_by(61.0)
        assert (found.status, found.note) == (Status.COMPLETED, "")
    assert len(partner.subjects) == 1


async def test_what_slipped_in_behind_an_erasure_is_swept(tmp_path: Path) -> None:
    ask(tmp_path, ("customer_id", "c-1"))
    async with bench(tmp_path) as it:
        await it.carried_out()
        await it.log.append([NewBatch("shop", 1, 1, batch("c-1")), NewBatch("shop", 1, 1, batch("c-2"))])
        it.eraser._suppression.met = True  # as the pipeline notes it
        await it.pass_by(40.0)
        assert await it.bodies() == [b"", batch("c-2")]


async def test_a_stop_ends_a_walk_in_the_middle(tmp_path: Path) -> None:
    from router_core.eraser import Stopped

    ask(tmp_path, ("customer_id", "c-1"))
    async with bench(tmp_path, bodies=[batch("c-1")]) as it:
        it.eraser.stop()
        await it.pass_by(10.0)
        with pytest.raises(Stopped):
            await it.pass_by(10.0)
        assert await it.bodies() == [batch("c-1")]


def findings(requested: dict[str, list[str]], *bodies: bytes) -> dict[str, Any]:
    found = Findings(requested)
    for body in bodies:
        found.take(body)
    return {kind: list(values) for kind, values in found.of_the_person().items()}


def test_an_address_that_two_customers_share_tells_nothing_of_either() -> None:
    shared = {"email": "a@b.c"}
    one, other = (batch(user_identities={**shared, "customer_id": c}, mpid=m) for c, m in (("c-1", 17), ("c-2", 18)))
    alone = batch(user_identities={**shared, "other": "x"})
    assert findings({"email": ["a@b.c"]}, one) == {"customer_id": ["c-1"], "mpid": ["17"]}
    assert findings({"email": ["a@b.c"]}, one, other, alone) == {"other": ["x"]}
    assert findings({"email": ["a@b.c"], "customer_id": ["c-1"]}, one, other, alone) == {"other": ["x"], "mpid": ["17"]}


async def test_a_request_that_is_cancelled_at_the_last_instant_keeps_nothing_of_its_person(tmp_path: Path) -> None:
    ask(tmp_path, ("customer_id", "c-1"))
    async with bench(tmp_path, FakeConnection("main", Partner()), bodies=[batch("c-1")]) as it:
        await it.pass_by()
        (seen,) = it.eraser._opened.unfinished()
        with opened(tmp_path) as file:
            file.cancel(ID)
        await it.eraser._search([seen])
        assert (await it.carried_out()).status is Status.CANCELLED
        assert erasure_of(tmp_path).person is None
        assert await it.bodies() == [batch("c-1")]
        assert not it.eraser._suppression.covers_body(batch("c-1"))


async def test_two_people_share_one_walk(tmp_path: Path) -> None:
    class Counting(MemoryLog):
        walks = 0

        async def erase(self, is_theirs: Callable[[bytes], bool]) -> int:
            self.walks += 1
            return await super().erase(is_theirs)

    log = Counting()
    await log.open(["shop"], {})
    await log.append([NewBatch("shop", index, 1, batch(f"c-{index}")) for index in range(3)])
    ask(tmp_path, ("customer_id", "c-1"))
    ask(tmp_path, ("customer_id", "c-2"), id=OTHER)
    async with bench(tmp_path, FakeConnection("main", Partner()), log=log) as it:
        await it.carried_out()
        assert [erasure_of(tmp_path, id).batches for id in (ID, OTHER)] == [1, 1]
        assert await it.bodies() == [batch("c-0"), b"", b""]
        assert log.walks == 2


async def test_nothing_is_begun_while_the_suppressions_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(tmp_path, ("customer_id", "c-1"))
    async with bench(tmp_path, bodies=[batch("c-1")]) as it:
        monkeypatch.setattr(it.eraser._suppression, "refresh", lambda: False)
        assert (await it.carried_out()).status is Status.PENDING
        assert await it.bodies() == [batch("c-1")]


KIT = {"135": {"clevertap_id_integration_setting": "-v" + "ab12" * 8}}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("other", [{"customer_id": "c-2"}, {"email": "other@b.c"}])
async def test_a_device_on_which_somebody_else_is_named_too_is_not_the_persons(
    tmp_path: Path, other: dict[str, str], first: bool
) -> None:
    """A kit tells the id that it had when the app started, also when another person has logged in since."""
    theirs = batch(user_identities=other, integration_attributes=KIT, device_info={"ios_idfv": "AB-12"})
    mine = batch("c-1", integration_attributes=KIT, device_info={"ios_idfv": "AB-12", "android_uuid": "A9"}, mpid=17)
    ask(tmp_path, ("customer_id", "c-1"))
    partner = Partner()
    bodies = [theirs, mine] if first else [mine, theirs]
    async with bench(tmp_path, FakeConnection("main", partner), bodies=bodies) as it:
        await it.carried_out()
        assert theirs in await it.bodies()
        assert not it.eraser._suppression.covers_body(batch(integration_attributes=KIT))
    (subject,) = partner.subjects
    assert subject.integration_attributes == {}
    assert subject.device_identities == {"android_uuid": ("A9",)}
    assert subject.mpids == ("17",)


async def test_a_device_that_only_the_person_was_seen_with_is_theirs(tmp_path: Path) -> None:
    device = {"ios_idfv": "AB-12"}
    mine = batch("c-1", integration_attributes=KIT, device_info=device, user_identities={"customer_id": "c-1"})
    email_only = batch(user_identities={"email": "a@b.c"}, integration_attributes=KIT)
    both = batch(user_identities={"customer_id": "c-1", "email": "A@b.c"})
    ask(tmp_path, ("customer_id", "c-1"))
    partner = Partner()
    async with bench(tmp_path, FakeConnection("main", partner), bodies=[email_only, both, mine]) as it:
        await it.carried_out()
        suppression = it.eraser._suppression
        # A partner has forgotten what it made of the device: nothing may make it again ...
        assert suppression.covers_body(batch(device_info={"ios_idfv": "ab12"}))
        assert suppression.covers_body(batch(integration_attributes=KIT))
        # ... and whoever logs in there next is somebody else.
        assert not suppression.covers_body(batch("c-2", device_info=device))
    (subject,) = partner.subjects
    assert subject.device_identities == {"ios_idfv": ("AB-12",)}
    assert subject.integration_attributes == {135: {"clevertap_id_integration_setting": ("-v" + "ab12" * 8,)}}


@pytest.mark.parametrize(
    ("kind", "asked", "delivered"),
    [
        ("mobile_number", "491701234567", "+491701234567"),
        ("email", "ada@example.com", "Ada@Example.com"),
        ("customer_id", "X", " X "),
    ],
)
def test_a_partner_gets_the_value_as_it_was_asked_for_and_as_it_was_sent(kind: str, asked: str, delivered: str) -> None:
    one, other = batch(user_identities={kind: delivered}), batch(user_identities={kind: asked})
    assert findings({kind: [asked]}, one, other, one) == {kind: [delivered]}


async def test_what_a_destination_says_of_an_erasure_stands_in_its_detail(tmp_path: Path) -> None:
    ask(tmp_path, ("customer_id", "c-1"))
    said = Forgotten(True, "one device of c-1 was left")
    connections = [FakeConnection("a", Partner(said)), FakeConnection("b", Partner(Forgotten(False, "nothing known")))]
    async with bench(tmp_path, *connections) as it:
        done = await it.carried_out()
    assert (done.connections["a"].state, done.connections["a"].detail) == (State.SENT, "one device of *** was left")
    assert (done.connections["b"].state, done.connections["b"].detail) == (State.SKIPPED, "nothing known")


@pytest.mark.parametrize("error", [LogError("disk"), LogDamaged("damaged")])
async def test_a_sweep_that_fails_is_done_again(tmp_path: Path, error: LogError) -> None:
    class Failing(MemoryLog):
        walks = 0

        async def erase(self, is_theirs: Callable[[bytes], bool]) -> int:
            self.walks += 1
            if self.walks == 1:
                raise error
            return await super().erase(is_theirs)

    log = Failing()
    async with bench(tmp_path, log=log) as it:
        it.eraser._suppression.met = True
        with suppress(LogError):
            await it.eraser._sweep([])
        it.clock.advance(61.0)
        await it.eraser._sweep([])
        await it.eraser._sweep([])
        assert log.walks == 2
        assert not it.eraser._suppression.met
