"""Identities as arguments: `customer_id=c-1 email=a@b.c`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_core.configuration import Configuration

IdentitiesArgument = Annotated[
    list[str], typer.Argument(help="Identities, such as customer_id=c-1 email=a@b.c.", metavar="TYPE=VALUE...")
]


def identities_of(words: Sequence[str]) -> dict[str, list[str]]:
    """Type to values. Raises a usage error that names the nearest type, and never shows a value."""
    from router_core.cli.options import unknown_name
    from router_core.erasure import folded
    from router_core.identifiers import TYPES, type_of

    pairs = []
    for number, word in enumerate(words, 1):
        name, equals, value = word.partition("=")
        if not equals:
            raise typer.BadParameter(f"identity {number} has no `=`: write TYPE=VALUE.", param_hint="TYPE=VALUE")
        if type_of(name) is None:
            raise unknown_name("identity", name, TYPES, "TYPE=VALUE")
        pairs.append((name, value))
    found = folded(pairs)
    for name, _ in pairs:
        if (kind := type_of(name)) is not None and kind not in found:
            raise typer.BadParameter(f"{name} has a value that names nobody.", param_hint="TYPE=VALUE")
    return found


def require_folder(configuration: Configuration) -> None:
    """Raises `RouterError` if no router has run with this data folder; a command must not be the one that makes it."""
    from router_core.errors import RouterError

    folder = configuration.settings.log.path
    if not (folder / "lock").exists():
        raise RouterError(f"no router has run with the data folder {folder} yet, so it knows nobody.")
