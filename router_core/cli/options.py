"""Options and choices that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router_core.configuration import Configuration, ConfiguredInput

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The YAML file.", metavar="FILE")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ConnectionOption = Annotated[
    str | None, typer.Option("--connection", help="Only this connection's.", metavar="NAME", show_default=False)
]


def configuration_of(context: typer.Context, config: Path) -> Configuration:
    """The checked configuration. Raises `ConfigurationError` with all that is wrong."""
    from router_core.check import load_configuration

    return load_configuration(config, plugins=context.obj)


def chosen_input(configuration: Configuration, name: str | None) -> ConfiguredInput:
    """The input of this name; without a name the only one that there is."""
    inputs = configuration.inputs
    if name is None and len(inputs) == 1:
        return next(iter(inputs.values()))
    if name is None:
        raise typer.BadParameter(f"say which input: {', '.join(inputs) or 'there is none'}", param_hint="'--input'")
    if name not in inputs:
        raise unknown_name("input", name, inputs, "'--input'")
    return inputs[name]


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str) -> typer.BadParameter:
    """The usage error for a name that leads nowhere, with the one that was probably meant."""
    from router_core.draft import suggestion

    return typer.BadParameter(f"no {kind} is named {name!r}. {suggestion(name, list(known))}", param_hint=hint)


def url_of(host: str, port: int, setting: str) -> str:
    """Where a listener of this machine answers."""
    if port == 0:
        raise typer.BadParameter(f"`{setting}` is 0, so nobody knows the port. Set it to a number.")
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host.strip("[]"), host.strip("[]"))  # noqa: S104  # replaced
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
