"""The hooks, and what listing them costs."""

import subprocess
import sys

import pluggy
from router_clevertap import plugin
from typer.testing import CliRunner

from router_core import hookspecs


def test_the_hooks_are_ones_that_core_knows() -> None:
    manager = pluggy.PluginManager(hookspecs.NAMESPACE)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin)
    manager.check_pending()
    assert [kind.name for kinds in manager.hook.router_destinations() for kind in kinds] == ["clevertap"]


def test_router_destinations() -> None:
    assert [kind.name for kind in plugin.router_destinations()] == ["clevertap"]


def test_router_commands() -> None:
    (command,) = plugin.router_commands()
    assert command.name == "clevertap"
    result = CliRunner().invoke(command.load(), ["sandbox", "--help"])
    assert result.exit_code == 0
    assert "--port" in result.output


def test_listing_the_commands_imports_nothing_heavy() -> None:
    heavy = "phonenumbers", "starlette", "uvicorn", "typer", "router_clevertap.destination"
    code = (
        "import sys; from router_clevertap import plugin; list(plugin.router_commands());"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
    )
    assert run.stdout.strip() == "[]"
