"""`router describe`: facts and settings of a component, for people, machines and READMEs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from router_core.cli.description import settings_of

from .conftest import Invoke
from .daemon import router
from .partner import SECRET, Account


@pytest.fixture
def about(invoke: Invoke) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(invoke("describe", "partner", "--json").stdout)
    assert len(found) == 1
    return found[0]


def test_what_a_destination_takes_is_told(about: dict[str, Any]) -> None:
    assert about["accepts"]["platforms"] == ["data_feeds", "ios", "web"]
    assert about["accepts"]["event_types"] == ["session_start", "session_end", "custom_event"]
    assert about["kit"] == {"module_id": 7, "event_types": ["opt_out"]}
    assert about["accepts"]["user_identities"] == ["customer_id", "email"]
    assert about["limits"] == {
        "records": 2, "calls_in_flight": 3, "timeout_seconds": 30.0, "depend_on_settings": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("account_id", {"type": "text", "required": True, "default": None, "example": "A-1"}),
        ("passcode", {"type": "text", "required": True, "secret": True, "example": "${env:PASSCODE}"}),
        ("token", {"secret": True, "default": "***", "example": None}),
        ("region", {"type": "eu, us", "default": "eu"}),
        ("wait", {"type": "duration", "default": "90s"}),
        ("room", {"type": "size, at least 1", "default": 1024}),
        ("calls", {"type": "whole number, 1 to 15", "default": 3}),
        ("tags", {"type": "list of text", "default": []}),
        ("proxy", {"type": "settings", "default": None}),
        ("proxy.host", {"type": "text", "required": True}),
        ("proxy.password", {"secret": True, "default": "***"}),
    ],
)
def test_each_setting_has_a_row(name: str, expected: dict[str, Any]) -> None:
    row = next(row for row in settings_of(Account) if row["name"] == name)
    assert {key: row[key] for key in expected} == expected


def test_the_platforms_of_a_setting_are_told(about: dict[str, Any]) -> None:
    assert about["settings"]["connection"][0]["platforms"] == ["web"]


@pytest.mark.parametrize("how", [[], ["--json"], ["--markdown"]])
def test_no_secret_is_shown(invoke: Invoke, how: list[str]) -> None:
    result = invoke("describe", "partner", *how)
    assert result.exit_code == 0
    assert SECRET not in result.output


def test_people_get_facts_and_tables(invoke: Invoke) -> None:
    text = invoke("describe", "partner").stdout
    for line in (
        "Partner: destination `partner`, beta",
        "From router-partner 1.2, plugin contract 1.",
        "Only by its kit:     opt_out (module id 7)",
        "Limits:              2 records a call, 3 calls at once, 30 s a call (by its settings)",
        "Device identities:   all",
        "Settings of an output",
        "Settings of a connection",
    ):
        assert line in text.splitlines()
    assert "Send what pages report. Only for web." in text


@pytest.mark.parametrize("name", ["file", "pages", "tagger", "events_api", "console"])
def test_every_kind_can_be_described(invoke: Invoke, name: str) -> None:
    for how in ([], ["--json"], ["--markdown"]):
        assert invoke("describe", name, *how).exit_code == 0


def test_a_name_of_two_kinds_gives_both_or_the_one_asked_for(invoke: Invoke) -> None:
    kinds = [about["kind"] for about in json.loads(invoke("describe", "file", "--json").stdout)]
    assert kinds == ["source", "destination"]
    one = json.loads(invoke("describe", "file", "--kind", "source", "--json").stdout)
    assert [about["kind"] for about in one] == ["source"]


def test_markdown_is_a_table_of_settings(invoke: Invoke) -> None:
    text = invoke("describe", "partner", "--markdown").stdout
    assert "## Settings of an output" in text
    assert "| `account_id` | required | text | The account \\| its id. Example: `A-1`. |" in text
    assert "| `proxy` | empty | settings | A proxy. |" in text
    assert "| `passcode` | required | text | The passcode. A secret. Example: `${env:PASSCODE}`. |" in text
    assert "| `forward_web_requests_server_side` | `true` | true or false |" in text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["partnr"], "no component is named 'partnr'. Did you mean 'partner'?"),
        (["zzz", "--kind", "transform"], "no transform is named 'zzz'. Known: python, tagger, twin."),
        (["file", "--kind", "transform"], "no transform is named 'file'."),
        (["file", "--kind", "sauce"], "'sauce' is not one of"),
        (["file", "--json", "--markdown"], "choose one of --json and --markdown"),
        ([], "Missing argument"),
    ],
)
def test_wrong_usage_is_told(invoke: Invoke, arguments: list[str], text: str) -> None:
    result = invoke("describe", *arguments)
    assert result.exit_code == 2
    assert text in result.stderr


def test_a_component_that_cannot_be_used_is_described_with_a_warning(invoke: Invoke) -> None:
    result = invoke("describe", "tomorrow")
    assert result.exit_code == 0
    assert "warning: destination 'tomorrow' of router-future 9 is made for plugin contract 99" in result.stderr


def test_the_installed_command_describes_the_installed_plugin() -> None:
    done = router("describe", "clevertap", "--markdown")
    assert done.returncode == 0
    assert "| `passcode` | required | text |" in done.stdout
    assert "| Only by its kit | " in done.stdout
