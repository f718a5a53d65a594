"""What this distribution brings to the router. Everything heavy is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from router_core.components import CommandType, DestinationType
from router_core.hookspecs import hookimpl

if TYPE_CHECKING:
    import typer


@hookimpl
def router_destinations() -> Iterable[DestinationType]:
    """The destination type `clevertap`."""
    from router_clevertap.destination import CLEVERTAP  # slow to import

    return [CLEVERTAP]


@hookimpl
def router_commands() -> Iterable[CommandType]:
    """`router clevertap sandbox`."""
    return [
        CommandType(
            name="clevertap",
            title="CleverTap",
            summary="A local stand-in for CleverTap's API.",
            load=_commands,
        )
    ]


def _commands() -> typer.Typer:
    import typer  # slow to import

    from router_clevertap.sandbox.command import app as sandbox

    commands = typer.Typer(name="clevertap", help="Tools for CleverTap.", no_args_is_help=True)
    commands.callback()(_tools)  # keeps `sandbox` a command of its own, although it is the only one
    commands.add_typer(sandbox)
    return commands


def _tools() -> None:
    """Tools for CleverTap."""
