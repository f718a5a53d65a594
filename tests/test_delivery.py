"""Lanes on a bench: groups, outcomes, failing calls, the search for a bad record."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from datetime import timedelta

import pytest

from router_core.account import Account
from router_core.components import Limits
from router_core.connection import DeliveryPolicy
from router_core.errors import CallRefused, InvalidCredentials, Throttled, Unavailable
from router_core.outcomes import Disposition, Outcome
from router_core.records import Record
from router_core.testing import (
    Bench,
    ScriptedDestination,
    custom_event,
    event_batch,
    in_virtual_time,
    user_of_partition,
)

ANN, BOB, CAT = (user_of_partition(0, number) for number in range(3))
LATE = user_of_partition(63)
"""A user of the last lane; the others are in the first."""


def events(count: int) -> bytes:
    """An upload with this many events."""
    return event_batch(*(custom_event(f"event {n}") for n in range(count)))


# --- groups -----------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_batches_that_come_within_the_linger_go_in_one_call() -> None:
    async with Bench(partner := ScriptedDestination()) as bench:
        await bench.append(events(1), user=ANN)
        await asyncio.sleep(0.1)
        await bench.append(events(2), user=BOB)
        await bench.idle()
        assert partner.ids == [["1.0", "2.0", "2.1"]]
        assert partner.calls[0].at == pytest.approx(0.2, abs=0.01)


@in_virtual_time
async def test_a_full_group_does_not_wait_for_the_linger() -> None:
    async with Bench(partner := ScriptedDestination(), policy=DeliveryPolicy(linger=60.0)) as bench:
        await bench.append(events(4), events(6), user=ANN)
        assert (await partner.called()).at == 0.0
        assert partner.calls[0].ids == ["1.0", "1.1", "1.2", "1.3", "2.0", "2.1", "2.2", "2.3", "2.4", "2.5"]


@in_virtual_time
async def test_without_a_linger_what_is_there_goes_at_once() -> None:
    async with Bench(partner := ScriptedDestination(), policy=DeliveryPolicy(linger=0.0)) as bench:
        await bench.append(events(1), user=ANN)
        assert (await partner.called()).at == 0.0


@in_virtual_time
async def test_the_batch_that_does_not_fit_waits_for_the_next_group() -> None:
    async with Bench(partner := ScriptedDestination(), limits=Limits(records=5)) as bench:
        await bench.append(events(2), events(2), events(2), user=ANN)
        await bench.idle()
        assert partner.ids == [["1.0", "1.1", "2.0", "2.1"], ["3.0", "3.1"]]


@in_virtual_time
async def test_a_batch_larger_than_a_call_is_split_and_keeps_its_order() -> None:
    async with Bench(partner := ScriptedDestination(), limits=Limits(records=3)) as bench:
        await bench.append(events(7), user=ANN)
        await bench.idle()
        assert partner.ids == [["1.0", "1.1", "1.2"], ["1.3", "1.4", "1.5"], ["1.6"]]


@in_virtual_time
async def test_a_split_batch_comes_back_whole_after_a_crash_between_its_calls() -> None:
    async with Bench(partner := ScriptedDestination(None, asyncio.Event()), limits=Limits(records=1)) as bench:
        await bench.append(events(2), user=ANN)
        await partner.called(2)
        await bench.kill()
        assert (await bench.stats()).depth == 2
        bench.start()
        await bench.idle()
        assert partner.ids == [["1.0"], ["1.1"], ["1.0"], ["1.1"]]


@in_virtual_time
async def test_the_profile_update_goes_before_the_events_of_its_batch() -> None:
    async with Bench(partner := ScriptedDestination()) as bench:
        await bench.append(event_batch(user_attributes={"plan": "gold"}))
        await bench.idle()
        assert partner.ids == [["1.p", "1.0"]]


@in_virtual_time
async def test_a_batch_without_records_is_settled_without_a_call() -> None:
    async with Bench(partner := ScriptedDestination()) as bench:
        await bench.append(b'{"events": []}', b"{}", user=ANN)
        await asyncio.sleep(1.0)
        await bench.kill()
        bench.start()
        await asyncio.sleep(1.0)
        assert partner.calls == []
        assert (await bench.stats()).oldest_ms is None


@in_virtual_time
async def test_a_lane_without_records_moves_its_cursor_past_the_batches_of_others() -> None:
    async with Bench(partner := ScriptedDestination(), limits=Limits(records=10, calls_in_flight=2)) as bench:
        await bench.append(events(1), user=ANN)
        await partner.called()
        await asyncio.sleep(60.0)
        assert (await bench.stats()).oldest_ms is None, "the log could not give up the batch's room"


@in_virtual_time
async def test_calls_of_two_lanes_are_in_flight_at_once_and_never_hold_one_user_twice() -> None:
    gate = asyncio.Event()
    partner = ScriptedDestination(gate, gate)
    async with Bench(partner, limits=Limits(records=10, calls_in_flight=2)) as bench:
        await bench.append(events(1), user=ANN)
        await bench.append(events(1), user=LATE)
        await partner.called(2)
        await bench.append(events(1), user=ANN)
        await asyncio.sleep(5.0)
        assert sorted(partner.ids) == [["1.0"], ["2.0"]]
        gate.set()
        await bench.idle()
        assert partner.ids[2:] == [["3.0"]]


# --- outcomes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "counted", "code", "parked"),
    [
        (Outcome.delivered("1.0"), "delivered_records", None, []),
        (Outcome.skipped("1.0", "by_choice"), "skipped_records", "by_choice", []),
        (Outcome.rejected("1.0", "bad_name", "no name"), "rejected_records", "bad_name", [("rejected", "bad_name")]),
        (Outcome.expired("1.0", "too_late"), "expired_records", "too_late", [("expired", "too_late")]),
        (Outcome.retry("1.0", "busy"), "retried_records", "busy", []),
    ],
    ids=lambda value: str(value.disposition) if isinstance(value, Outcome) else "",
)
def test_each_outcome_is_counted_and_only_rejected_and_expired_become_dead_letters(
    outcome: Outcome, counted: str, code: str | None, parked: list[tuple[str, str]]
) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with Bench(ScriptedDestination([outcome])) as bench:
            await bench.append(events(1), user=ANN)
            await bench.idle()
            labels = {} if code is None else {"code": code}
            assert bench.telemetry.value(counted, connection="connection", **labels) == 1
            assert [(letter.disposition, letter.code) for letter in await bench.letters()] == parked

    scenario()


@in_virtual_time
async def test_a_dead_letter_says_what_happened_to_which_record() -> None:
    async with Bench(ScriptedDestination([Outcome.rejected("1.0", "bad_name", "no name")])) as bench:
        await bench.append(event_batch({"event_type": "screen_view", "data": {}}), user=ANN)
        await bench.idle()
        (letter,) = await bench.letters()
        assert (letter.connection, letter.seq, letter.record_id, letter.user) == ("connection", 1, "1.0", ANN)
        assert (letter.event_type, letter.code, letter.message) == ("screen_view", "bad_name", "no name")
        assert (letter.attempts, letter.received_at_ms, letter.replaying) == (1, 1_700_000_000_000, False)
        assert letter.parked_at_ms == pytest.approx(1_700_000_000_200, abs=10)


@in_virtual_time
async def test_outcomes_are_matched_by_record_id_and_not_by_position() -> None:
    answer = [Outcome.rejected("1.2", "third"), Outcome.delivered("1.0"), Outcome.skipped("1.1", "second")]
    async with Bench(ScriptedDestination(answer)) as bench:
        await bench.append(events(3), user=ANN)
        await bench.idle()
        assert [letter.record_id for letter in await bench.letters()] == ["1.2"]
        assert bench.reports[0].delivered == 1
        assert bench.reports[0].skipped == {"second": 1}


@in_virtual_time
async def test_a_record_without_an_outcome_is_tried_again() -> None:
    async with Bench(partner := ScriptedDestination([Outcome.delivered("1.1")])) as bench:
        await bench.append(events(2), user=ANN)
        await bench.idle()
        assert partner.ids == [["1.0", "1.1"], ["1.0"]]
        assert bench.telemetry.value("unreported_records", connection="connection") == 1
        assert bench.telemetry.value("retried_records", connection="connection", code="unreported") == 1


@in_virtual_time
async def test_made_up_and_second_outcomes_do_not_count() -> None:
    answer = [
        Outcome.delivered("1.0"),
        Outcome.rejected("1.0", "second"),
        Outcome.rejected("7.0", "made_up"),
        Outcome.rejected("what", "made_up"),
    ]
    async with Bench(ScriptedDestination(answer)) as bench:
        await bench.append(events(1), user=ANN)
        await bench.idle()
        assert await bench.letters() == []
        assert [report.delivered for report in bench.reports] == [1]


@in_virtual_time
async def test_observers_get_one_report_per_settled_group() -> None:
    answer = [
        Outcome.delivered("1.0"),
        Outcome.skipped("1.1", "old"),
        Outcome.rejected("1.2", "bad"),
        Outcome.retry("1.3", "busy"),
        Outcome.expired("1.4", "late"),
    ]
    async with Bench(ScriptedDestination(answer)) as bench:
        await bench.append(events(5), user=ANN)
        await bench.idle()
        first, second = bench.reports
        assert (first.connection, first.delivered, first.expired) == ("connection", 1, 1)
        assert (first.skipped, first.rejected, first.retried) == ({"old": 1}, {"bad": 1}, {"busy": 1})
        assert (second.delivered, second.retried) == (1, {})


@in_virtual_time
async def test_a_malformed_event_is_rejected_and_the_others_of_its_batch_go_on() -> None:
    async with Bench(partner := ScriptedDestination()) as bench:
        await bench.append(event_batch(custom_event("good"), custom_event("bad", timestamp_unixtime_ms=[])))
        await bench.idle()
        assert partner.ids == [["1.0"]]
        (letter,) = await bench.letters()
        assert (letter.record_id, letter.code) == ("1.1", "malformed_event")
        assert "timestamp_unixtime_ms" in letter.message


# --- calls that fail as a whole ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "result", "told"),
    [
        (Throttled("slow down"), "throttled", "slow down"),
        (Unavailable("no answer"), "unavailable", "no answer"),
        (TimeoutError(), "unavailable", "the call took longer than 30 seconds"),
        (asyncio.Event(), "unavailable", "the call took longer than 30 seconds"),
    ],
    ids=["throttled", "unavailable", "a time-out of the plugin", "a call that never ends"],
)
def test_a_failed_call_is_repeated_with_the_same_records_and_nothing_is_settled_before(
    failure: BaseException | asyncio.Event, result: str, told: str
) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with Bench(partner := ScriptedDestination(failure)) as bench:
            await bench.append(events(3), user=ANN)
            await bench.append(events(1), user=BOB)
            await partner.called(1)
            await asyncio.sleep(30.05)
            assert (await bench.stats()).depth == (4 if len(partner.calls) == 1 else 0)
            await bench.idle()
            assert partner.ids == [["1.0", "1.1", "1.2", "2.0"]] * 2
            assert await bench.letters() == []
            assert bench.telemetry.value("calls", connection="connection", result=result) == 1
            assert bench.telemetry.value("calls", connection="connection", result="answered") == 1
            assert bench.connection.status().last_error == told

    scenario()


@in_virtual_time
async def test_nothing_of_a_group_is_settled_while_its_call_is_repeated() -> None:
    async with Bench(partner := ScriptedDestination(*[Unavailable()] * 4)) as bench:
        await bench.append(events(3), user=ANN)
        for times in range(1, 5):
            await partner.called(times)
            stats = await bench.stats()
            assert (stats.depth, stats.held, stats.letters) == (3, 0, 0)
        await bench.idle()
        assert partner.ids == [["1.0", "1.1", "1.2"]] * 5


@pytest.mark.parametrize("failure", [Throttled(retry_after=42.0), Unavailable(retry_after=42.0)])
def test_the_time_that_a_partner_asks_for_is_kept_to_the_second(failure: Exception) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with Bench(partner := ScriptedDestination(failure)) as bench:
            await bench.append(events(1), user=ANN)
            await bench.idle()
            first, second = partner.calls
            assert second.at - first.at == pytest.approx(42.0, abs=0.01)

    scenario()


@in_virtual_time
async def test_a_partner_is_never_waited_for_longer_than_an_hour() -> None:
    async with Bench(partner := ScriptedDestination(Throttled(retry_after=1e9))) as bench:
        await bench.append(events(1), user=ANN)
        await bench.idle()
        assert partner.calls[1].at - partner.calls[0].at == pytest.approx(3600.0, abs=0.1)


@in_virtual_time
async def test_one_throttled_lane_makes_all_lanes_of_the_connection_wait() -> None:
    partner = ScriptedDestination(Throttled(retry_after=60.0))
    async with Bench(partner, limits=Limits(records=10, calls_in_flight=2)) as bench:
        await bench.append(events(1), user=ANN)
        await partner.called()
        await bench.append(events(1), user=LATE)
        await bench.idle()
        assert all(call.at >= 60.0 for call in partner.calls[1:])


@in_virtual_time
async def test_an_answer_to_an_older_call_does_not_end_the_pause_that_a_partner_asked_for() -> None:
    slow = asyncio.Event()
    partner = ScriptedDestination(slow, Throttled(retry_after=60.0))
    async with Bench(partner, limits=Limits(records=10, calls_in_flight=2)) as bench:
        await bench.append(events(1), user=ANN)
        await partner.called()
        await bench.append(events(1), user=LATE)
        throttled = await partner.called(2)
        slow.set()
        await bench.append(events(1), user=ANN)
        await bench.idle()
        assert all(call.at >= throttled.at + 60.0 for call in partner.calls[2:])


@in_virtual_time
async def test_back_off_grows_and_stays_below_its_maximum() -> None:
    policy = DeliveryPolicy(back_off_initial=1.0, back_off_maximum=20.0)
    async with Bench(partner := ScriptedDestination(*[Unavailable()] * 12), policy=policy) as bench:
        await bench.append(events(1), user=ANN)
        await bench.idle()
        waits = [later.at - earlier.at for earlier, later in zip(partner.calls, partner.calls[1:], strict=False)]
        for failures, wait in enumerate(waits, 1):
            ceiling = min(20.0, 2.0 ** (failures - 1))
            assert ceiling / 10 - 0.001 <= wait <= ceiling + 0.001


@in_virtual_time
async def test_after_three_failures_the_whole_connection_waits_and_then_one_call_goes_first() -> None:
    probe = asyncio.Event()
    users = [user_of_partition(partition) for partition in (0, 22, 43)]
    partner = ScriptedDestination(*[Unavailable()] * 3, probe)
    async with Bench(partner, limits=Limits(records=10, calls_in_flight=3)) as bench:
        for user in users:
            await bench.append(events(1), user=user)
        await partner.called(3)
        await asyncio.sleep(0)
        assert bench.connection.status().state == "waiting"
        await partner.called(4)
        assert bench.connection.status().state == "probing"
        await asyncio.sleep(25.0)
        assert partner.in_flight == 1
        assert len(partner.calls) == 4
        probe.set()
        await bench.idle()
        assert bench.connection.status().state == "ok"
        assert sorted(partner.delivered) == ["1.0", "2.0", "3.0"]


@in_virtual_time
async def test_a_probe_that_fails_makes_all_wait_again() -> None:
    partner = ScriptedDestination(*[Unavailable()] * 6)
    async with Bench(partner, limits=Limits(records=10, calls_in_flight=2)) as bench:
        await bench.append(events(1), user=ANN)
        await bench.append(events(1), user=LATE)
        await bench.idle()
        assert partner.most_in_flight <= 2
        after_three = partner.calls[4:7]
        assert len({call.at for call in after_three}) == 3, "two lanes called at once though the breaker was open"


@in_virtual_time
async def test_refused_credentials_pause_the_connection_and_keep_the_data() -> None:
    async with Bench(partner := ScriptedDestination(InvalidCredentials("wrong passcode"))) as bench:
        await bench.append(events(2), user=ANN)
        await partner.called()
        await asyncio.sleep(200.0)
        status = bench.connection.status()
        assert (status.state, status.last_error) == ("paused", "wrong passcode")
        assert (await bench.stats()).depth == 2
        assert len(partner.calls) == 1
        assert bench.telemetry.value("connection_paused", connection="connection") == 1
        assert [line["event"] for line in bench.lines if line["log_level"] == "error"] == ["connection_paused"]


@in_virtual_time
async def test_a_paused_connection_goes_on_at_once_with_a_destination_from_mended_settings() -> None:
    async with Bench(old := ScriptedDestination(InvalidCredentials())) as bench:
        await bench.append(events(2), user=ANN)
        await old.called()
        await asyncio.sleep(10.0)
        replaced_at = bench.clock.monotonic()
        await bench.connection.replace_destination(new := ScriptedDestination())
        assert (await new.called()).at == replaced_at
        await bench.idle()
        assert new.ids == [["1.0", "1.1"]]
        assert old.closed == 1
        assert bench.connection.status().state == "ok"
        assert bench.telemetry.value("connection_paused", connection="connection") == 0


@in_virtual_time
async def test_a_paused_connection_tries_one_call_now_and_then_in_case_the_partner_was_mended() -> None:
    async with Bench(partner := ScriptedDestination(InvalidCredentials(), InvalidCredentials())) as bench:
        await bench.append(events(1), user=ANN)
        await bench.idle()
        waits = [later.at - earlier.at for earlier, later in zip(partner.calls, partner.calls[1:], strict=False)]
        assert waits == pytest.approx([300.0, 300.0], abs=0.1)


@in_virtual_time
async def test_another_failure_does_not_end_the_pause_for_refused_credentials() -> None:
    slow = asyncio.Event()

    async def fail_late(records: Sequence[Record]) -> Sequence[Outcome]:
        await slow.wait()
        raise Throttled(retry_after=1.0)

    partner = ScriptedDestination(fail_late, InvalidCredentials())
    async with Bench(partner, limits=Limits(records=10, calls_in_flight=2)) as bench:
        await bench.append(events(1), user=ANN)
        await partner.called()
        await bench.append(events(1), user=LATE)
        await partner.called(2)
        slow.set()
        await asyncio.sleep(60.0)
        assert bench.connection.status().state == "paused"
        assert len(partner.calls) == 2


# --- the search for a bad record --------------------------------------------------------------------------------------


class Refusing(ScriptedDestination):
    """Fails on every call that holds the bad record."""

    def __init__(self, bad: str, error: Exception) -> None:
        super().__init__(then=self._judge)
        self._bad = bad
        self._error = error

    def _judge(self, records: Sequence[Record]) -> Sequence[Outcome]:
        if any(record.id == self._bad for record in records):
            raise self._error
        return [Outcome.delivered(record.id) for record in records]


def fault() -> Exception:
    """A plugin's fault."""
    return KeyError("plan")


