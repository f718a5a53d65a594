"""`router check`: is the configuration usable, and does it do what was meant?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router_core.cli.options import ConfigOption, configuration_of

if TYPE_CHECKING:
    from router_core.components import HttpAnswer, HttpTransport
    from router_core.configuration import Configuration


def add_to(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def check(
        context: typer.Context,
        config: ConfigOption,
        connect: Annotated[
            bool, typer.Option("--connect", help="Also ask every partner whether the credentials are good.")
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ) -> None:
        """Check a configuration: all errors at once, each with its line and its mend."""
        from router_core.cli import FAILED, UNUSABLE
        from router_core.cli.printing import print_findings, print_json, print_text
        from router_core.errors import ConfigurationError

        try:
            configuration = configuration_of(context, config)
        except ConfigurationError as error:
            if not as_json:
                raise
            print_json({"usable": False, "ready": False, "problems": [_as_dict(problem) for problem in error.problems]})
            raise typer.Exit(UNUSABLE) from None
        answers, asked = asyncio.run(_connect(configuration)) if connect else ({}, set())
        failed = {name: answer for name, answer in answers.items() if answer is not None}
        if as_json:
            findings = [_as_dict(finding) for finding in configuration.findings]
            ready = not failed if connect else None  # None: nobody was asked
            print_json({"usable": True, "ready": ready, "problems": [], "findings": findings, "partners": answers})
        else:
            print_findings(configuration.findings)
            for name, answer in answers.items():
                good = "the partner answers, and the credentials are good" if name in asked else "ok"
                print_text(f"connection {name}: {answer or good}")
            if failed:
                some = "connection fails" if len(answers) == 1 else "connections fail"
                print_text(f"{config}: not ready: {len(failed)} of {len(answers)} {some}.")
            else:
                inputs, connections = len(configuration.inputs), len(configuration.connections)
                print_text(f"{config}: usable; {inputs} inputs, {connections} connections.")
        if failed:
            raise typer.Exit(FAILED)


def _as_dict(problem: Any) -> dict[str, str]:
    found = {"where": problem.where, "path": problem.path, "what": problem.what, "mend": problem.mend}
    if hasattr(problem, "severity"):
        found["severity"] = problem.severity.value
    return found


class _Noting:
    """An `HttpTransport` that notes whether it was used: a file or a screen answers without."""

    def __init__(self, transport: HttpTransport) -> None:
        self._transport = transport
        self.used = False

    async def request(self, *arguments: Any, **named: Any) -> HttpAnswer:
        """See `HttpTransport.request`."""
        self.used = True
        return await self._transport.request(*arguments, **named)


async def _connect(configuration: Configuration) -> tuple[dict[str, str | None], set[str]]:
    """Connection to what its partner says, None if all is well, else a sentence; and those whose partner was asked."""
    import tempfile
    from pathlib import Path

    from router_core.account import Account
    from router_core.deliverer import create_destination
    from router_core.errors import DeliveryError
    from router_core.isolation import fault_of
    from router_core.logs import configure_logs
    from router_core.store import StateFile
    from router_core.telemetry import Telemetry
    from router_core.transport import HttpxTransport

    configure_logs(configuration.settings.telemetry.log_format, "warning")
    answers: dict[str, str | None] = {}
    asked: set[str] = set()
    http = HttpxTransport()
    with tempfile.TemporaryDirectory() as folder:
        state = StateFile(Path(folder) / "state.db")
        for name, connection in configuration.connections.items():
            noting = _Noting(http)
            try:
                destination = create_destination(
                    connection, http=noting, account=Account(1), state=state, telemetry=Telemetry()
                )
                try:
                    await destination.check()
                finally:
                    await destination.close()
                answers[name] = None
                asked |= {name} if noting.used else set()
            except DeliveryError as error:
                answers[name] = str(error)
            except Exception as error:
                answers[name] = f"the plugin failed: {fault_of(error)}"
        state.close()
    await http.close()
    return answers, asked
