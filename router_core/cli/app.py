"""Puts the command line together: core's commands, then those of plugins."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from router_core import __version__
from router_core.cli import (
    FAILED,
    UNUSABLE,
    allow_again,
    check,
    dead_letters,
    describe,
    erase,
    erasures,
    explain,
    plugins,
    run,
    schema,
    send,
    status,
    test,
)
from router_core.cli.printing import print_error, print_json
from router_core.errors import ConfigurationError, PluginError, RouterError
from router_core.plugins import Plugins, load_plugins

COMMANDS = (
    run, check, test, send, explain, status, dead_letters, erase, erasures, allow_again, plugins, describe, schema,
)  # fmt: skip
_OWN = {module.__name__.rpartition(".")[2].replace("_", "-") for module in COMMANDS}


def build(installed: Plugins | None = None) -> typer.Typer:
    """The whole command line. Commands of plugins are listed by their summary and loaded when one is used."""
    installed = installed or load_plugins()
    app = typer.Typer(
        name="router",
        cls=_root(installed),
        help="A self-hosted customer-event router that speaks mParticle's client protocols.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def root(
        context: typer.Context,
        version: Annotated[
            bool, typer.Option("--version", help="Show the version and end.", callback=_version, is_eager=True)
        ] = False,
    ) -> None:
        context.obj = installed

    for module in COMMANDS:
        module.add_to(app)
    for name, summary in _of_plugins(installed).items():
        app.add_typer(typer.Typer(), name=name, help=summary)
    return app


def _of_plugins(installed: Plugins) -> dict[str, str]:
    """Name and summary of the commands of plugins; they cannot replace core's."""
    return {command.name: command.summary for command in installed.commands() if command.name not in _OWN}


def _root(installed: Plugins) -> type[TyperGroup]:
    """The group of all commands: loads a plugin's when it is used, and turns errors into a sentence and a status."""
    of_plugins = _of_plugins(installed)

    class Root(TyperGroup):
        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            if args and args[0] not in self.commands and not ctx.resilient_parsing:
                _tell_broken(installed)
            name, command, rest = super().resolve_command(ctx, args)
            if name in of_plugins:
                try:
                    command = _loaded(installed, name or "")
                except PluginError:
                    if not ctx.resilient_parsing:  # a shell that completes must not get an error
                        raise
            return name, command, rest

        def invoke(self, ctx: Any) -> Any:
            as_json = _wants_json(ctx)
            try:
                return super().invoke(ctx)
            except ConfigurationError as error:
                for problem in error.problems:
                    print_error(str(problem))
                if as_json:
                    print_json({"error": str(error)})
                raise typer.Exit(UNUSABLE) from None
            except RouterError as error:
                print_error(str(error))
                if as_json:
                    print_json({"error": str(error)})
                raise typer.Exit(FAILED) from None
            except typer.BadParameter as error:
                if as_json:
                    print_json({"error": error.format_message()})
                raise

    return Root


def _wants_json(ctx: Any) -> bool:
    """Whether one of core's commands was called with --json: then an error stands on standard output as well."""
    words = [*ctx._protected_args, *ctx.args]
    return bool(words) and words[0] in _OWN and "--json" in words


def _loaded(installed: Plugins, name: str) -> Any:
    """A plugin's command, ready to run. Raises `PluginError` naming the distribution."""
    from typer.main import get_group

    from router_core.isolation import fault_of

    command = installed.command(name)
    try:
        return get_group(command.load())
    except BaseException as error:  # a plugin may raise anything while it is imported, SystemExit included
        if isinstance(error, KeyboardInterrupt):
            raise
        owner = next(plugin.origin for plugin in installed.found if command in plugin.commands)
        raise PluginError(
            f"the command {name!r} of {owner} does not load: {fault_of(error)}. Mend or uninstall it."
        ) from error


def _tell_broken(installed: Plugins) -> None:
    """An unknown command may be one of a plugin that does not load."""
    for plugin in installed.found:
        if plugin.error is not None:
            print_error(f"the plugin {plugin.name!r} of {plugin.origin} does not load: {plugin.error}", "warning")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"router-core {__version__}")
        raise typer.Exit
