"""The destination, against a scripted transport and against the sandbox in a process of its own."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from router_clevertap.destination import CLEVERTAP, ClevertapDestination
from router_clevertap.sandbox import SandboxServer

from router_core.components import HttpAnswer
from router_core.errors import CallRefused, InvalidCredentials, Throttled, Unavailable
from router_core.events import EventType, Platform, UserIdentity
from router_core.records import Record
from router_core.testing import FakeClock

Make = Callable[..., Record]
Context = Callable[..., Any]
Answer = Callable[..., HttpAnswer]


class Loopback:
    """The smallest real transport."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(trust_env=False)

    async def request(
        self, method: str, url: str, *, headers: Any = None, content: bytes = b"", timeout: float = 30.0
    ) -> HttpAnswer:
        try:
            answer = await self._client.request(method, url, headers=headers, content=content, timeout=timeout)
        except httpx.TransportError as error:
            raise Unavailable(type(error).__name__) from error
        return HttpAnswer(answer.status_code, dict(answer.headers), answer.content)

    async def close(self) -> None:
        await self._client.aclose()


@pytest.fixture(scope="module")
def process() -> Iterator[SandboxServer]:
    with SandboxServer(process=True) as running:
        yield running


@pytest.fixture
def sandbox(process: SandboxServer) -> SandboxServer:
    process.reset()
    return process


def deliver(
    context: Context, sandbox: SandboxServer, records: list[Record], **settings: Any
) -> dict[str, tuple[str, str]]:
    async def run() -> Any:
        http = Loopback()
        destination = ClevertapDestination(context(http, **(_account(sandbox) | settings)))
        try:
            await destination.open()
            return await destination.deliver(records)
        finally:
            await destination.close()
            await http.close()

    return ends(asyncio.run(run()))


def check(context: Context, sandbox: SandboxServer, **settings: Any) -> None:
    async def run() -> None:
        http = Loopback()
        try:
            await ClevertapDestination(context(http, **(_account(sandbox) | settings))).check()
        finally:
            await http.close()

    asyncio.run(run())


def _account(sandbox: SandboxServer) -> dict[str, Any]:
    return {"account_id": sandbox.account_id, "passcode": sandbox.passcode, "base_url": sandbox.url}


def ends(outcomes: Any) -> dict[str, tuple[str, str]]:
    assert len({outcome.record_id for outcome in outcomes}) == len(outcomes)
    return {outcome.record_id: (outcome.disposition.value, outcome.code) for outcome in outcomes}


def success(answer: Answer, count: int) -> HttpAnswer:
    return answer({"status": "success", "processed": count, "unprocessed": []})


# --- against the sandbox ----------------------------------------------------------------------------------------------


def test_events_and_profiles_arrive(context: Context, record: Make, sandbox: SandboxServer) -> None:
    records = [
        record("profile_update", id="1.p", user_attributes={"plan": "gold", "tags": ["a", "b"], "Married": True}),
        record("custom_event", {"event_name": "Read", "custom_attributes": {"n": 1, "deep": {"a": [1]}}}, id="1.0"),
        record("screen_view", {"screen_name": "Home"}, id="1.1"),
        record("commerce_event", {"product_action": {"action": "purchase", "total_amount": 5,
                                                     "products": [{"id": "s"}]}}, id="1.2"),
        record("custom_event", {"event_name": "Nobody"}, id="2.0", user_identities={}),
    ]  # fmt: skip
    assert deliver(context, sandbox, records) == {
        "1.p": ("delivered", ""),
        "1.0": ("delivered", ""),
        "1.1": ("delivered", ""),
        "1.2": ("delivered", ""),
        "2.0": ("rejected", "no_identity"),
    }
    arrived = [entry["record"] for entry in sandbox.records()]
    assert [item.get("evtName", item["type"]) for item in arrived] == [
        "profile",
        "Read",
        "Screen Viewed Home",
        "Charged",
    ]
    assert arrived[1]["evtData"] == {"n": 1, "deep": '{"a":[1]}'}


def test_hostile_names_and_values_are_taken(context: Context, record: Make, sandbox: SandboxServer) -> None:
    nasty = {"a.b": "x" * 900, "$c": None, "wzrk_d": 1, "CT e": 2, "é" * 100: [1], "f": 2**70, "": 1, "g": {"h": 1}}
    many = {f"k{n}": n for n in range(300)}
    records = [
        record("custom_event", {"event_name": "App Launched", "custom_attributes": nasty}, id="1.0"),
        record("custom_event", {"event_name": "wzrk_fetch", "custom_attributes": many}, id="1.1"),
        record("profile_update", id="1.p", user_attributes={**nasty, "Email": "1", "Age": "aa", "tags": ["x" * 900]},
               user_identities={"customer_id": "c", "email": "no", "mobile_number": "1"}),
    ]  # fmt: skip
    assert set(deliver(context, sandbox, records).values()) == {("delivered", "")}
    assert sandbox.refusals() == []


