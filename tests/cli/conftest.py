"""Fixtures: the command line in this process with plugins made for tests, and a router process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner, Result

from router_core.cli.app import build
from router_core.plugins import Plugins

from . import partner
from .daemon import Daemon

Invoke = Callable[..., Result]


@pytest.fixture(autouse=True)
def _logs_and_environment_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COLUMNS", "300")  # texts of errors stand on one line
    monkeypatch.setenv("TERMINAL_WIDTH", "300")
    yield
    structlog.reset_defaults()


@pytest.fixture
def installed() -> Plugins:
    """Core's plugins and those of `partner.py`."""
    return partner.plugins()


@pytest.fixture
def invoke(installed: Plugins) -> Invoke:
    """Run a command in this process: `invoke("check", "-c", path, input="…")`."""

    def run(*arguments: str | Path, input: str | bytes | None = None) -> Result:
        return CliRunner().invoke(build(installed), [str(argument) for argument in arguments], input=input)

    return run


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration of the partner, with two inputs."""
    path = tmp_path / "router.yaml"
    path.write_text(
        f"""\
listen: {{port: 1}}
admin: {{port: 2}}
log: {{path: data}}
inputs:
  shop: {{source: events_api, platform: data_feeds, key: demo, secret: shop-secret}}
  web: {{source: pages, platform: web, key: web-key}}
transforms:
  tags: {{transform: tagger, settings: {{path: /nowhere}}}}
outputs:
  account: {{destination: partner, settings: {{account_id: A-1, passcode: {partner.SECRET}}}}}
  failing: {{destination: partner, settings: {{account_id: A-2, passcode: {partner.SECRET}, fails: true}}}}
  archive: {{destination: file, settings: {{path: "{tmp_path}/out.ndjson"}}}}
connections:
  shop_to_partner: {{input: shop, output: account, transforms: [tags]}}
  shop_to_file: {{input: shop, output: archive}}
  web_to_partner: {{input: web, output: account, settings: {{forward_web_requests_server_side: false}}}}
  web_off: {{input: web, output: archive, enabled: false}}
"""
    )
    return path


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A running router."""
    running = Daemon(tmp_path_factory.mktemp("router"))
    try:
        running.start()
        yield running
    finally:
        running.stop()
