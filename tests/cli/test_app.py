"""The command line as a whole: what is listed, what plugins add, and how faults come out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from router_core.cli.app import COMMANDS

from .conftest import Invoke
from .daemon import router

NAMES = ["run", "check", "test", "send", "explain", "status", "dead-letters", "erase", "erasures", "allow-again",
         "plugins", "describe", "schema"]  # fmt: skip


def test_the_help_lists_every_command_and_those_of_plugins(invoke: Invoke) -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    assert len(NAMES) == len(COMMANDS)
    for name in [*NAMES, "partner", "lame"]:
        assert f" {name} " in result.stdout
    assert "Tools for the partner." in result.stdout


@pytest.mark.parametrize("name", [*NAMES, "dead-letters list", "dead-letters show", "dead-letters replay",
                                  "dead-letters drop"])  # fmt: skip
def test_every_command_has_help(invoke: Invoke, name: str) -> None:
    result = invoke(*name.split(), "-h")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_the_version_is_shown(invoke: Invoke) -> None:
    assert invoke("--version").stdout.startswith("router-core ")


def test_a_plugins_command_runs_below_its_name(invoke: Invoke) -> None:
    result = invoke("partner", "hello", "--name", "Ada")
    assert (result.exit_code, result.stdout) == (0, "hello Ada\n")


def test_a_plugins_command_that_does_not_load_says_so_only_when_it_is_used(invoke: Invoke) -> None:
    assert "lame" not in invoke("plugins").stderr
    result = invoke("lame", "hello")
    assert result.exit_code == 1
    assert "error: the command 'lame' of router-partner 1.2 does not load: SystemExit: its module" in result.stderr
    assert "Mend or uninstall it." in result.stderr


def test_a_plugin_cannot_replace_a_command_of_core(invoke: Invoke) -> None:
    result = invoke("check", "-h")
    assert "Check a configuration" in result.stdout


def test_an_unknown_command_names_the_nearest_and_the_plugins_that_do_not_load(invoke: Invoke) -> None:
    result = invoke("plugin")
    assert result.exit_code == 2
    assert "Did you mean 'plugins'" in result.stderr
    assert "warning: the plugin 'broken' of router-broken 0.1 does not load: ImportError" in result.stderr
    assert "\x1b" not in result.stderr


def test_an_unusable_configuration_ends_with_2_and_all_problems(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("listen: {port: many}\nadmin: {prt: 3}\n")
    for command in (["check"], ["status"], ["run"], ["dead-letters", "list"], ["explain", "-"], ["send", "-"]):
        done = router(*command, "-c", path)
        assert done.returncode == 2, command
        assert "listen.port" in done.stderr
        assert "admin.prt" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["check"], ["explain", "-"], ["status"], ["dead-letters", "list"]])
def test_a_configuration_that_is_missing_ends_with_2(command: list[str], tmp_path: Path) -> None:
    done = router(*command, "-c", tmp_path / "none.yaml")
    assert done.returncode == 2
    assert "there is no such file" in done.stderr


def test_the_installed_command_starts_fast_and_knows_the_plugins_commands() -> None:
    done = router("clevertap", "--help")
    assert done.returncode == 0
    assert "sandbox" in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"), [("router dead", "dead-letters"), ("router clevertap s", "sandbox"), ("router lame x", "")]
)
def test_a_shell_can_complete(words: str, expected: str) -> None:
    done = router(env={"_ROUTER_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))})
    assert done.stdout.split() == expected.split()
    assert done.stderr == ""


def test_a_reader_that_goes_away_causes_no_traceback() -> None:
    import subprocess

    script = f"{Path(sys.executable).parent / 'router'} schema | head -1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=False, timeout=60)
    assert done.stdout.startswith(b"{")
    assert b"Traceback" not in done.stderr


def test_output_for_a_terminal_that_knows_ascii_only() -> None:
    done = router("describe", "clevertap", env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "account_id" in done.stdout


@pytest.mark.parametrize(
    ("words", "status", "error"),
    [
        (("dead-letters", "show", "1"), 1, "no dead letter has the number 1."),
        (("send", "/no/such.json"), 2, "cannot read /no/such.json"),
    ],
)
def test_with_json_an_error_stands_on_standard_output_too(
    invoke: Invoke, config: Path, words: tuple[str, ...], status: int, error: str
) -> None:
    arguments = (*words, "-c", config, *(("--input", "shop") if words[0] == "send" else ()))
    result = invoke(*arguments, "--json")
    assert result.exit_code == status
    assert error in json.loads(result.stdout)["error"]
    assert error in result.stderr
    assert not invoke(*arguments).stdout


def test_with_json_a_wrong_configuration_is_an_error_on_standard_output_too(invoke: Invoke, config: Path) -> None:
    config.write_text("inputs: 5\n")
    result = invoke("status", "-c", config, "--json")
    assert result.exit_code == 2
    assert "must be a mapping" in json.loads(result.stdout)["error"]
