"""A plugin made for these tests: it forgets to mask its secret, and fails where it is told to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
import pluggy
import typer
from pydantic import SecretStr

from router_core.components import (
    Accepts,
    CommandType,
    ConfigurationSettings,
    ConnectionSettings,
    Destination,
    DestinationContext,
    DestinationType,
    Kit,
    Limits,
    Settings,
    SourceType,
    Transform,
    TransformContext,
    Transformed,
    TransformType,
    setting,
)
from router_core.errors import Unavailable
from router_core.events import DeviceIdentity, EventType, Platform, UserIdentity
from router_core.outcomes import Outcome
from router_core.plugins import PluginInfo, Plugins, load_plugins
from router_core.records import Record
from router_core.values import Duration, Size

SECRET = "S3CR3T-of-the-account"


class Region(StrEnum):
    EU = "eu"
    US = "us"


class Proxy(Settings):
    host: str = setting(title="Host", help="Host of the proxy.", example="proxy.example")
    password: SecretStr = setting(SecretStr(SECRET), title="Password", help="Password of the proxy.")


class Account(ConfigurationSettings):
    account_id: str = setting(title="Account", help="The account | its id.", example="A-1")
    passcode: SecretStr = setting(title="Passcode", help="The passcode.", example="${env:PASSCODE}")
    token: SecretStr = setting(SecretStr(SECRET), title="Token", help="A token.", example="T-1")
    region: Region = setting(Region.EU, title="Region", help="The region.")
    wait: Duration = setting(timedelta(seconds=90), title="Wait", help="How long.")
    room: Size = setting(1024, title="Room", help="How much.", ge=1)
    calls: int = setting(3, title="Calls", help="At once.", ge=1, le=15)
    tags: list[str] = setting(default_factory=list, title="Tags", help="Tags.")
    proxy: Proxy | None = setting(None, title="Proxy", help="A proxy.")
    fails: bool = setting(False, title="Fails", help="Whether the preview fails.")


class Wiring(ConnectionSettings):
    forward_web_requests_server_side: bool = setting(
        True, title="Forward", help="Send what pages report.", platforms={Platform.WEB}
    )


class PartnerDestination(Destination):
    """Shows the passcode in its preview, in an address and in a header, as no destination should."""

    def __init__(self, context: DestinationContext) -> None:
        self._context = context
        self._settings: Account = context.settings

    async def open(self) -> None:
        raise AssertionError("a command must not open a destination")

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        raise AssertionError("a command must not deliver")

    def preview(self, records: Sequence[Record]) -> Sequence[Mapping[str, Any]]:
        passcode = self._settings.passcode.get_secret_value()
        if self._settings.fails:
            raise ValueError(f"cannot handle it with {passcode}")
        return [
            {
                "url": f"https://partner.example/?passcode={passcode}",
                "headers": {"Authorization": "Basic QTox", "x-passcode": passcode},
                "body": {"records": [record.id for record in records], "secret": self._settings.token},
            }
        ]

    async def check(self) -> None:
        raise Unavailable("the partner is closed")


class Tagger(Transform):
    """Drops session starts and chokes on session ends."""

    def __init__(self, context: TransformContext) -> None:
        self._context = context

    async def apply(self, records: Sequence[Record]) -> Transformed:
        kept, ended = [], []
        for record in records:
            if record.event_type == EventType.SESSION_END:
                raise KeyError("no tag")
            if record.event_type == EventType.SESSION_START:
                ended.append(Outcome.skipped(record.id, "untagged", "it has no tag"))
            else:
                kept.append(msgspec.structs.replace(record))
        return Transformed(records=kept, outcomes=ended)


class PathSettings(ConfigurationSettings):
    path: Path = setting(title="Path", help="A path.")


PARTNER = DestinationType(
    name="partner",
    title="Partner",
    summary="A partner for tests.",
    create=PartnerDestination,
    configuration_settings=Account,
    connection_settings=Wiring,
    accepts=Accepts(
        platforms={Platform.WEB, Platform.IOS, Platform.DATA_FEEDS},
        event_types={EventType.CUSTOM_EVENT, EventType.SESSION_START, EventType.SESSION_END, EventType.OPT_OUT},
        user_identities={UserIdentity.EMAIL, UserIdentity.CUSTOMER_ID},
        device_identities=frozenset(DeviceIdentity),
    ),
    limits_for=lambda settings: Limits(records=2, calls_in_flight=settings.calls),
    kit=Kit(module_id=7, name="Partner", event_types={EventType.OPT_OUT}),
)
TAGGER = TransformType(name="tagger", title="Tagger", summary="Drops sessions.", create=Tagger, settings=PathSettings)


def make_nothing(context: object) -> Any:
    raise AssertionError("no test runs this source")


PAGES = SourceType(
    name="pages", title="Pages", summary="What web pages send.", create=make_nothing, needs_key=True,
    channel="javascript",
)  # fmt: skip


def commands() -> typer.Typer:
    app = typer.Typer()

    @app.command()
    def hello(name: str = "you") -> None:
        """Say hello."""
        typer.echo(f"hello {name}")

    return app


def broken_commands() -> typer.Typer:
    raise SystemExit("its module ends the process")


def plugins() -> Plugins:
    """What is installed, with the partner, a plugin of another contract, one that does not load, and two doubles."""
    partner = PluginInfo(
        name="partner", distribution="router-partner", version="1.2", destinations=[PARTNER], transforms=[TAGGER],
        sources=[PAGES],
        commands=[
            CommandType(name="partner", title="Partner", summary="Tools for the partner.", load=commands),
            CommandType(name="lame", title="Lame", summary="Does not load.", load=broken_commands),
            CommandType(name="check", title="Check", summary="Wants core's place.", load=broken_commands),
        ],
    )  # fmt: skip
    future = PluginInfo(
        name="future", distribution="router-future", version="9", destinations=[_like(PARTNER, "tomorrow", contract=99)]
    )
    broken = PluginInfo(name="broken", distribution="router-broken", version="0.1", error="ImportError: no \x1b[31mred")
    double = PluginInfo(name="double", distribution="router-double", version="2", transforms=[_like(TAGGER, "twin")])
    again = PluginInfo(name="again", distribution="router-again", version="2", transforms=[_like(TAGGER, "twin")])
    found = [plugin for plugin in load_plugins().found if plugin.distribution == "router-core"]
    return Plugins(pluggy.PluginManager("router"), [*found, partner, future, broken, double, again])


def _like(kind: Any, name: str, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(kind, name=name, **changes)
