"""The kit holds what it says: virtual time, the fake clock, the script, the builders."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from router_core.events import CustomEvent
from router_core.intake import envelope_of
from router_core.log.port import partition_of, user_hash
from router_core.outcomes import Outcome
from router_core.records import PROFILE_UPDATE, Record
from router_core.testing import (
    EPOCH,
    Bench,
    FakeClock,
    ScriptedDestination,
    VirtualClock,
    custom_event,
    event_batch,
    in_virtual_time,
    record,
    records_of,
    run_in_virtual_time,
    stored_batch,
    user_of_partition,
)


def test_an_hour_of_virtual_time_takes_no_time_and_keeps_the_order_of_sleepers() -> None:
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await VirtualClock().sleep(seconds)
        woken.append((name, VirtualClock().monotonic()))

    async def scenario() -> None:
        await asyncio.gather(sleeper("late", 3600.0), sleeper("early", 1.0), sleeper("middle", 60.0))

    before = time.monotonic()
    run_in_virtual_time(scenario())
    assert time.monotonic() - before < 1.0
    assert woken == [("early", 1.0), ("middle", 60.0), ("late", 3600.0)]


@in_virtual_time
async def test_time_outs_are_virtual_too() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(600.0):
            await asyncio.Event().wait()
    assert VirtualClock().now() == EPOCH + 600.0


@in_virtual_time
async def test_virtual_time_stands_while_a_thread_works() -> None:
    timer = asyncio.create_task(asyncio.sleep(1000.0))
    await asyncio.to_thread(time.sleep, 0.01)
    assert VirtualClock().monotonic() == 0.0
    timer.cancel()


def test_a_test_that_would_hang_for_ever_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router_core.testing.virtual._THREADS_HAVE", 0.01)
    with pytest.raises(RuntimeError, match="would never end"):
        run_in_virtual_time(_hang())


async def _hang() -> None:
    await asyncio.Event().wait()


async def test_the_fake_clock_goes_on_by_sleeping_and_by_being_set() -> None:
    clock = FakeClock(now=100.0)
    await clock.sleep(5.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic(), clock.slept) == (107.5, 7.5, [5.0])


async def test_the_fake_clock_lets_other_tasks_run() -> None:
    clock, ran = FakeClock(), asyncio.Event()
    task = asyncio.create_task(_set(ran))
    await clock.sleep(60.0)
    assert ran.is_set()
    await task


async def _set(flag: asyncio.Event) -> None:
    flag.set()


@in_virtual_time
async def test_a_script_is_followed_in_order_and_then_answers_as_said() -> None:
    gate = asyncio.Event()

    async def later(records: Sequence[Record]) -> Sequence[Outcome]:
        await asyncio.sleep(1.0)
        return [Outcome.skipped(records[0].id, "later")]

    partner = ScriptedDestination(
        None, KeyError("x"), gate, [Outcome.rejected("9.9", "as_is")], lambda r: [Outcome.retry(r[0].id, "by_rule")],
        later, then=Outcome_all,
    )  # fmt: skip
    one = [record()]
    assert await partner.deliver(one) == [Outcome.delivered("1.0")]
    with pytest.raises(KeyError):
        await partner.deliver(one)
    waiting = asyncio.create_task(partner.deliver(one))
    await partner.called(3)
    assert partner.in_flight == 1
    gate.set()
    assert await waiting == [Outcome.delivered("1.0")]
    assert [(await partner.deliver(one))[0].code for _ in range(5)] == ["as_is", "by_rule", "later", "then", "then"]
    assert partner.ids == [["1.0"]] * 8
    assert partner.delivered == ["1.0", "1.0"]
    assert partner.calls[1].reported is None
    assert (partner.in_flight, partner.most_in_flight) == (0, 1)


def Outcome_all(records: Sequence[Record]) -> Sequence[Outcome]:
    return [Outcome.skipped(item.id, "then") for item in records]


def test_built_uploads_are_what_intake_takes() -> None:
    body = event_batch(custom_event("A"), custom_event("B"), customer_id="c1", user_attributes={"a": 1})
    envelope = envelope_of(body)
    assert (envelope.events, envelope.records, envelope.user) == (2, 3, user_hash("customer_id:c1"))


def test_built_records_have_the_context_that_was_asked_for() -> None:
    made = record("custom_event", {"event_name": "A"}, seq=5, user=7, channel="native", batch={"mpid": "1"})
    assert isinstance(made.event, CustomEvent)
    assert (made.id, made.event.event_name, made.batch.mpid) == ("5.0", "A", "1")
    assert (made.context.user, made.context.channel) == (7, "native")
    assert [r.event_type for r in records_of(event_batch(customer_id="c"))] == [PROFILE_UPDATE, "custom_event"]


def test_a_built_batch_is_of_the_user_that_was_named() -> None:
    assert stored_batch(user="ann").user == user_hash("ann")
    assert stored_batch(user=64).user == 64


@pytest.mark.parametrize("partition", [0, 1, 63])
def test_users_can_be_had_by_partition(partition: int) -> None:
    users = {user_of_partition(partition, number) for number in range(5)}
    assert len(users) == 5
    assert {partition_of(user) for user in users} == {partition}


@in_virtual_time
async def test_a_bench_that_never_gets_idle_says_what_waits() -> None:
    async with Bench(ScriptedDestination(then=asyncio.Event())) as bench:
        await bench.append(event_batch())
        with pytest.raises(AssertionError, match=r"still not idle: .*depth=1"):
            await bench.idle(within=100.0)


@in_virtual_time
async def test_a_bench_tells_of_a_lane_that_failed() -> None:
    class Broken(ScriptedDestination):
        pass

    async with Bench(Broken()) as bench:
        bench.connection.pipeline.prepare = _broken  # type: ignore[method-assign]
        await bench.append(event_batch())
        with pytest.raises(ZeroDivisionError):
            await bench.idle()


async def _broken(batches: object, *, again: bool = False) -> tuple[list[Record], list[Outcome]]:
    raise ZeroDivisionError