def test_a_partial_answer_settles_each_record_by_itself(context: Context, record: Make, sandbox: SandboxServer) -> None:
    sandbox.fault(partial={"code": 528, "positions": [2]}, times=1)
    records = [
        record(data={"event_name": "A"}, id="1.0"),
        record(data={"event_name": "B"}, id="2.0"),
        record(data={"event_name": "C"}, id="1.1"),
    ]
    assert deliver(context, sandbox, records) == {
        "1.0": ("delivered", ""),
        "2.0": ("rejected", "clevertap_528"),
        "1.1": ("delivered", ""),
    }


@pytest.mark.parametrize(
    ("fault", "error"), [(503, Unavailable), (429, Throttled), (400, CallRefused), (404, InvalidCredentials)]
)
def test_a_fault_of_the_call_is_raised(
    context: Context, record: Make, sandbox: SandboxServer, fault: int, error: type[Exception]
) -> None:
    sandbox.fault(status=fault, times=1)
    with pytest.raises(error):
        deliver(context, sandbox, [record(data={"event_name": "A"})])
    assert sandbox.stats()["accepted"] == 0


def test_good_settings_pass_the_check_and_leave_nothing(context: Context, sandbox: SandboxServer) -> None:
    check(context, sandbox)
    assert sandbox.records() == []


@pytest.mark.parametrize(
    ("wrong", "setting"), [({"account_id": "WRONG"}, "account_id"), ({"passcode": "wrong"}, "passcode")]
)
def test_the_check_names_the_wrong_setting(
    context: Context, sandbox: SandboxServer, wrong: dict[str, str], setting: str
) -> None:
    with pytest.raises(InvalidCredentials, match=f"settings {setting} and region"):
        check(context, sandbox, **wrong)


def test_the_check_of_a_busy_account_proves_nothing(context: Context, sandbox: SandboxServer) -> None:
    sandbox.fault(status=429, times=1)
    with pytest.raises(Unavailable, match="could not be proved"):
        check(context, sandbox)


# --- against a script -------------------------------------------------------------------------------------------------


async def test_an_equal_profile_is_sent_once(context: Context, record: Make, script: Any, answer: Answer) -> None:
    http = script(success(answer, 4))
    gold, silver = {"plan": "gold"}, {"plan": "silver"}
    records = [
        record("profile_update", id="1.p", user_attributes=gold),
        record("profile_update", id="2.p", user_attributes=gold, received_at_ms=1_700_000_200_000),
        record("profile_update", id="3.p", user_attributes=gold, user_identities={"customer_id": "other"}),
        record("profile_update", id="4.p", user_attributes=silver),
        record("profile_update", id="5.p", user_attributes=gold),
    ]
    outcomes = await ClevertapDestination(context(http)).deliver(records)
    assert ends(outcomes) == {f"{n}.p": ("delivered", "") for n in range(1, 6)}
    sent = [(item["identity"], item["profileData"]) for item in http.requests[0]["body"]["d"]]
    assert sent == [("cust-1", gold), ("other", gold), ("cust-1", silver), ("cust-1", gold)]


async def test_what_repeats_a_refused_profile_is_tried_by_itself(
    context: Context, record: Make, script: Any, answer: Answer
) -> None:
    refused = {"status": "fail", "code": 515, "error": "Email is not valid.Skipped record number : 1"}
    http = script(answer({"status": "fail", "processed": 0, "unprocessed": [refused]}))
    records = [record("profile_update", id=f"{n}.p", user_attributes={"a": 1}) for n in (1, 2)]
    outcomes = await ClevertapDestination(context(http)).deliver(records)
    assert ends(outcomes) == {"1.p": ("rejected", "clevertap_515"), "2.p": ("retry", "same_profile_refused")}


async def test_nothing_to_send_makes_no_call(context: Context, record: Make, script: Any) -> None:
    http = script()
    outcomes = await ClevertapDestination(context(http)).deliver([record("profile_update", user_attributes={})])
    assert ends(outcomes) == {"7.0": ("skipped", "nothing_to_say")}
    assert http.requests == []


def refund(record: Make, id: str, products: int) -> Record:
    action = {"action": "refund", "products": [{"id": str(n)} for n in range(products)]}
    return record("commerce_event", {"product_action": action}, id=id)


async def test_expanded_records_are_cut_into_calls_at_their_seams(
    context: Context, record: Make, script: Any, answer: Answer
) -> None:
    http = script(success(answer, 3), success(answer, 3), success(answer, 1))
    records = [refund(record, "1.0", 2), refund(record, "1.1", 2), record(data={"event_name": "A"}, id="1.2")]
    outcomes = await ClevertapDestination(context(http, records_per_call=3)).deliver(records)
    assert ends(outcomes) == dict.fromkeys(("1.0", "1.1", "1.2"), ("delivered", ""))
    assert [len(request["body"]["d"]) for request in http.requests] == [3, 3, 1]


