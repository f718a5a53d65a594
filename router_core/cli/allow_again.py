"""`router allow-again`: keep and deliver somebody's data again after an erasure."""

from __future__ import annotations

import typer

from router_core.cli.identities import IdentitiesArgument, identities_of
from router_core.cli.options import ConfigOption, JsonOption, configuration_of


def add_to(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("allow-again")
    def allow_again(
        context: typer.Context, identities: IdentitiesArgument, config: ConfigOption, as_json: JsonOption = False
    ) -> None:
        """Lift the suppression of a person who was erased, with all ids that were erased together."""
        from router_core.cli.printing import counted, print_json, print_text
        from router_core.erasurefile import ErasureFile, opened

        folder = configuration_of(context, config).settings.log.path
        wanted = identities_of(identities)
        count = 0
        if ErasureFile.exists(folder):
            with opened(folder) as file:
                count = file.allow_again(wanted)
        if as_json:
            print_json({"lifted": count})
        elif count:
            print_text(f"Lifted what {counted(count, 'erasure')} suppressed. A running router notices within a second.")
        else:
            print_text("Nobody with one of these identities is suppressed.")
