"""Lanes on a bench: retries, held users, giving up, dead letters on replay, stopping, and faults of the log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from router_core.components import Limits, Transform, Transformed
from router_core.connection import DeliveryPolicy
from router_core.errors import CallRefused, InvalidCredentials, LogFull, Throttled, Unavailable
from router_core.holding import HoldLimits
from router_core.log.memory import MemoryLease, MemoryLog
from router_core.log.port import Settlement
from router_core.outcomes import Outcome
from router_core.records import Record
from router_core.testing import (
    Bench,
    ScriptedDestination,
    VirtualClock,
    custom_event,
    event_batch,
    in_virtual_time,
    user_of_partition,
)

ANN, BOB, CAT = (user_of_partition(0, number) for number in range(3))
HOUR = 3600.0


def events(count: int) -> bytes:
    """An upload with this many events."""
    return event_batch(*(custom_event(f"event {n}") for n in range(count)))


# --- retries hold the user --------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_retry_holds_the_user_and_lets_the_others_go_on() -> None:
    partner = ScriptedDestination([Outcome.retry("1.0", "busy", retry_after=60.0), Outcome.delivered("2.0")])
    async with Bench(partner) as bench:
        await bench.append(events(1), user=ANN)
        await bench.append(events(1), user=BOB)
        await partner.called()
        await bench.append(events(1), user=ANN)
        await bench.append(events(1), user=BOB)
        await asyncio.sleep(30.0)
        assert partner.ids == [["1.0", "2.0"], ["4.0"]]
        assert (await bench.stats()).held == 2
        await bench.idle()
        assert partner.ids == [["1.0", "2.0"], ["4.0"], ["1.0"], ["3.0"]]
        assert partner.calls[2].at - partner.calls[0].at == pytest.approx(60.0, abs=0.05)


@in_virtual_time
async def test_records_behind_a_held_one_come_in_order_through_several_retries() -> None:
    partner = ScriptedDestination(
        [Outcome.retry("1.0", "busy", retry_after=5.0)],
        [Outcome.retry("1.0", "busy", retry_after=5.0)],
        [Outcome.retry("1.0", "busy", retry_after=5.0)],
    )
    async with Bench(partner, limits=Limits(records=1)) as bench:
        for _ in range(4):
            await bench.append(events(1), user=ANN)
        await bench.idle()
        assert partner.ids == [["1.0"]] * 4 + [["2.0"], ["3.0"], ["4.0"]]


@in_virtual_time
async def test_what_comes_later_in_a_split_batch_waits_behind_a_retried_record_of_its_user() -> None:
    partner = ScriptedDestination([Outcome.delivered("1.0"), Outcome.retry("1.1", "busy", retry_after=5.0)])
    async with Bench(partner, limits=Limits(records=2)) as bench:
        await bench.append(events(5), user=ANN)
        await bench.idle()
        assert partner.ids == [["1.0", "1.1"], ["1.1"], ["1.2", "1.3"], ["1.4"]]


@in_virtual_time
async def test_a_record_is_not_tried_before_the_time_its_own_outcome_names() -> None:
    answer = [Outcome.retry("1.0", "busy", retry_after=5.0), Outcome.retry("1.1", "busy", retry_after=50.0)]
    async with Bench(partner := ScriptedDestination(answer)) as bench:
        await bench.append(events(2), user=ANN)
        await bench.idle()
        assert partner.ids == [["1.0", "1.1"], ["1.0"], ["1.1"]]
        assert partner.calls[2].at - partner.calls[0].at == pytest.approx(50.0, abs=0.05)


@in_virtual_time
async def test_records_that_failed_together_are_tried_together() -> None:
    partner = ScriptedDestination([])
    async with Bench(partner) as bench:
        await bench.append(events(5), user=ANN)
        await bench.append(events(5), user=BOB)
        await bench.idle()
        assert len(partner.calls) == 2
        assert len(partner.calls[1].ids) == 10


@in_virtual_time
async def test_a_partner_that_asks_for_a_retry_at_once_gets_the_back_off_and_stops_nobody_else() -> None:
    def never_for_ann(records: Sequence[Record]) -> Sequence[Outcome]:
        return [
            Outcome.retry(record.id, "busy", retry_after=0.0)
            if record.context.user == ANN
            else Outcome.delivered(record.id)
            for record in records
        ]

    async with Bench(partner := ScriptedDestination(then=never_for_ann)) as bench:
        await bench.append(events(1), user=ANN)
        await partner.called()
        await bench.append(events(1), user=BOB)
        await asyncio.sleep(10.0)
        assert partner.delivered == ["2.0"]
        assert len(partner.calls) < 20


@in_virtual_time
async def test_held_records_survive_a_restart_with_their_order_and_their_times() -> None:
    partner = ScriptedDestination([Outcome.retry(f"1.{n}", "busy", retry_after=60.0) for n in range(2)])
    async with Bench(partner) as bench:
        await bench.append(events(2), user=ANN)
        await partner.called()
        await asyncio.sleep(1.0)
        await bench.append(events(1), user=ANN)
        await asyncio.sleep(1.0)
        await bench.kill()
        assert (await bench.stats()).held == 3
        bench.start()
        await asyncio.sleep(30.0)
        assert len(partner.calls) == 1
        await bench.idle()
        assert partner.ids[1:] == [["1.0", "1.1"], ["2.0"]]
        assert partner.calls[1].at - partner.calls[0].at == pytest.approx(60.0, abs=0.05)


@pytest.mark.parametrize("limits", [HoldLimits(users=1), HoldLimits(records=1)], ids=["users", "records"])
def test_at_the_hold_limit_nothing_new_is_taken_up_until_the_lane_has_drained(limits: HoldLimits) -> None:
    @in_virtual_time
    async def scenario() -> None:
        partner = ScriptedDestination([Outcome.retry("1.0", "busy", retry_after=60.0)])
        async with Bench(partner, hold_limits=limits) as bench:
            await bench.append(events(1), user=ANN)
            await partner.called()
            await bench.append(events(1), user=BOB)
            await asyncio.sleep(50.0)
            assert partner.ids == [["1.0"]]
            await bench.idle()
            assert partner.ids == [["1.0"], ["1.0"], ["2.0"]]

    scenario()


@in_virtual_time
async def test_a_held_record_whose_user_was_erased_is_skipped() -> None:
    partner = ScriptedDestination([Outcome.retry("1.0", "busy", retry_after=60.0)])
    async with Bench(partner) as bench:
        await bench.append(events(1), user=ANN)
        await partner.called()
        await asyncio.sleep(1.0)
        await bench.log.erase(lambda body: True)
        await asyncio.sleep(100.0)
        await bench.idle()
        assert partner.ids == [["1.0"]]
        assert bench.telemetry.value("skipped_records", connection="connection", code="gone") == 1


@in_virtual_time
async def test_a_transform_that_drops_a_held_record_later_ends_it() -> None:
    class DropFromSecondTime(Transform):
        times = 0

        async def apply(self, records: Sequence[Record]) -> Transformed:
            self.times += 1
            if self.times == 1:
                return Transformed(records=records)
            return Transformed(records=[], outcomes=[Outcome.skipped(record.id, "dropped") for record in records])

    partner = ScriptedDestination([Outcome.retry("1.0", "busy", retry_after=60.0)])
    async with Bench(partner, transforms={"drop": DropFromSecondTime()}) as bench:
        await bench.append(events(1), user=ANN)
        await bench.idle()
        assert partner.ids == [["1.0"]]
        assert [report.skipped for report in bench.reports] == [{}, {"dropped": 1}]


# --- giving up --------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_partner_that_is_down_for_three_days_expires_what_is_older_and_not_before() -> None:
    async with Bench(partner := ScriptedDestination(then=Unavailable("down"))) as bench:
        await bench.append(events(1), user=ANN)
        await asyncio.sleep(71.9 * HOUR)
        assert await bench.letters() == []
        await bench.append(events(1), user=ANN)
        await asyncio.sleep(0.3 * HOUR)
        (letter,) = await bench.letters()
        assert (letter.record_id, letter.disposition, letter.code, letter.message) == (
            "1.0", "expired", "too_old", "down",
        )  # fmt: skip
        partner.answer(*[None] * 9)
        await bench.idle()
        assert partner.delivered == ["2.0"]


@in_virtual_time
async def test_many_failures_do_not_expire_a_record_that_is_young() -> None:
    policy = DeliveryPolicy(back_off_initial=0.001, back_off_maximum=0.01)
    async with Bench(partner := ScriptedDestination(*[Unavailable()] * 1000), policy=policy) as bench:
        await bench.append(events(1), user=ANN)
        await bench.idle()
        assert len(partner.calls) == 1001
        assert await bench.letters() == []


@in_virtual_time
async def test_a_record_is_never_given_up_without_a_try_however_old_it_is() -> None:
    async with Bench(partner := ScriptedDestination()) as bench:
        await bench.kill()
        await bench.append(events(1), user=ANN)
        await asyncio.sleep(200 * HOUR)
        bench.start()
        await bench.idle()
        assert partner.delivered == ["1.0"]
        assert await bench.letters() == []


@in_virtual_time
async def test_old_records_that_wait_behind_an_expired_one_get_their_try() -> None:
    partner = ScriptedDestination([Outcome.retry("1.0", "busy"), Outcome.delivered("1.1")])
    async with Bench(partner, limits=Limits(records=2)) as bench:
        await bench.kill()
        await bench.append(events(4), user=ANN)
        await asyncio.sleep(200 * HOUR)
        bench.start()
        await bench.idle()
        assert [letter.record_id for letter in await bench.letters()] == ["1.0"]
        assert partner.delivered == ["1.1", "1.2", "1.3"]


@in_virtual_time
async def test_a_record_that_is_retried_past_its_age_is_counted_as_expired_and_says_why() -> None:
    policy = DeliveryPolicy(give_up_after=600.0)
    partner = ScriptedDestination(then=lambda records: [Outcome.retry(r.id, "busy", "later") for r in records])
    async with Bench(partner, policy=policy) as bench:
        await bench.append(events(1), user=ANN)
        await bench.idle()
        (letter,) = await bench.letters()
        assert (letter.disposition, letter.code, letter.message) == ("expired", "too_old", "busy: later")
        assert letter.attempts == len(partner.calls)
        assert letter.parked_at_ms - letter.received_at_ms > 600_000
        assert bench.telemetry.value("expired_records", connection="connection", code="too_old") == 1
        assert sum(report.expired for report in bench.reports) == 1


@in_virtual_time
async def test_refused_credentials_expire_nothing() -> None:
    async with Bench(ScriptedDestination(then=InvalidCredentials())) as bench:
        await bench.append(events(1), user=ANN)
        await asyncio.sleep(100 * HOUR)
        assert await bench.letters() == []
        assert (await bench.stats()).depth == 1


# --- dead letters on replay -------------------------------------------------------------------------------------------


async def with_letters(bench: Bench, count: int) -> list[int]:
    """Park this many records of Ann; returns the letters' numbers."""
    assert isinstance(bench.connection.destination, ScriptedDestination)
    bench.connection.destination.answer(lambda records: [Outcome.rejected(r.id, "bad") for r in records])
    await bench.append(events(count), user=ANN)
    await bench.idle()
    return [number for number, _ in await bench.log.letters()]


