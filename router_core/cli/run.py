"""`router run`: the daemon."""

from __future__ import annotations

from typing import Annotated

import typer

from router_core.cli.options import ConfigOption, configuration_of


def add_to(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def run(
        context: typer.Context,
        config: ConfigOption,
        single_process: Annotated[
            bool, typer.Option("--single-process", help="Accept and deliver in one process: for debugging, tiny hosts.")
        ] = False,
    ) -> None:
        """Run the router until it is told to stop (SIGTERM, Ctrl-C)."""
        import uvloop

        from router_core.cli.printing import print_findings
        from router_core.logs import configure_logs
        from router_core.supervisor import Supervisor

        configuration = configuration_of(context, config)
        telemetry = configuration.settings.telemetry
        configure_logs(telemetry.log_format, telemetry.log_level)
        print_findings(configuration.findings)

        async def supervise() -> None:
            await Supervisor(configuration, config).run(single_process=single_process)

        uvloop.run(supervise())
