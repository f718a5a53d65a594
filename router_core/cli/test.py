"""`router test`: does the configuration still do with these batches what its tests expect?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from router_core.cli.options import ConfigOption, JsonOption


def add_to(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def test(
        context: typer.Context,
        config: ConfigOption,
        files: Annotated[
            list[Path] | None,
            typer.Argument(help="Files of tests; by default NAME.tests.yaml beside NAME.yaml.", show_default=False),
        ] = None,
        as_json: JsonOption = False,
    ) -> None:
        """Run the tests of a configuration. Nothing is sent and nothing is kept."""
        from router_core.cli import FAILED
        from router_core.cli.printing import counted, print_json, print_text
        from router_core.logs import configure_logs
        from router_core.testing.configtests import config_tests, tests_beside

        cases = [
            case for file in files or [tests_beside(config)] for case in config_tests(config, file, plugins=context.obj)
        ]
        configure_logs("auto", "critical")  # what fails is told below
        results = [(case, case.differences()) for case in cases]
        failed = sum(1 for _, found in results if found)
        if as_json:
            print_json(
                {
                    "passed": len(results) - failed,
                    "failed": failed,
                    "tests": [
                        {"name": case.name, "where": case.where, "passed": not found, "differences": found}
                        for case, found in results
                    ],
                }
            )
        else:
            for case, found in results:
                print_text(f"FAILED  {case.name} ({case.where})" if found else f"passed  {case.name}")
                for line in found:
                    print_text(f"        {line}")
            print_text(f"{counted(len(results), 'test')}, {failed} failed.")
        if failed:
            raise typer.Exit(FAILED)
