"""Configurations that the tests start from; each is a fresh dict to change at will."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SERVER_INPUT = {"source": "events_api", "platform": "data_feeds", "key": "key", "secret": "secret"}
PATIENCE = {"linger": "20ms", "back_off_initial": "100ms", "back_off_maximum": "400ms"}
"""Delivery settings for tests: the same ways, in shorter steps."""


def to_clevertap(url: str, *, delivery: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    """One server input to one CleverTap account; `settings` are the account's."""
    account = {"account_id": "DEMO-ACCOUNT", "passcode": "demo-passcode", "base_url": url, **settings}
    return {
        "delivery": {**PATIENCE, **(delivery or {})},
        "inputs": {"server": SERVER_INPUT},
        "outputs": {"partner": {"destination": "clevertap", "settings": account}},
        "connections": {"main": {"input": "server", "output": "partner"}},
    }


def to_file(path: Path, **source: Any) -> dict[str, Any]:
    """One server input to a file."""
    return {
        "delivery": PATIENCE,
        "inputs": {"server": {**SERVER_INPUT, **source}},
        "outputs": {"archive": {"destination": "file", "settings": {"path": str(path)}}},
        "connections": {"main": {"input": "server", "output": "archive"}},
    }


def with_archive(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """The same, with a second, healthy connection to a file, named `archive`."""
    return {
        **config,
        "outputs": {**config["outputs"], "archive": {"destination": "file", "settings": {"path": str(path)}}},
        "connections": {**config["connections"], "archive": {"input": "server", "output": "archive"}},
    }