async def replayed(bench: Bench, numbers: Sequence[int], seconds: float = 5.0) -> None:
    """Ask for a replay and give the lane time for it."""
    await bench.log.replay_letters(numbers)
    await asyncio.sleep(seconds)


@in_virtual_time
async def test_a_replayed_letter_that_is_delivered_goes() -> None:
    async with Bench(partner := ScriptedDestination()) as bench:
        numbers = await with_letters(bench, 2)
        await replayed(bench, numbers[:1])
        assert partner.ids == [["1.0", "1.1"], ["1.0"]]
        assert [letter.record_id for letter in await bench.letters()] == ["1.1"]
        assert bench.telemetry.value("replayed_records", connection="connection") == 1


@in_virtual_time
async def test_a_replayed_letter_that_is_skipped_goes() -> None:
    async with Bench(partner := ScriptedDestination()) as bench:
        numbers = await with_letters(bench, 1)
        partner.answer([Outcome.skipped("1.0", "not_needed")])
        await replayed(bench, numbers)
        assert await bench.letters() == []


@in_virtual_time
async def test_a_replayed_letter_that_is_rejected_again_is_parked_again_and_not_tried_for_ever() -> None:
    async with Bench(partner := ScriptedDestination()) as bench:
        numbers = await with_letters(bench, 1)
        partner.answer([Outcome.rejected("1.0", "still_bad")])
        await replayed(bench, numbers, 200.0)
        (letter,) = await bench.letters()
        assert (letter.code, letter.attempts, letter.replaying) == ("still_bad", 2, False)
        assert len(partner.calls) == 2
        assert bench.telemetry.value("replayed_records", connection="connection") == 0


