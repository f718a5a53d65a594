"""`router erasures`: how far each erasure has come."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from router_core.cli.options import ConfigOption, JsonOption, configuration_of

if TYPE_CHECKING:
    from router_core.erasure import Erasure

_STYLES: Final = {"completed": "green", "cancelled": "dim"}


def add_to(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def erasures(
        context: typer.Context,
        config: ConfigOption,
        limit: Annotated[int, typer.Option("--limit", help="Only the newest.", min=1)] = 100,
        as_json: JsonOption = False,
    ) -> None:
        """List erasures, oldest first, with what came of them at each connection. Shows nobody's identities."""
        from router_core.cli.erase import as_dict
        from router_core.cli.printing import print_json, print_text

        found = _listed(configuration_of(context, config).settings.log.path, limit)
        if as_json:
            print_json([as_dict(erasure) for erasure in found])
        elif found:
            _print(found)
        else:
            print_text("no erasures")


def _listed(folder: Path, limit: int) -> Sequence[Erasure]:
    from router_core.erasurefile import ErasureFile, opened

    if not ErasureFile.exists(folder):
        return []
    with opened(folder) as file:
        return file.listing(limit)


def _print(found: Sequence[Erasure]) -> None:
    from rich.text import Text

    from router_core.cli.erase import states_text
    from router_core.cli.printing import console, duration_text, harmless, table_of, time_text

    table = table_of("Erasure", "Status", "Asked for", "Took", "Batches", "Connections", right=("Batches",),
                     wide=("Connections",))  # fmt: skip
    for erasure in found:
        ended = erasure.completed_at_ms or time.time() * 1000
        cells = [
            erasure.id,
            erasure.status.value,
            time_text(erasure.received_at_ms),
            duration_text(max(ended - erasure.received_at_ms, 0.0) / 1000),
            f"{erasure.batches:,}",
            states_text(erasure),
        ]
        row = [Text(harmless(cell)) for cell in cells]
        row[1].stylize("red" if _is_stuck(erasure) else _STYLES.get(erasure.status.value, "yellow"))
        table.add_row(*row)
    console().print(table)


def _is_stuck(erasure: Erasure) -> bool:
    """Whether somebody has to do something."""
    return any(at.state.value == "failed" for at in erasure.connections.values()) or bool(erasure.note)
