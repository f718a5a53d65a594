"""`router dead-letters`, beside a running router and without one."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from router_core.cli import dead_letters
from router_core.log.embedded import EmbeddedLog
from router_core.log.port import DeadLetter, NewBatch, StoredBatch

from .conftest import Invoke
from .daemon import Daemon, router, until

ODD = {"event_type": "custom_event", "data": {"event_name": "VALUE-IN-IT", "location": 3}}


Run = Callable[..., Result]
Listed = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def run(invoke: Invoke, daemon: Daemon) -> Run:
    """A command on the running router's letters, in this process."""

    def run(*arguments: str | int, **options: Any) -> Result:
        return invoke("dead-letters", *map(str, arguments), "-c", daemon.config, **options)

    return run


@pytest.fixture
def letters(run: Run, invoke: Invoke, daemon: Daemon) -> Iterator[Listed]:
    """Three dead letters; gives their list."""

    def listed() -> list[dict[str, Any]]:
        result = run("list", "--json")
        assert result.exit_code == 0, result.stderr
        found: list[dict[str, Any]] = json.loads(result.stdout)
        return found

    body = json.dumps({"user_identities": {"email": "a@example.com"}, "events": [ODD]})
    assert invoke("send", "-", "-c", daemon.config, "--repeat", "3", input=body).exit_code == 0
    until(lambda: len(listed()) == 3)
    yield listed
    run("drop", "--all", "--yes")


def test_the_list_has_codes_and_no_values(run: Run, letters: Listed) -> None:
    result = run("list")
    assert result.exit_code == 0
    assert result.stdout.count("malformed_event") == 3
    assert "VALUE-IN-IT" not in result.stdout
    assert "VALUE-IN-IT" not in json.dumps(letters())
    assert letters()[0]["connection"] == "to_file"


def test_the_list_can_be_paged(run: Run, letters: Listed) -> None:
    numbers = [letter["number"] for letter in letters()]
    assert f"There may be more: add --after {numbers[1]}." in run("list", "--limit", 2).stdout
    rest = json.loads(run("list", "--after", numbers[1], "--json").stdout)
    assert [letter["number"] for letter in rest] == numbers[2:]


def test_show_has_the_reason_and_the_event(run: Run, letters: Listed) -> None:
    number = letters()[0]["number"]
    result = run("show", number)
    assert result.exit_code == 0
    for text in ("rejected: malformed_event: Expected", "VALUE-IN-IT", "a@example.com", "after 1 try"):
        assert text in result.stdout
    shown = json.loads(run("show", number, "--json").stdout)
    assert shown["event"] == ODD
    assert shown["batch"] == {"user_identities": {"email": "a@example.com"}}
    assert shown["input"] == "shop"


def test_replay_asks_the_running_router_to_deliver_again(daemon: Daemon, letters: Listed) -> None:
    number = letters()[0]["number"]
    done = router("dead-letters", "replay", str(number), "-c", daemon.config)
    assert done.stdout == "1 dead letter replaying. The router delivers it again within seconds when it runs.\n"
    until(lambda: any(one["number"] == number and one["attempts"] == 2 for one in letters()))


def test_drop_deletes_the_named_or_all(run: Run, letters: Listed) -> None:
    first, *others = [letter["number"] for letter in letters()]
    assert run("drop", first).stdout == "1 dead letter dropped.\n"
    assert [letter["number"] for letter in letters()] == others
    result = run("drop", "--all", "--connection", "to_file", "--yes", "--json")
    assert json.loads(result.stdout) == {"dropped": 2}
    assert letters() == []


@pytest.mark.parametrize("command", ["replay", "drop"])
def test_a_number_that_is_not_there_changes_nothing(run: Run, letters: Listed, command: str) -> None:
    number = letters()[0]["number"]
    result = run(command, number, 999999)
    assert result.exit_code == 1
    assert "error: no dead letter has the number 999999. Nothing was done." in result.stderr
    assert next((one["number"], one["replaying"]) for one in letters()) == (number, False)


@pytest.mark.parametrize("command", ["replay", "drop"])
def test_all_needs_a_yes_where_nobody_can_be_asked(run: Run, letters: Listed, command: str) -> None:
    result = run(command, "--all")
    assert result.exit_code == 2
    assert "add --yes" in result.stderr
    assert len(letters()) == 3