@in_virtual_time
async def test_a_replayed_letter_that_is_to_be_retried_stays_marked_and_is_tried_again_later() -> None:
    async with Bench(partner := ScriptedDestination()) as bench:
        numbers = await with_letters(bench, 1)
        partner.answer([Outcome.retry("1.0", "busy")])
        await replayed(bench, numbers)
        (letter,) = await bench.letters()
        assert (letter.code, letter.replaying) == ("bad", True)
        assert (await bench.stats()).held == 0
        await asyncio.sleep(40.0)
        assert partner.ids == [["1.0"]] * 3
        assert await bench.letters() == []


@in_virtual_time
async def test_a_replay_of_an_expired_letter_is_not_given_up_for_its_age() -> None:
    policy = DeliveryPolicy(give_up_after=600.0)
    async with Bench(partner := ScriptedDestination(), policy=policy) as bench:
        numbers = await with_letters(bench, 2)
        await asyncio.sleep(2 * HOUR)
        partner.answer(Unavailable(), [Outcome.retry("1.0", "busy"), Outcome.delivered("1.1")])
        await replayed(bench, numbers, 100.0)
        assert await bench.letters() == []
        assert partner.ids[1:] == [["1.0", "1.1"], ["1.0", "1.1"], ["1.0"]]


@in_virtual_time
async def test_a_replay_goes_out_though_its_user_has_held_records() -> None:
    async with Bench(partner := ScriptedDestination()) as bench:
        numbers = await with_letters(bench, 1)
        partner.answer([Outcome.retry("2.0", "busy", retry_after=100.0)])
        await bench.append(events(1), user=ANN)
        await partner.called(2)
        await replayed(bench, numbers)
        assert partner.ids == [["1.0"], ["2.0"], ["1.0"]]
        assert await bench.letters() == []
        await bench.idle()
        assert partner.ids[3:] == [["2.0"]]


