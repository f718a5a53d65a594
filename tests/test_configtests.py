"""Tests of configurations: those of `config/` hold, and a test that should fail does, saying where."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from router_core.cli.app import build
from router_core.errors import ConfigurationError
from router_core.plugins import load_plugins
from router_core.testing import ConfigTest, config_tests
from router_core.testing.configtests import tests_beside as beside
from router_core.testing.expectations import differences


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()  # a command sets up logs that write to its own streams


ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "config"
CASES = [case for path in sorted(CONFIG.rglob("*.yaml")) if beside(path).is_file() for case in config_tests(path)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_our_configurations_do_what_their_tests_say(case: ConfigTest) -> None:
    case.check()


def test_every_configuration_of_ours_has_tests() -> None:
    without = [
        path.name
        for path in CONFIG.rglob("*.yaml")
        if not path.name.endswith((".tests.yaml", "plan.yaml")) and not beside(path).is_file()
    ]
    assert not without


ROUTER = """\
inputs: {shop: {source: events_api, platform: web, key: k, secret: "${env:THE_SECRET}"}}
outputs: {screen: {destination: console}}
connections: {to_screen: {input: shop, output: screen}}
"""
GOOD = """\
environment: {THE_SECRET: s}
tests:
  - name: it goes
    batch: {events: [{event_type: screen_view, data: {screen_name: Home}}]}
    connections:
      to_screen:
        records: {1.0: selected}
        requests: [{print: {data: {screen_name: Home}, mpid: <absent>, id: <any>}}]
"""


def router(folder: Path, tests: str) -> Path:
    config = folder / "router.yaml"
    config.write_text(ROUTER)
    beside(config).write_text(tests)
    return config


def run(config: Path, *more: str) -> Result:
    return CliRunner().invoke(build(load_plugins()), ["test", "-c", str(config), *more], env={"COLUMNS": "300"})


def test_tests_that_pass_end_with_0(tmp_path: Path) -> None:
    result = run(router(tmp_path, GOOD))
    assert (result.exit_code, result.stdout) == (0, "passed  it goes\n1 test, 0 failed.\n")
    as_json = json.loads(run(router(tmp_path, GOOD), "--json").stdout)
    assert as_json == {
        "passed": 1,
        "failed": 0,
        "tests": [
            {"name": "it goes", "where": f"{tmp_path}/router.tests.yaml:3", "passed": True, "differences": []},
        ],
    }


IN_PARTS = """\
environment: {THE_SECRET: s}
tests:
  - name: each goes to its account
    batches:
      - {events: [{event_type: screen_view, data: {screen_name: Tried}}], environment: development}
      - {events: [{event_type: screen_view, data: {screen_name: Real}}]}
    connections:
      to_screen:
        records: {1.0: selected, 2.0: %s}
        requests: [%s{print: {data: {screen_name: Tried}}}]