@pytest.mark.parametrize(("answer", "left"), [("n\n", 3), ("y\n", 0)])
def test_all_asks_on_a_terminal(
    run: Run, letters: Listed, monkeypatch: pytest.MonkeyPatch, answer: str, left: int
) -> None:
    monkeypatch.setattr(dead_letters, "_can_ask", lambda: True)
    result = run("drop", "--all", input=answer)
    assert result.exit_code == (1 if left else 0)
    assert "Drop for good 3 dead letters?" in result.stderr
    assert len(letters()) == left


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["replay"], 2, "name dead letters by number, or all of them by --all"),
        (["drop", "1", "--all"], 2, "name dead letters by number, or all of them by --all"),
        (["drop", "0"], 2, "NUMBER"),
        (["drop", "one"], 2, "NUMBER"),
        (["show", "999999"], 1, "no dead letter has the number 999999."),
        (["show"], 2, "Missing argument"),
        (["list", "--limit", "0"], 2, "--limit"),
        (["list", "--connection", "to_fil"], 2, "no connection is named 'to_fil'. Did you mean 'to_file'?"),
        (["drop", "--all", "--yes", "--connection", "x"], 2, "no connection is named 'x'. Known: to_file."),
        (["lst"], 2, "No such command 'lst'"),
    ],
)
def test_wrong_usage_is_told(run: Run, arguments: list[str], status: int, text: str) -> None:
    result = run(*arguments)
    assert result.exit_code == status
    assert text in result.stderr


def test_without_a_data_folder_there_is_nothing_and_none_is_made(invoke: Invoke, config: Path) -> None:
    for arguments in (["list"], ["replay", "--all"], ["drop", "--all"]):
        result = invoke("dead-letters", *arguments, "-c", config)
        assert result.exit_code == 0
        assert "note: no router has run with the data folder" in result.stderr
    result = invoke("dead-letters", "show", "1", "-c", config)
    assert result.exit_code == 1
    assert not (config.parent / "data").exists()


def test_a_log_in_memory_cannot_be_seen(invoke: Invoke, config: Path) -> None:
    config.write_text(config.read_text().replace("log: {path: data}", "log: {engine: memory}"))
    result = invoke("dead-letters", "list", "-c", config)
    assert result.exit_code == 1
    assert "error: log.engine is memory" in result.stderr


def test_looking_changes_no_cursor_even_if_the_configuration_has_changed(invoke: Invoke, config: Path) -> None:
    """A connection that now has another input loses what it holds at the next start, and not by a look at it."""

    async def write() -> None:
        log = EmbeddedLog(folder)
        await log.open(["shop"], {"shop_to_file": "web"})
        await log.append([NewBatch("web", 7, 1, b"{}")])
        await log.close()

    folder = config.parent / "data"
    asyncio.run(write())
    (folder / "lock").touch()
    before = _cursors(folder)
    assert invoke("dead-letters", "list", "-c", config).exit_code == 0
    assert invoke("status", "-c", config).exit_code == 1
    assert _cursors(folder) == before


def _cursors(folder: Path) -> list[Any]:
    with sqlite3.connect(folder / "cursors.db") as connection:
        found = connection.execute("SELECT * FROM cursors ORDER BY 1, 2").fetchall()
        found += connection.execute("SELECT * FROM connections").fetchall()
    connection.close()
    return found


@pytest.mark.parametrize(
    ("record", "body", "event", "rest"),
    [
        ("1.0", b'{"mpid":1,"events":[{"event_type":"x"}]}', {"event_type": "x"}, {"mpid": 1}),
        ("1.p", b'{"mpid":1,"events":[{"event_type":"x"}]}', None, {"mpid": 1}),
        ("1.b", b'{"mpid":1,"events":3}', None, {"mpid": 1, "events": 3}),
        ("1.7", b'{"mpid":1,"events":[]}', None, {"mpid": 1, "events": []}),
        ("1.0", b"oops \x1b[31m", None, "oops \x1b[31m"),
        ("1.0", b"[1]", None, [1]),
        ("made_by_a_transform", b"{}", None, {}),
    ],
)
def test_the_event_of_a_record_is_found(record: str, body: bytes, event: Any, rest: Any) -> None:
    letter = DeadLetter(
        connection="c", seq=1, record_id=record, event_type="x", user=1, disposition="rejected", code="x", message="",
        attempts=1, received_at_ms=0, parked_at_ms=0,
    )  # fmt: skip
    assert dead_letters._parts(letter, body) == (event, rest)
    dead_letters._print_one(1, letter, StoredBatch(1, "i", 1, 1, 1, 0, b"", body), as_json=False)
