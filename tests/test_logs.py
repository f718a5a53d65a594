"""Log lines: on standard error, for machines or people, and never with a value of a local variable."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog

from router_core.logs import configure_logs, logger


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def fail() -> None:
    passcode = "hidden-" + "value"
    raise ValueError(f"{len(passcode)} letters")


@pytest.mark.parametrize("log_format", ["json", "pretty", "auto"])
def test_an_error_line_shows_where_and_no_value_of_a_local(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(log_format, "info")
    try:
        fail()
    except ValueError:
        logger(part="test").exception("it_failed")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "it_failed" in shown.err
    assert "12 letters" in shown.err
    assert "fail" in shown.err
    assert "hidden-value" not in shown.err


def test_json_is_one_object_a_line_with_level_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "info")
    log = logger(part="test")
    log.info("first", number=1, text="é\nü")
    log.warning("second")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first.pop("timestamp").endswith("Z")
    assert first == {"part": "test", "number": 1, "text": "é\nü", "event": "first", "level": "info"}
    assert (second["event"], second["level"]) == ("second", "warning")


def test_auto_is_json_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("auto", "info")
    logger().info("line")
    assert json.loads(capsys.readouterr().err)["event"] == "line"


def test_pretty_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("pretty", "info")
    logger(part="test").info("line", number=1)
    shown = capsys.readouterr().err
    assert "line" in shown
    assert "number=1" in shown
    assert not shown.startswith("{")


@pytest.mark.parametrize(("level", "shown"), [("debug", 4), ("info", 3), ("WARNING", 2), ("error", 1)])
def test_lines_below_the_level_are_left_out(level: str, shown: int, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", level)
    log = logger()
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("line")
    assert len(capsys.readouterr().err.splitlines()) == shown