@pytest.mark.parametrize("count", [1, 2, 3, 8, 13])
@pytest.mark.parametrize("kind", ["refused", "fault"])
def test_one_bad_record_in_any_position_is_found_and_rejected_and_the_others_are_delivered(
    count: int, kind: str
) -> None:
    @in_virtual_time
    async def scenario(position: int) -> None:
        error = CallRefused("partner_400", "name missing") if kind == "refused" else fault()
        partner = Refusing(f"1.{position}", error)
        async with Bench(partner, limits=Limits(records=count)) as bench:
            await bench.append(events(count), user=ANN)
            await bench.idle()
            (letter,) = await bench.letters()
            assert letter.record_id == f"1.{position}"
            if kind == "refused":
                assert (letter.code, letter.message) == ("partner_400", "name missing")
            else:
                assert letter.code == "plugin_error"
                assert letter.message.startswith("KeyError: 'plan' (test_delivery.py:")
            assert partner.delivered == [f"1.{n}" for n in range(count) if n != position]
            assert len(partner.calls) - 1 <= 2 * math.ceil(math.log2(count)) + 1
            assert bench.connection.status().state == "ok"

    for position in range(count):
        scenario(position)


@in_virtual_time
async def test_an_error_with_a_code_of_its_own_is_still_a_fault_of_the_plugin() -> None:
    class HttpError(Exception):
        code = 404

    async with Bench(ScriptedDestination(then=HttpError("not found"))) as bench:
        await bench.append(events(1), user=ANN)
        await bench.idle()
        assert [letter.code for letter in await bench.letters()] == ["plugin_error"]


