"""Deleting profiles: which ids, in how many calls, and what each answer means; then at the sandbox."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from router_clevertap.choices import UserId
from router_clevertap.destination import CLEVERTAP, ClevertapDestination
from router_clevertap.erasure import ids_of
from router_clevertap.sandbox import SandboxServer
from router_clevertap.settings import ClevertapConnection

from router_core.components import Forgotten, HttpAnswer, Subject
from router_core.errors import CallRefused, InvalidCredentials, Throttled, Unavailable
from router_core.events import UserIdentity
from router_core.transport import HttpxTransport

Context = Callable[..., Any]
Answer = Callable[..., HttpAnswer]

KIT, OTHER_KIT, IDFV = "__" + "a" * 32, "-v" + "b" * 32, "C" * 32
ADA = Subject(
    user_identities={
        UserIdentity.CUSTOMER_ID: ("c-1", "c-0"),
        UserIdentity.EMAIL: ("Ada@b.c",),
        UserIdentity.FACEBOOK: ("fb",),
    },
    device_identities={"ios_idfv": (IDFV,), "amp_id": ("amp",)},
    mpids=("17",),
    integration_attributes={
        135: {"clevertap_id_integration_setting": (KIT, "not well formed", KIT, OTHER_KIT)},
        7: {"x": ("y",)},
    },
)
KITS = [KIT, OTHER_KIT]


@pytest.mark.parametrize(
    ("settings", "identities", "devices"),
    [
        ({}, ["c-1", "c-0"], KITS),
        ({"user_id": "email"}, ["Ada@b.c"], KITS),
        ({"user_id": "mpid", "use_clevertap_id": False}, ["17"], KITS),
        ({"user_id": "other"}, [], KITS),
        ({"derive_clevertap_id": True}, ["c-1", "c-0"], [*KITS, "-v" + "c" * 32]),
        ({"fall_back_to_other_identities": True, "fall_back_to_mpid": True}, ["17", "c-1", "c-0", "Ada@b.c"], KITS),
    ],
)
def test_the_ids_are_those_that_records_could_have_had(
    settings: dict[str, Any], identities: list[str], devices: list[str]
) -> None:
    assert ids_of(ADA, ClevertapConnection(**settings)) == (identities, devices)


def erase(context: Context, http: Any, subject: Subject = ADA, **settings: Any) -> bool:
    async def run() -> bool:
        return (await ClevertapDestination(context(http, **settings)).erase(subject)).acknowledged

    return asyncio.run(run())


def test_one_call_names_all_ids(context: Context, script: Any, answer: Answer) -> None:
    http = script(answer({"status": "success"}))
    assert erase(context, http, region="in1")
    (request,) = http.requests
    assert (request["method"], request["url"]) == ("POST", "https://in1.api.clevertap.com/1/delete/profiles.json")
    assert request["headers"]["x-clevertap-passcode"] == "s3cret-passcode"
    assert request["body"] == {"identity": ["c-1", "c-0"], "guid": KITS}


def test_more_than_a_hundred_ids_go_in_calls_one_after_the_other(context: Context, script: Any, answer: Answer) -> None:
    many = Subject(
        user_identities={UserIdentity.CUSTOMER_ID: tuple(f"c-{n}" for n in range(250))},
        integration_attributes={
            135: {"clevertap_id_integration_setting": tuple("__" + f"{n:04x}" * 8 for n in range(1, 121))}
        },
    )
    http = script(*[answer({"status": "success"})] * 3)
    assert erase(context, http, many)
    sizes = [{name: len(values) for name, values in request["body"].items()} for request in http.requests]
    assert sizes == [{"identity": 100, "guid": 100}, {"identity": 100, "guid": 20}, {"identity": 50}]


def test_without_a_suitable_id_nothing_is_called(context: Context, script: Any) -> None:
    http = script()
    assert not erase(context, http, Subject(user_identities={UserIdentity.EMAIL: ("a@b.c",)}, mpids=("1",)))
    assert http.requests == []


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (429, {}, Throttled, "429"),
        (503, {}, Unavailable, "503"),
        (200, b"<html>", Unavailable, "without saying"),
        (401, {"error": "Invalid Credentials", "code": 401}, InvalidCredentials, "passcode of an admin may delete"),
        (403, {}, InvalidCredentials, "passcode of an admin may delete"),
        (400, {"error": "c-1"}, CallRefused, "answered 400"),
        (200, {"status": "fail", "error": "c-1 is unknown"}, CallRefused, "did not delete"),
        (200, {"status": "partial"}, CallRefused, "did not delete"),
    ],
)
def test_answers_are_judged_as_for_uploads(
    context: Context, script: Any, answer: Answer, status: int, body: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        erase(context, script(answer(body, status=status)))


# --- at the sandbox ---------------------------------------------------------------------------------------------------


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer() as server:
        yield server


def test_profiles_are_gone_and_others_stay(context: Context, sandbox: SandboxServer) -> None:
    for name, value in (("identity", "c-1"), ("objectId", KIT), ("identity", "c-2")):
        sandbox.upload({"type": "event", name: value, "evtName": "Read", "evtData": {}})
    account = {"account_id": sandbox.account_id, "passcode": sandbox.passcode, "base_url": sandbox.url}

    async def run(**settings: Any) -> bool:
        http = HttpxTransport()
        try:
            return (await ClevertapDestination(context(http, **account | settings)).erase(ADA)).acknowledged
        finally:
            await http.close()

    with pytest.raises(InvalidCredentials):
        asyncio.run(run(passcode="wrong"))
    assert sandbox.profile(identity="c-1") is not None
    for _ in range(2):  # again, as after a crash
        assert asyncio.run(run())
        assert sandbox.profile(identity="c-1") is None
        assert sandbox.profile(object_id=KIT) is None
        assert sandbox.profile(identity="c-2") is not None


def test_the_type_says_that_it_erases() -> None:
    assert CLEVERTAP.erases


def test_a_profile_that_is_linked_to_somebody_else_stays(
    context: Context, script: Any, answer: Answer, record: Callable[..., Any]
) -> None:
    """A kit told the ID of the device's user before; the link may be older than the log."""
    http = script(*[answer({"status": "success"})] * 4)
    made = context(http)
    kits = (("c-2", KIT), ("c-1", OTHER_KIT))

    async def run() -> None:
        for number, (person, kit) in enumerate(kits):
            update = record(
                "profile_update",
                id=f"{number}.p",
                user_identities={"customer_id": person},
                integration_attributes={"135": {"clevertap_id_integration_setting": kit}},
            )
            await ClevertapDestination(made).deliver([update])
        end = await ClevertapDestination(made).erase(ADA)  # a restart: only the store remembers
        assert end == Forgotten(True, "1 CleverTap ID(s) left, as they are linked to somebody else")
        assert http.requests[-1]["body"] == {"identity": ["c-1", "c-0"], "guid": [OTHER_KIT]}
        assert len(made.store.items) == 1, "of the person's own link nothing is left"
        only = Subject(integration_attributes={135: {"clevertap_id_integration_setting": (KIT,)}})
        assert not (await ClevertapDestination(made).erase(only)).acknowledged
        assert len(http.requests) == 3

    asyncio.run(run())


@pytest.mark.parametrize(
    ("settings", "asked", "identity"),
    [
        ({}, "491701234567", "+491701234567"),
        ({}, "00491701234567", "+491701234567"),
        ({"phone_region": "DE"}, "0170 1234567", "+491701234567"),
    ],
)
def test_a_phone_number_is_asked_for_as_it_is_delivered(settings: dict[str, Any], asked: str, identity: str) -> None:
    subject = Subject(user_identities={UserIdentity.MOBILE_NUMBER: (asked,)})
    fallback = ClevertapConnection(fall_back_to_other_identities=True, **settings)
    assert ids_of(subject, fallback) == ([identity], [])
    assert ids_of(subject, ClevertapConnection(user_id=UserId.MOBILE_NUMBER, **settings)) == ([asked, identity], [])
