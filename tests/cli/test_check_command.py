"""`router check`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Invoke
from .partner import SECRET


def test_a_usable_configuration_ends_with_0_and_its_findings(invoke: Invoke, config: Path) -> None:
    result = invoke("check", "-c", config)
    assert result.exit_code == 0
    assert result.stdout.endswith("router.yaml: usable; 2 inputs, 3 connections.\n")
    assert "note: " in result.stderr
    assert SECRET not in result.output


def test_all_problems_are_told_at_once(invoke: Invoke, config: Path) -> None:
    config.write_text(config.read_text().replace("input: web", "input: wbe").replace("port: 1}", "port: x}"))
    result = invoke("check", "-c", config)
    assert result.exit_code == 2
    assert result.stderr.count("error: ") == 3
    as_json = json.loads(invoke("check", "-c", config, "--json").stdout)
    assert (as_json["usable"], len(as_json["problems"])) == (False, 3)


def test_the_partners_are_asked_on_demand(invoke: Invoke, config: Path) -> None:
    result = invoke("check", "-c", config, "--connect")
    assert result.exit_code == 1
    assert "connection shop_to_partner: the partner is closed" in result.stdout
    assert "connection shop_to_file: ok\n" in result.stdout  # nothing remote was asked
    assert result.stdout.endswith("router.yaml: not ready: 2 of 3 connections fail.\n")
    as_json = json.loads(invoke("check", "-c", config, "--connect", "--json").stdout)
    assert as_json["partners"]["shop_to_partner"] == "the partner is closed"
    assert (as_json["usable"], as_json["ready"]) == (True, False)
    assert json.loads(invoke("check", "-c", config, "--json").stdout)["ready"] is None


def test_a_partner_that_was_asked_and_answers_is_told_apart(
    invoke: Invoke, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from router_core.components import HttpAnswer
    from router_core.transport import HttpxTransport

    from . import partner

    async def answer(self: object, *arguments: object, **named: object) -> HttpAnswer:
        return HttpAnswer(200, {}, b"")

    async def ask(self: partner.PartnerDestination) -> None:
        await self._context.http.request("GET", "https://partner.example/")

    monkeypatch.setattr(HttpxTransport, "request", answer)
    monkeypatch.setattr(partner.PartnerDestination, "check", ask)
    result = invoke("check", "-c", config, "--connect")
    assert result.exit_code == 0
    assert "connection shop_to_partner: the partner answers, and the credentials are good\n" in result.stdout
    assert result.stdout.endswith("router.yaml: usable; 2 inputs, 3 connections.\n")


def test_a_destination_that_cannot_be_made_is_the_plugins_fault(
    invoke: Invoke, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from . import partner

    def fail(self: object, context: object) -> None:
        raise ValueError("no such thing")

    monkeypatch.setattr(partner.PartnerDestination, "__init__", fail)
    result = invoke("check", "-c", config, "--connect")
    assert result.exit_code == 1
    assert "connection shop_to_partner: the plugin failed: ValueError: no such thing" in result.stdout
