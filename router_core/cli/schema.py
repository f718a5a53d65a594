"""`router schema`: the JSON Schema of the configuration, for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def schema(
        context: typer.Context,
        output: Annotated[
            Path | None, typer.Option("--output", "-o", help="Write it to this file.", metavar="FILE")
        ] = None,
    ) -> None:
        """Print the JSON Schema of the YAML file, with the settings of all installed plugins."""
        from router_core.check import configuration_schema
        from router_core.cli.printing import json_text, print_json
        from router_core.errors import RouterError

        document = configuration_schema(context.obj)
        if output is None:
            print_json(document)
            return
        try:
            output.write_text(json_text(document) + "\n", encoding="utf-8")
        except OSError as error:
            raise RouterError(f"cannot write {output}: {error.strerror}.") from None