"""


@pytest.mark.parametrize(
    ("environments", "end", "first"),
    [
        ("", "selected", "{print: {data: {screen_name: Real}}}, "),
        (", rules: {environments: [development]}", "other_environment", ""),
    ],
)
def test_a_connection_in_parts_is_named_as_written_and_judged_as_one(
    tmp_path: Path, environments: str, end: str, first: str
) -> None:
    config = router(tmp_path, IN_PARTS % (end, first))
    text = ROUTER.replace("{destination: console}", "{destination: console, development_settings: {}}")
    whole = "{input: shop, output: screen}"
    config.write_text(text.replace(whole, f"{{input: shop, output: screen{environments}}}"))
    assert run(config).stdout == "passed  each goes to its account\n1 test, 0 failed.\n"
    beside(config).write_text((IN_PARTS % (end, first)).replace("to_screen:", "to_screen.development:"))
    assert "no connection of shop is named 'to_screen.development'" in run(config).stderr


@pytest.mark.parametrize(
    ("before", "after", "difference"),
    [
        ("1.0: selected", "1.0: kit_only", "to_screen: records.1.0: expected 'kit_only', got 'selected'"),
        ("1.0: selected", "1.7: selected", "to_screen: records: there is no 1.7; there are 1.0"),
        (
            "screen_name: Home}, mpid",
            "screen_name: Hme}, mpid",
            'to_screen: requests[0].print.data.screen_name: expected "Hme", got "Home"',
        ),
        ("id: <any>", "id: <absent>", 'to_screen: requests[0].print.id: expected none, got "1.0"'),
        ("requests: [{", "requests: [<any>, {", 'to_screen: requests[1]: expected {"print":{"data":{"screen_name"'),
        ("[{print: {data: {screen_name: Home}, mpid: <absent>, id: <any>}}]", "[]",
         'to_screen: requests[0]: expected no more than 0, got {"print":'),
        ("    connections:", "    refused: no\n    connections:", "shop: expected a refusal with 'no', got none"),
        ("event_type: screen_view", "event_type: custom_event",
         'shop: refuses batch 1: Required event field "event_name" is missing or empty.'),
    ],
)  # fmt: skip
def test_a_difference_is_told_with_its_place(tmp_path: Path, before: str, after: str, difference: str) -> None:
    assert before in GOOD
    config = router(tmp_path, GOOD.replace(before, after))
    result = run(config)
    assert result.exit_code == 1
    assert f"FAILED  it goes ({tmp_path}/router.tests.yaml:3)\n        {difference}" in result.stdout
    assert result.stdout.endswith("1 test, 1 failed.\n")
    as_json = run(config, "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)["failed"]) == (1, 1)
    [case] = config_tests(config)
    with pytest.raises(AssertionError) as error:
        case.check()
    assert difference in str(error.value)


@pytest.mark.parametrize(
    ("tests", "problem"),
    [
        ("tests: []", ":1: tests: must be a list of tests."),
        ("tests: [{name: a}]", ":1: tests[0]: must have one of `batch`, `batches` and `file`."),
        ("tests: [{batch: {}}]", ":1: tests[0]: expects nothing."),
        ("tests: [{batch: {}, refused: x, input: shp}]", "no input is named 'shp'. Did you mean 'shop'?"),
        ("tests: [{batch: {}, conections: {}}]", "unknown name 'conections'. Did you mean 'connections'?"),
        ("tests: [{batch: {}, connections: {to_scren: {}}}]",
         "connections.to_scren: no connection of shop is named 'to_scren'. Did you mean 'to_screen'?"),
        ("tests: [{batch: {}, connections: {to_screen: {requets: []}}}]", "unknown name 'requets'. Did you mean"),
        ("tests: [{file: no.json, connections: {to_screen: {}}}]", "no.json: No such file or directory."),
        ("tests: [{batches: 3, refused: x}]", "tests[0].batches: must be a list of batches."),
        ("tests: [{batch: {}, refused: x}]\nenvironment: {A: 3}", ":2: environment.A: must be text."),
        ("tests: [{batch: {}, refused: x}]\nenvironment: {}", "router.yaml:1: inputs.shop.secret: "),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_tests_is_told_with_its_place(tmp_path: Path, tests: str, problem: str) -> None:
    config = router(tmp_path, tests if "environment" in tests else f"{tests}\nenvironment: {{THE_SECRET: s}}")
    result = run(config)
    assert result.exit_code == 2
    assert problem in result.stderr


def test_without_a_file_of_tests_the_command_says_so(tmp_path: Path) -> None:
    config = router(tmp_path, GOOD)
    beside(config).rename(tmp_path / "other.yaml")
    result = run(config)
    assert (result.exit_code, "router.tests.yaml: there is no such file." in result.stderr) == (2, True)
    assert run(config, str(tmp_path / "other.yaml")).exit_code == 0
    with pytest.raises(ConfigurationError):
        config_tests(config)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from("ab"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_everything_is_as_itself(value: Any) -> None:
    assert list(differences(value, value, "it")) == []


@given(JSON, JSON)
def test_two_values_without_mappings_are_alike_only_if_equal(one: Any, other: Any) -> None:
    if "{" not in json.dumps([one, other]):
        assert (not list(differences(one, other, "it"))) == (json.dumps(one) == json.dumps(other))


@given(st.dictionaries(st.sampled_from("abc"), JSON), st.sampled_from("abc"))
def test_a_part_of_a_mapping_is_enough_and_absence_is_found(whole: dict[str, Any], name: str) -> None:
    part = {key: value for key, value in whole.items() if key != name}
    assert list(differences(part, whole, "it")) == []
    assert bool(list(differences({name: "<absent>"}, whole, "it"))) == (name in whole)
    assert bool(list(differences({name: "<any>"}, whole, "it"))) == (name not in whole)