async def test_a_fault_of_a_later_call_leaves_its_records_open(
    context: Context, record: Make, script: Any, answer: Answer
) -> None:
    http = script(success(answer, 3), Unavailable("gone"))
    records = [refund(record, "1.0", 2), refund(record, "1.1", 2), record(data={"event_name": "A"}, id="1.2")]
    outcomes = await ClevertapDestination(context(http, records_per_call=3)).deliver(records)
    assert ends(outcomes) == {"1.0": ("delivered", "")}


async def test_what_the_time_limit_would_cut_off_is_left_for_the_next_call(
    context: Context, record: Make, script: Any, answer: Answer
) -> None:
    clock = FakeClock()

    class Slow(script):  # type: ignore[misc]  # a fixture is no type
        async def request(self, *words: Any, **values: Any) -> HttpAnswer:
            clock.advance(20)
            answered: HttpAnswer = await super().request(*words, **values)
            return answered

    http = Slow(*[success(answer, 2)] * 4)
    made = replace(context(http, records_per_call=2), clock=clock)
    records = [refund(record, "1.0", 2), record(data={"event_name": "A"}, id="1.1"), refund(record, "1.2", 3)]
    assert ends(await ClevertapDestination(made).deliver(records)) == dict.fromkeys(("1.0", "1.1"), ("delivered", ""))
    assert len(http.requests) == 2
    assert clock.monotonic() + 25 > CLEVERTAP.limits_of(made.settings).timeout.total_seconds()


async def test_a_record_larger_than_a_call_is_delivered_only_as_a_whole(
    context: Context, record: Make, script: Any, answer: Answer
) -> None:
    destination = ClevertapDestination(context(script(*[success(answer, 2)] * 2), records_per_call=2))
    assert ends(await destination.deliver([refund(record, "1.0", 3)])) == {"1.0": ("delivered", "")}
    destination = ClevertapDestination(context(script(success(answer, 2), Unavailable("gone")), records_per_call=2))
    assert ends(await destination.deliver([refund(record, "1.0", 3)])) == {}


async def test_altered_values_are_counted(context: Context, record: Make, script: Any, answer: Answer) -> None:
    made = context(script(success(answer, 1)))
    await ClevertapDestination(made).deliver(
        [record(data={"event_name": "A", "custom_attributes": {"a": None, "b": ""}})]
    )
    assert made.telemetry.value("altered_values", connection="app_to_clevertap", code="empty_value") == 2


def test_a_preview_shows_the_call_with_its_notes_and_without_the_passcode(
    context: Context, record: Make, script: Any
) -> None:
    records = [
        record(data={"event_name": "App Launched"}, id="1.0"),
        record(data={"event_name": "A"}, id="2.0", user_identities={}),
        record("profile_update", id="3.p", user_attributes={"a": 1}),
        record("profile_update", id="4.p", user_attributes={"a": 1}),
    ]
    call, rest = ClevertapDestination(context(script())).preview(records)
    assert call["url"] == "https://api.clevertap.com/1/upload"
    assert call["headers"]["x-clevertap-passcode"] == "***"
    assert [item["type"] for item in call["body"]["d"]] == ["event", "profile"]
    assert call["records"] == ["1.0", "3.p"]
    assert call["notes"] == [{"record": "1.0", "code": "restricted_name", "key": "App Launched"}]
    assert [entry["code"] for entry in rest["not_sent"]] == ["no_identity", "same_profile"]
    assert "s3cret" not in repr([call, rest])


@pytest.mark.parametrize(("region", "warnings"), [("xy1", 1), ("in1", 0), ("", 0)])
async def test_an_unknown_region_is_a_warning(
    context: Context, script: Any, region: str, warnings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    made = context(script(), region=region)
    monkeypatch.setattr(made.log, "warning", lambda *words, **values: seen.append((words, values)), raising=False)
    await ClevertapDestination(made).open()
    assert len(seen) == warnings


# --- what it announces ------------------------------------------------------------------------------------------------


def test_the_type_says_what_it_takes() -> None:
    accepts = CLEVERTAP.accepts
    assert accepts.platforms == {
        Platform.ANDROID, Platform.DATA_FEEDS, Platform.IOS, Platform.TVOS, Platform.SMART_TV, Platform.WEB,
    }  # fmt: skip
    assert accepts.event_types == {
        EventType.CUSTOM_EVENT, EventType.COMMERCE_EVENT, EventType.SCREEN_VIEW,
        EventType.USER_ATTRIBUTE_CHANGE, EventType.USER_IDENTITY_CHANGE,
    }  # fmt: skip
    assert CLEVERTAP.kit is not None
    assert CLEVERTAP.kit.module_id == 135
    assert len(frozenset(CLEVERTAP.kit.event_types) - frozenset(accepts.event_types)) == 4
    assert UserIdentity.MOBILE_NUMBER in accepts.user_identities


def test_limits_follow_the_settings(configuration: Any) -> None:
    limits = CLEVERTAP.limits_of(configuration(records_per_call=200, calls_in_flight=5))
    assert (limits.records, limits.calls_in_flight) == (200, 5)