@in_virtual_time
async def test_more_replays_than_fit_in_a_call_go_in_several() -> None:
    async with Bench(partner := ScriptedDestination(), limits=Limits(records=2)) as bench:
        partner.answer(*[lambda records: [Outcome.rejected(r.id, "bad") for r in records]] * 2)
        await with_letters(bench, 5)
        await replayed(bench, [number for number, _ in await bench.log.letters()])
        assert partner.ids[3:] == [["1.0", "1.1"], ["1.2", "1.3"], ["1.4"]]
        assert await bench.letters() == []


@in_virtual_time
async def test_a_letter_for_a_whole_batch_is_replayed_as_all_of_its_records() -> None:
    async with Bench(partner := ScriptedDestination()) as bench:
        whole = Outcome.rejected("1.b", "malformed_batch")
        mended = bench.connection.pipeline.prepare
        bench.connection.pipeline.prepare = lambda batches, **_: _ended([whole])  # type: ignore[method-assign]
        await bench.append(events(2), user=ANN)
        await bench.idle()
        assert [letter.record_id for letter in await bench.letters()] == ["1.b"]
        bench.connection.pipeline.prepare = mended  # type: ignore[method-assign]
        await replayed(bench, [1])
        assert partner.ids == [["1.0", "1.1"]]
        assert await bench.letters() == []


async def _ended(outcomes: list[Outcome]) -> tuple[list[Record], list[Outcome]]:
    return [], outcomes


# --- stopping ---------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_on_a_stop_the_call_under_way_ends_and_is_settled_and_no_other_begins() -> None:
    gate = asyncio.Event()
    async with Bench(partner := ScriptedDestination(gate)) as bench:
        await bench.append(events(1), user=ANN)
        await partner.called()
        await bench.append(events(1), user=ANN)
        stopping = asyncio.create_task(bench.stop())
        await asyncio.sleep(1.0)
        assert not stopping.done()
        gate.set()
        await stopping
        assert partner.ids == [["1.0"]]
        assert (await bench.stats()).depth == 1
        bench.start()
        await bench.idle()
        assert partner.ids == [["1.0"], ["2.0"]]


@in_virtual_time
async def test_an_idle_lane_stops_at_once() -> None:
    async with Bench(ScriptedDestination()) as bench:
        await asyncio.sleep(5.25)
        before = bench.clock.monotonic()
        await bench.stop()
        assert bench.clock.monotonic() == before