@in_virtual_time
async def test_a_destination_that_answers_nonsense_loses_no_record() -> None:
    async with Bench(ScriptedDestination(then=lambda records: None)) as bench:  # type: ignore[arg-type,return-value]
        await bench.append(events(2), user=ANN)
        await bench.idle()
        assert [letter.record_id for letter in await bench.letters()] == ["1.0", "1.1"]


@in_virtual_time
async def test_when_the_partner_goes_away_in_the_search_what_was_answered_is_not_sent_again() -> None:
    partner = ScriptedDestination(CallRefused("bad", "one of these"), None, Throttled(retry_after=20.0))
    async with Bench(partner) as bench:
        await bench.append(events(4), user=ANN)
        await bench.idle()
        assert partner.ids == [["1.0", "1.1", "1.2", "1.3"], ["1.0", "1.1"], ["1.2", "1.3"], ["1.2", "1.3"]]
        assert partner.calls[3].at - partner.calls[2].at == pytest.approx(20.0, abs=0.1)
        assert await bench.letters() == []


@in_virtual_time
async def test_when_credentials_are_refused_in_the_search_the_rest_waits_in_order() -> None:
    partner = ScriptedDestination(CallRefused("bad", "one of these"), None, InvalidCredentials())
    async with Bench(partner) as bench:
        await bench.append(events(4), user=ANN)
        await partner.called(3)
        await asyncio.sleep(1.0)
        assert bench.connection.status().state == "paused"
        assert (await bench.stats()).held == 2
        await bench.idle()
        assert partner.ids[3:] == [["1.2", "1.3"]]


