"""`router plugins`."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from router_core.cli import printing

from .conftest import Invoke
from .daemon import router


def test_the_table_has_what_each_plugin_brings(invoke: Invoke) -> None:
    result = invoke("plugins")
    assert result.exit_code == 0
    line = next(line for line in result.stdout.splitlines() if line.startswith(" partner "))
    for text in ("1.2", "router-partner", "source pages, transform tagger, destination partner", "beta"):
        assert text in line


@pytest.mark.parametrize(
    "text",
    [
        "broken: ImportError: no \\x1b[31mred",
        "future: destination 'tomorrow' of router-future 9 is made for plugin contract 99",
        "again: two plugins bring a transform named 'twin': router-double 2 and router-again 2",
    ],
)
def test_what_cannot_be_used_is_listed_with_its_reason(invoke: Invoke, text: str) -> None:
    result = invoke("plugins")
    assert result.exit_code == 0
    assert text in result.stdout
    assert "\x1b" not in result.stdout


def test_broken_ones_are_red_on_a_terminal(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def colored(stream: object = None) -> Console:
        import sys

        return Console(file=sys.stdout, force_terminal=True, width=200, markup=False, highlight=False)

    monkeypatch.setattr(printing, "console", colored)
    lines = invoke("plugins").stdout.splitlines()
    assert any("\x1b[31m" in line and "router-broken" in line for line in lines)
    assert not any("\x1b[31m" in line and "router-core" in line for line in lines)


def test_json_has_every_component(invoke: Invoke) -> None:
    found = {plugin["name"]: plugin for plugin in json.loads(invoke("plugins", "--json").stdout)}
    assert found["broken"]["error"] == "ImportError: no \x1b[31mred"
    assert found["partner"]["components"][2] == {
        "kind": "destination",
        "name": "partner",
        "title": "Partner",
        "summary": "A partner for tests.",
        "contract": 1,
        "stability": "beta",
        "error": None,
    }
    assert "contract 99" in found["future"]["components"][0]["error"]


def test_an_unknown_option_is_wrong_usage() -> None:
    done = router("plugins", "--jsn")
    assert done.returncode == 2
    assert "--json" in done.stderr
