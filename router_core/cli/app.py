"""Puts the command line together: core's commands, then those of plugins."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from router_core import __version__
from router_core.cli import check, run
from router_core.plugins import Plugins, load_plugins


def build(plugins: Plugins | None = None) -> typer.Typer:
    """The whole command line. Commands of plugins are listed by their summary and loaded when one is used."""
    app = typer.Typer(
        name="router",
        help="A self-hosted customer-event router that speaks mParticle's client protocols.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def root(
        version: Annotated[
            bool, typer.Option("--version", help="Show the version and end.", callback=_version, is_eager=True)
        ] = False,
    ) -> None:
        pass

    for module in (run, check):
        module.add_to(app)
    for command in (plugins or load_plugins()).commands():
        # Loading a plugin's commands imports what they need; only the one that is asked for is worth that.
        loaded: Any = command.load() if command.name in sys.argv[1:2] else typer.Typer()
        app.add_typer(loaded, name=command.name, help=command.summary)
    return app


def _version(value: bool) -> None:
    if value:
        typer.echo(f"router-core {__version__}")
        raise typer.Exit