@in_virtual_time
async def test_a_lane_that_waits_for_its_partner_stops_at_once_and_loses_nothing() -> None:
    async with Bench(partner := ScriptedDestination(Throttled(retry_after=600.0))) as bench:
        await bench.append(events(1), user=ANN)
        await partner.called()
        await asyncio.sleep(1.0)
        before = bench.clock.monotonic()
        await bench.stop()
        assert bench.clock.monotonic() == before
        assert (await bench.stats()).depth == 1


@pytest.mark.parametrize("then", [None, Throttled(retry_after=600.0)], ids=["in a call", "in a back-off"])
def test_on_a_stop_amid_a_split_batch_what_was_sent_is_settled_and_the_rest_is_held(then: Exception | None) -> None:
    @in_virtual_time
    async def scenario() -> None:
        gate = asyncio.Event()
        async with Bench(partner := ScriptedDestination(None, then or gate), limits=Limits(records=2)) as bench:
            await bench.append(events(6), user=ANN)
            await partner.called(2)
            await asyncio.sleep(1.0)
            stopping = asyncio.create_task(bench.stop())
            await asyncio.sleep(1.0)
            gate.set()
            await stopping
            sent = 2 if then else 4
            stats = await bench.stats()
            assert (stats.depth, stats.held) == (6 - sent, 6 - sent)
            bench.start()
            await bench.idle()
            assert partner.delivered == [f"1.{n}" for n in range(6)]
            assert await bench.letters() == []

    scenario()


@in_virtual_time
async def test_on_a_stop_in_the_search_for_a_bad_record_what_was_answered_is_settled() -> None:
    gate = asyncio.Event()
    partner = ScriptedDestination(CallRefused("bad", "one of these"), gate)
    async with Bench(partner) as bench:
        await bench.append(events(4), user=ANN)
        await partner.called(2)
        stopping = asyncio.create_task(bench.stop())
        await asyncio.sleep(1.0)
        gate.set()
        await stopping
        assert len(partner.calls) == 2
        assert (await bench.stats()).held == 2
        bench.start()
        await bench.idle()
        assert partner.delivered == ["1.0", "1.1", "1.2", "1.3"]


# --- faults of the log ------------------------------------------------------------------------------------------------


class FailingLog(MemoryLog):
    """Settlements raise what is in `failures`, one after the other."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__(now=VirtualClock().now)
        self.failures = list(failures)

    def lease(self, connection: str, partitions: range) -> MemoryLease:
        lease = super().lease(connection, partitions)
        settle = lease.settle

        async def failing(settlement: Settlement) -> None:
            if self.failures:
                raise self.failures.pop(0)
            await settle(settlement)

        lease.settle = failing  # type: ignore[method-assign]
        return lease


@in_virtual_time
async def test_while_the_disk_is_full_the_note_of_a_delivery_is_tried_again_and_not_the_delivery() -> None:
    log = FailingLog(*[LogFull("the disk takes no more")] * 5)
    await log.open(["shop"], {"connection": "shop"})
    async with Bench(partner := ScriptedDestination(), log=log) as bench:
        await bench.append(events(1), user=ANN)
        await partner.called()
        await asyncio.sleep(2.0)
        assert "cannot write down" in bench.connection.status().last_error
        await bench.idle()
        assert partner.ids == [["1.0"]]


@in_virtual_time
async def test_a_stop_while_the_disk_is_full_waits_for_the_note() -> None:
    log = FailingLog(*[LogFull("the disk takes no more")] * 3)
    await log.open(["shop"], {"connection": "shop"})
    async with Bench(partner := ScriptedDestination(), log=log) as bench:
        await bench.append(events(1), user=ANN)
        await partner.called()
        await asyncio.sleep(0.5)
        await bench.stop()
        assert (await bench.stats()).depth == 0


@in_virtual_time
async def test_a_lane_that_is_begun_again_after_a_fault_loses_nothing() -> None:
    log = FailingLog(RuntimeError("our own fault"))
    await log.open(["shop"], {"connection": "shop"})
    async with Bench(partner := ScriptedDestination(), log=log) as bench:
        await bench.append(events(2), user=ANN)
        await asyncio.sleep(1.0)
        assert [str(fault) for fault in bench.faults] == ["our own fault"]
        bench.faults.clear()
        await bench.kill()
        bench.start()
        await bench.idle()
        assert partner.ids == [["1.0", "1.1"], ["1.0", "1.1"]]
