"""`router plugins`: what is installed, what it brings, and what does not load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import typer

from router_core.cli.options import JsonOption

if TYPE_CHECKING:
    from router_core.components import ComponentType
    from router_core.plugins import PluginInfo, Plugins

KINDS: Final = ("source", "transform", "destination", "command")


def add_to(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def plugins(context: typer.Context, as_json: JsonOption = False) -> None:
        """List the installed plugins, with what they bring and why one does not load."""
        from router_core.cli.printing import print_json

        found = [_as_dict(plugin, context.obj) for plugin in context.obj.found]
        if as_json:
            print_json(found)
        else:
            _print(found)


def components_of(plugin: PluginInfo) -> Iterator[tuple[str, ComponentType]]:
    """Everything that a plugin brings, with its kind."""
    lists: Sequence[Sequence[ComponentType]] = (
        plugin.sources, plugin.transforms, plugin.destinations, plugin.commands
    )  # fmt: skip
    for kind, components in zip(KINDS, lists, strict=True):
        for component in components:
            yield kind, component


def _as_dict(plugin: PluginInfo, installed: Plugins) -> dict[str, Any]:
    components = [
        {
            "kind": kind,
            "name": component.name,
            "title": component.title,
            "summary": component.summary,
            "contract": component.contract,
            "stability": component.stability,
            "error": None if plugin.error else error_of(installed, kind, component),
        }
        for kind, component in components_of(plugin)
    ]
    return {
        "name": plugin.name,
        "version": plugin.version,
        "distribution": plugin.distribution,
        "error": plugin.error,
        "components": components,
    }


def error_of(installed: Plugins, kind: str, component: ComponentType) -> str | None:
    """Why a component cannot be used although its plugin loads: another contract, or a name that two have."""
    from router_core.errors import PluginError

    try:
        getattr(installed, kind)(component.name)
    except PluginError as error:
        return str(error)
    return None


def _print(found: Sequence[dict[str, Any]]) -> None:
    from rich.text import Text

    from router_core.cli.printing import console, harmless, table_of

    table = table_of("Plugin", "Version", "Distribution", "Brings", "Contract", "Stability", wide=("Brings",))
    errors = []
    for plugin in found:
        components = plugin["components"]
        wrong = [plugin["error"], *(component["error"] for component in components)]
        wrong = [f"{plugin['name']}: {text}" for text in wrong if text is not None]
        errors += wrong
        row = (
            plugin["name"],
            plugin["version"],
            plugin["distribution"],
            ", ".join(f"{component['kind']} {component['name']}" for component in components) or "nothing",
            _each(component["contract"] for component in components),
            _each(component["stability"] for component in components),
        )
        style = "red" if wrong else ""
        table.add_row(*(Text(harmless(cell), style) for cell in row))
    console().print(table)
    for text in dict.fromkeys(errors):
        console().print(Text(harmless(text), "red"), soft_wrap=True)


def _each(values: Iterator[Any]) -> str:
    return ", ".join(sorted({str(value) for value in values}))
