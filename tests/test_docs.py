"""Documentation that lags behind the code fails here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from router_core import settings
from router_core.check import load_configuration
from router_core.plugins import load_plugins
from router_core.telemetry import METRICS

ROOT = Path(__file__).parent.parent
SECTIONS = {
    "listen.": settings.ListenSettings,
    "admin.": settings.AdminSettings,
    "log.": settings.LogSettings,
    "delivery.": settings.DeliverySettings,
    "telemetry.": settings.TelemetrySettings,
    "": settings.InputSettings,
    "data_plan.": settings.InputDataPlanSettings,
}


@pytest.mark.parametrize(("prefix", "model"), SECTIONS.items())
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