@in_virtual_time
async def test_the_search_does_not_send_what_is_behind_a_record_that_will_be_retried() -> None:
    partner = ScriptedDestination(
        CallRefused("bad", "one of these"),
        [Outcome.delivered("1.0"), Outcome.retry("1.1", "busy")],
    )
    async with Bench(partner) as bench:
        await bench.append(events(4), user=ANN)
        await bench.idle()
        assert partner.ids == [["1.0", "1.1", "1.2", "1.3"], ["1.0", "1.1"], ["1.1", "1.2", "1.3"]]


@in_virtual_time
async def test_the_search_stops_when_another_lane_learns_that_the_partner_wants_a_pause() -> None:
    slow = asyncio.Event()
    partner = ScriptedDestination(CallRefused("bad", "one of these"), slow, Throttled(retry_after=60.0))
    async with Bench(partner, limits=Limits(records=10, calls_in_flight=2)) as bench:
        await bench.append(events(2), user=ANN)
        await partner.called(2)
        await bench.append(events(1), user=LATE)
        throttled = await partner.called(3)
        slow.set()
        await bench.idle()
        assert all(call.at >= throttled.at + 60.0 for call in partner.calls[3:])
        assert sorted(partner.delivered) == ["1.0", "1.1", "2.0"]


# --- accounts and connections -----------------------------------------------------------------------------------------


