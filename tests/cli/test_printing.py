"""Figures and texts for people."""

from __future__ import annotations

import io
import json

import pytest

from router_core.cli.printing import (
    NO_TERMINAL_WIDTH,
    bytes_text,
    console,
    counted,
    duration_text,
    harmless,
    json_text,
    time_text,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.2399, "240 ms"),
        (4.21, "4.2 s"),
        (59.97, "1 m 0 s"),
        (200, "3 m 20 s"),
        (3600, "1 h 0 m"),
        (7500, "2 h 5 m"),
        (356400, "4 d 3 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (10 * 2**30, "10.0 GiB"), (2**51, "2048.0 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert bytes_text(count) == text


def test_times_and_counts() -> None:
    assert time_text(1_700_000_000_999) == "2023-11-14 22:13:20Z"
    assert [counted(count, "retry", "retries") for count in (0, 1, 1200)] == ["0 retries", "1 retry", "1,200 retries"]


def test_nothing_steers_the_terminal() -> None:
    assert harmless("a\x1b[2J\x9bb\x7f\r\tc\nd") == "a\\x1b[2J\\x9bb\\x7f\\x0d\tc\nd"
    text = json_text({"a": "\x9b2J\x7f\x1b"})
    assert "\x9b" not in text
    assert json.loads(text) == {"a": "\x9b2J\x7f\x1b"}


def test_json_takes_what_json_does_not() -> None:
    assert json.loads(json_text({1: 2**70, "b": "\ud800", "c": {1j}}))["1"] == 2**70
    assert json_text({"a": [1]}, indent=False) == '{"a":[1]}'


def test_a_table_in_a_pipe_is_not_cut_at_80(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS")
    assert console(io.StringIO()).width == NO_TERMINAL_WIDTH
    monkeypatch.setenv("COLUMNS", "77")
    assert console(io.StringIO()).width == 77
