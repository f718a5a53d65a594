"""Documentation that lags behind the code fails here."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
from pydantic import BaseModel

from router_core import settings
from router_core.check import load_configuration
from router_core.cli.description import settings_of
from router_core.filters import Filters
from router_core.plugins import load_plugins
from router_core.rules import ForwardingRules
from router_core.telemetry import METRICS

ROOT = Path(__file__).parent.parent
SECTIONS = {
    "listen.": settings.ListenSettings,
    "admin.": settings.AdminSettings,
    "log.": settings.LogSettings,
    "delivery.": settings.DeliverySettings,
    "telemetry.": settings.TelemetrySettings,
    "data_plan.": settings.InputDataPlanSettings,
}
ENTRIES = (settings.InputSettings, settings.TransformSettings, settings.OutputSettings, settings.ConnectionEntry)


@pytest.mark.parametrize(("prefix", "model"), [*SECTIONS.items(), *(("", entry) for entry in ENTRIES)])
def test_every_setting_of_core_is_documented(prefix: str, model: type[BaseModel]) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    missing = [name for name in model.model_fields if f"`{prefix}{name}`" not in text]
    assert not missing


CONFIGURATIONS = [
    path for path in sorted((ROOT / "config").rglob("*.yaml")) if not path.name.endswith((".tests.yaml", "plan.yaml"))
]


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_configuration_in_the_repository_is_usable_as_it_is(path: Path) -> None:
    environ = {"SHOP_SECRET": "s", "CLEVERTAP_FEED_SECRET": "f", "CLEVERTAP_ACCOUNT_ID": "a", "CLEVERTAP_PASSCODE": "p"}
    configuration = load_configuration(path, plugins=load_plugins(), environ=environ)
    assert configuration.connections


def test_every_command_stands_in_the_readme() -> None:
    from router_core.cli.app import build

    readme = (ROOT / "README.md").read_text()
    commands = [
        command.name or command.callback.__name__ for command in build().registered_commands if command.callback
    ]
    groups = [group.name for group in build().registered_groups]
    missing = [name for name in (*commands, *groups) if f"router {name}" not in readme]
    assert not missing


def test_the_metrics_named_in_the_operations_page_exist() -> None:
    named = set(re.findall(r"`router_(\w+)`", (ROOT / "docs" / "operations.md").read_text()))
    assert named
    assert named <= METRICS.keys()


_CODED = {
    "skipped": 1,
    "retry": 1,
    "rest": 1,
    "rejected": 1,
    "expired": 1,
    "Skip": 0,
    "CallRefused": 0,
    "_held_back": 2,
    "_skip": 0,
    "_skipped": 1,
    "NoToken": 0,
    "Breach": 0,
    "_fail": 1,
}
"""Calls that give an outcome its code, with the place of the code among their arguments."""


def codes_in(path: Path, package: Path) -> set[str]:
    """Codes that a module writes out, or names by a constant."""
    found: set[str] = set()
    module = ".".join(path.relative_to(package.parent).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in _CODED and len(node.args) > _CODED[name]:
            argument = node.args[_CODED[name]]
            if isinstance(argument, ast.Constant):
                code = argument.value
            else:
                code = getattr(import_module(module), argument.id, None) if isinstance(argument, ast.Name) else None
            if isinstance(code, str):
                found.add(code)
    return found


def test_every_code_of_an_outcome_is_documented_and_no_other() -> None:
    text = (ROOT / "docs" / "outcomes.md").read_text()
    packages = (ROOT / "router_core", ROOT / "plugins" / "clevertap" / "router_clevertap")
    codes = {
        code
        for package in packages
        for path in package.rglob("*.py")
        if not {"testing", "sandbox", "cli"} & {*path.relative_to(package).parts}
        for code in codes_in(path, package)
    }
    documented = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert sorted(documented) == sorted(codes)


def test_the_settings_named_in_the_table_of_outcomes_exist() -> None:
    text = (ROOT / "docs" / "outcomes.md").read_text()
    for section, model in (("rules", ForwardingRules), ("filters", Filters)):
        named = set(re.findall(rf"`{section}\.(\w+)`", text))
        assert named
        assert named <= model.model_fields.keys()
    assert {f"`rules.{name}`" for name in ForwardingRules.model_fields} <= set(re.findall(r"`rules\.\w+`", text))


@pytest.mark.parametrize(("section", "model"), [("rules", ForwardingRules), ("filters", Filters)])
def test_every_rule_and_filter_stands_in_the_page_on_connections(section: str, model: type[BaseModel]) -> None:
    text = (ROOT / "docs" / "connections.md").read_text()
    for row in settings_of(model):
        # Lists of filters all have the same two settings below them.
        if not re.search(r"\.(allow|block)$", row["name"]):
            assert f"| `{section}.{row['name']}` |" in text
            assert row["help"] in text


def test_the_examples_of_the_page_on_connections_are_usable(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "connections.md").read_text()
    examples = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(examples) > 2
    for number, example in enumerate(examples):
        path = tmp_path / f"{number}.yaml"
        path.write_text(example)
        environ = {"SECRET": "s", "PASSCODE": "p", "TEST_PASSCODE": "t"}
        found = load_configuration(path, plugins=load_plugins(), environ=environ)
        assert [one for one in found.findings if "log" not in one.path and "admin" not in one.path] == []