async def two_benches(
    first: ScriptedDestination, second: ScriptedDestination, account: Account | None = None
) -> tuple[Bench, Bench]:
    """Two connections of one input."""
    one = Bench(first, name="one", account=account)
    two = Bench(second, name="two", log=one.log, account=account)
    await one.log.open(["shop"], {"one": "shop", "two": "shop"})
    one.start()
    two.start()
    return one, two


@in_virtual_time
async def test_a_connection_that_fails_or_hangs_does_not_delay_another() -> None:
    stuck, healthy = ScriptedDestination(then=asyncio.Event()), ScriptedDestination()
    one, two = await two_benches(stuck, healthy)
    for _ in range(5):
        await one.append(events(2), user=ANN)
        await two.idle(within=5.0)
    assert len(healthy.delivered) == 10
    assert (await one.stats()).depth == 10
    await one.kill()
    await two.kill()


@in_virtual_time
async def test_two_connections_of_one_account_share_its_calls_in_flight() -> None:
    gate = asyncio.Event()
    first, second = ScriptedDestination(gate), ScriptedDestination(gate)
    one, two = await two_benches(first, second, Account(1))
    await one.append(events(1), user=ANN)
    await asyncio.sleep(10.0)
    assert first.in_flight + second.in_flight == 1
    gate.set()
    await one.idle()
    await two.idle()
    assert (first.delivered, second.delivered) == (["1.0"], ["1.0"])
    await one.kill()
    await two.kill()


