"""Everything that a plugin can hook into, on one screen.

Hooks register and observe; data never travels through them. Mark implementations with `hookimpl`:

    @hookimpl
    def router_destinations() -> Iterable[DestinationType]:
        from my_partner.destination import MY_PARTNER   # heavy imports here, so that a listing stays fast
        return [MY_PARTNER]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pluggy

from router_core.components import CommandType, DestinationType, SourceType, TransformType

NAMESPACE = "router"
ENTRY_POINT_GROUP = "router_core.plugins"

hookspec = pluggy.HookspecMarker(NAMESPACE)
hookimpl = pluggy.HookimplMarker(NAMESPACE)


@dataclass(frozen=True, kw_only=True)
class RouterView:
    """What an observer may know of the running router."""

    inputs: Mapping[str, str]
    """Input name to source type."""
    connections: Mapping[str, tuple[str, str]]
    """Connection name to (input, output)."""


@dataclass(frozen=True, kw_only=True)
class SettlementReport:
    """One committed delivery call."""

    connection: str
    delivered: int
    skipped: Mapping[str, int]
    """Code to number of records."""
    retried: Mapping[str, int]
    rejected: Mapping[str, int]
    expired: int


@hookspec
def router_sources() -> Iterable[SourceType]:  # type: ignore[empty-body]  # a specification has no body
    """The kinds of source that the plugin brings. Called once at the start."""


@hookspec
def router_transforms() -> Iterable[TransformType]:  # type: ignore[empty-body]
    """The kinds of transform that the plugin brings. Called once at the start."""


@hookspec
def router_destinations() -> Iterable[DestinationType]:  # type: ignore[empty-body]
    """The kinds of destination that the plugin brings. Called once at the start."""


@hookspec
def router_commands() -> Iterable[CommandType]:  # type: ignore[empty-body]
    """Commands for the `router` command line. Called when the command line is built; import nothing heavy."""


@hookspec
def router_started(router: RouterView) -> None:
    """The delivering process is ready. An error is logged and goes no further, as with the two hooks below."""


@hookspec
def router_settled(report: SettlementReport) -> None:
    """A delivery call was committed; called once per call, so keep it short."""


@hookspec
def router_stopping(router: RouterView) -> None:
    """The delivering process is about to stop; lanes have settled what they could."""
