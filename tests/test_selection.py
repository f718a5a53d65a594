"""Which records go to a destination: the table of the module, rule by rule."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from router_core.components import Accepts, ConnectionSettings, DestinationType, Kit
from router_core.events import EventType, Platform
from router_core.outcomes import Disposition
from router_core.records import PROFILE_UPDATE, Record
from router_core.selection import Selection
from router_core.testing import ScriptedDestination, custom_event, event_batch, record, records_of

ALL_BUT_OPT_OUT = frozenset(EventType) - {EventType.OPT_OUT}


class WebSettings(ConnectionSettings):
    forward_web_requests_server_side: bool = False


def destination(*, kit: bool = True, **accepts: Any) -> DestinationType:
    return DestinationType(
        name="partner",
        title="Partner",
        summary="A partner with a kit.",
        create=lambda _: ScriptedDestination(),
        accepts=Accepts(**{"event_types": ALL_BUT_OPT_OUT, "platforms": {Platform.WEB, Platform.IOS}, **accepts}),
        kit=Kit(module_id=128, name="Partner", event_types={EventType.PUSH_MESSAGE}) if kit else None,
    )


def code(
    item: Record, *, kind: DestinationType | None = None, settings: Any = None, platform: Platform = Platform.IOS
) -> str | None:
    skip = Selection(kind or destination(), settings, platform).reason(item)
    return None if skip is None else skip[0]


def profile_update(**context: Any) -> Record:
    (update,) = records_of(b'{"user_attributes":{"a":1}}', **context)
    return update


@pytest.mark.parametrize("platform", list(Platform))
def test_only_the_platforms_that_it_takes_are_sent(platform: Platform) -> None:
    expected = None if platform in (Platform.WEB, Platform.IOS) else "unsupported_platform"
    assert code(record(), platform=platform) == expected
    assert code(profile_update(), platform=platform) == expected


@pytest.mark.parametrize(
    ("taken", "platform", "is_feed", "expected"),
    [
        ({Platform.IOS}, Platform.DATA_FEEDS, True, "unsupported_platform"),
        ({Platform.IOS}, Platform.IOS, True, None),
        ({Platform.IOS}, Platform.ROKU, True, "unsupported_platform"),
        ({Platform.DATA_FEEDS}, Platform.DATA_FEEDS, True, None),
        ({Platform.DATA_FEEDS}, Platform.ROKU, True, None),
        ({Platform.DATA_FEEDS}, Platform.ROKU, False, "unsupported_platform"),
    ],
)
def test_feeds_go_where_feeds_or_the_platform_that_they_act_as_are_taken(
    taken: set[Platform], platform: Platform, is_feed: bool, expected: str | None
) -> None:
    skip = Selection(destination(platforms=taken), None, platform, is_feed=is_feed).reason(record())
    assert (skip.code if skip else None) == expected


def test_a_partners_own_feed_does_not_go_back() -> None:
    own = Selection(destination(), None, Platform.IOS, own_feed=True, path="connections.web")
    assert own.reason(record()) == own.reason(profile_update()) == (
                "own_feed",
        "it came from Partner's own feed and does not go back: connections.web.return_to_partner is off",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("channel", "kits", "expected"),
    [
        ("native", "128", "sent_by_kit"),
        ("native", "1,128,5", "sent_by_kit"),
        ("native", "1, 128", "sent_by_kit"),
        ("native", "1280,12,8", None),
        ("native", "", None),
        ("native", None, None),
        ("server_to_server", "128", None),
        ("partner", "128", None),
        ("javascript", "128", None),
    ],
)
def test_what_the_kit_in_the_app_has_sent_is_not_sent_again(
    channel: str, kits: str | None, expected: str | None
) -> None:
    headers = {} if kits is None else {"x-mp-kits": kits}
    assert code(record(channel=channel, headers=headers)) == expected
    assert code(profile_update(channel=channel, headers=headers)) == expected


def test_a_kit_that_is_only_bundled_has_sent_nothing() -> None:
    assert code(record(channel="native", headers={"x-mp-bundled-kits": "128"})) is None


@pytest.mark.parametrize(
    ("channel", "settings", "expected"),
    [
        ("javascript", WebSettings(forward_web_requests_server_side=False), "sent_by_kit"),
        ("javascript", WebSettings(forward_web_requests_server_side=True), None),
        ("javascript", ConnectionSettings(), None),
        ("javascript", None, None),
        ("server_to_server", WebSettings(forward_web_requests_server_side=False), None),
        ("native", WebSettings(forward_web_requests_server_side=False), None),
    ],
)
def test_the_page_sends_for_itself_unless_forwarding_is_on(channel: str, settings: Any, expected: str | None) -> None:
    assert code(record(channel=channel), settings=settings, platform=Platform.WEB) == expected


def test_a_partner_without_a_kit_gets_all_channels() -> None:
    item = record(channel="native", headers={"x-mp-kits": "128"})
    assert code(item, kind=destination(kit=False)) is None
    page = record(channel="javascript")
    assert code(page, kind=destination(kit=False), settings=WebSettings(), platform=Platform.WEB) is None


@pytest.mark.parametrize(
    ("event_type", "kit", "accepted", "expected"),
    [
        ("custom_event", True, ALL_BUT_OPT_OUT, None),
        ("opt_out", True, ALL_BUT_OPT_OUT, "unsupported_event_type"),
        ("push_message", True, ALL_BUT_OPT_OUT, "kit_only"),
        ("push_message", True, frozenset(), "kit_only"),
        ("push_message", False, ALL_BUT_OPT_OUT, None),
        ("push_message", False, frozenset(), "unsupported_event_type"),
        ("made_up_type", True, ALL_BUT_OPT_OUT, "unsupported_event_type"),
    ],
)
def test_types_of_event_are_kit_only_first_then_unsupported(
    event_type: str, kit: bool, accepted: frozenset[EventType], expected: str | None
) -> None:
    assert code(record(event_type), kind=destination(kit=kit, event_types=accepted)) == expected


@pytest.mark.parametrize(("taken", "expected"), [(True, None), (False, "unsupported_event_type")])
def test_profile_updates_go_where_they_are_taken(taken: bool, expected: str | None) -> None:
    assert code(profile_update(), kind=destination(profile_updates=taken)) == expected


def test_the_platform_comes_before_the_kit_and_the_kit_before_the_type() -> None:
    item = record("opt_out", channel="native", headers={"x-mp-kits": "128"})
    assert code(item, platform=Platform.ROKU) == "unsupported_platform"
    assert code(item) == "sent_by_kit"
    assert code(record("opt_out", channel="native")) == "unsupported_event_type"


def test_the_records_to_send_keep_their_order_and_each_other_has_an_outcome() -> None:
    body = event_batch(
        custom_event("A"), {"event_type": "opt_out"}, {"event_type": "push_message"}, custom_event("B"),
        customer_id="c",
    )  # fmt: skip
    kept, outcomes = Selection(destination(), None, Platform.IOS)(records_of(body))
    assert [item.id for item in kept] == ["1.p", "1.0", "1.3"]
    assert kept[0].event_type == PROFILE_UPDATE
    assert [(o.record_id, o.disposition, o.code) for o in outcomes] == [
        ("1.1", Disposition.SKIPPED, "unsupported_event_type"),
        ("1.2", Disposition.SKIPPED, "kit_only"),
    ]
    assert all("Partner" in outcome.message for outcome in outcomes)


def test_types_that_senders_make_up_without_end_are_all_skipped() -> None:
    selection = Selection(destination(), None, Platform.IOS)
    skips = {selection.reason(record(f"made_up_{number}")) for number in range(1500)}
    assert len(skips) == 1500
    assert {skip[0] for skip in skips if skip} == {"unsupported_event_type"}


@pytest.mark.parametrize(("forwards", "expected"), [(False, "kit_only"), (True, None)])
def test_a_setting_may_send_from_here_what_is_the_kits(forwards: bool, expected: str | None) -> None:
    class Forwarding(ConnectionSettings):
        push: bool = False

    def also_from_here(settings: Forwarding) -> set[EventType]:
        return {EventType.PUSH_MESSAGE} if settings.push else set()

    kit = Kit(
        name="Partner",
        module_id=128,
        event_types={EventType.PUSH_MESSAGE, EventType.OPT_OUT},
        also_from_here=also_from_here,
    )
    kind = dataclasses.replace(destination(event_types={EventType.CUSTOM_EVENT}), kit=kit)
    settings = Forwarding(push=forwards)
    assert code(record(event_type="push_message"), kind=kind, settings=settings) == expected
    assert code(record(event_type="opt_out"), kind=kind, settings=settings) == "kit_only"