@in_virtual_time
async def test_a_pause_asked_of_one_connection_holds_for_all_of_the_account() -> None:
    account = Account(2)
    asked, other = ScriptedDestination(Throttled(retry_after=60.0)), ScriptedDestination()
    one, two = Bench(asked, name="one", account=account), Bench(other, name="two", account=account)
    for bench in (one, two):
        await bench.open()
        bench.start()
    await one.append(events(1), user=ANN)
    await asked.called(1)
    await two.append(events(1), user=ANN)
    await asyncio.sleep(50.0)
    assert (account.allowed, other.calls, two.connection.status().state) == (1, [], "waiting")
    await one.idle()
    await two.idle()
    assert (asked.delivered, other.delivered) == (["1.0"], ["1.0"])
    await one.kill()
    await two.kill()


@in_virtual_time
async def test_a_call_that_waited_for_its_account_does_not_begin_after_the_stop() -> None:
    gate = asyncio.Event()
    first, second = ScriptedDestination(gate), ScriptedDestination(gate)
    one, two = await two_benches(first, second, Account(1))
    await one.append(events(1), user=ANN)
    await asyncio.sleep(1.0)
    waiting, calling = (one, two) if second.in_flight else (two, one)
    stopping = asyncio.gather(waiting.stop(), calling.stop())
    await asyncio.sleep(0.5)
    gate.set()
    await stopping
    assert len(first.calls) + len(second.calls) == 1
    assert (await calling.stats()).depth == 0
    assert (await waiting.stats()).depth == 1


@in_virtual_time
async def test_a_call_is_cut_off_at_the_time_limit_of_the_destination() -> None:
    limits = Limits(records=10, timeout=timedelta(seconds=3))
    async with Bench(partner := ScriptedDestination(asyncio.Event()), limits=limits) as bench:
        await bench.append(events(1), user=ANN)
        await partner.called(1)
        await asyncio.sleep(3.05)
        assert "longer than 3 seconds" in bench.connection.status().last_error


@in_virtual_time
async def test_no_disposition_is_forgotten_by_these_tests() -> None:
    assert {disposition.value for disposition in Disposition} == {
        "delivered", "skipped", "retry", "rejected", "expired",
    }  # fmt: skip
