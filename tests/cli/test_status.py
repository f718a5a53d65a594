"""`router status`, of a running router and of one that does not run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from router_core.cli import status

from .conftest import Invoke
from .daemon import ROUTER, Daemon, free_port, router, until

GOOD = b'{"mpid":1,"events":[{"event_type":"custom_event","data":{"event_name":"A"}}]}'


def test_each_connection_has_a_line(daemon: Daemon) -> None:
    assert router("send", "-", "-c", daemon.config, "--repeat", "4", stdin=GOOD).returncode == 0

    def line() -> str:
        done = router("status", "-c", daemon.config)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("ready, up ")
        return next(line for line in done.stdout.splitlines() if line.startswith(" to_file "))

    until(lambda: line().split()[:4] == ["to_file", "ok", "0", "–"])


def test_json_is_what_the_admin_listener_says(daemon: Daemon) -> None:
    done = router("status", "-c", daemon.config, "--json")
    found = json.loads(done.stdout)
    assert (found["running"], found["ready"]) == (True, True)
    assert found["connections"][0]["name"] == "to_file"


def test_another_token_is_told(daemon: Daemon) -> None:
    done = router("status", "-c", daemon.config, env={"ADMIN_TOKEN": "other"})
    assert done.returncode == 1
    assert "has another `admin.token`" in done.stderr
    assert "other\n" not in done.stderr
    assert "admin-token" not in done.stdout + done.stderr


@pytest.mark.parametrize("how", [[], ["--json"]])
def test_watch_shows_it_anew_until_ctrl_c(daemon: Daemon, how: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # A test run in the background of a shell has its SIGINT ignored, and a child would inherit that.
    heed = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    command: list[str | Path] = [sys.executable, "-c", heed, ROUTER, "status", "-c", daemon.config, "--watch", *how]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout is not None
        marks = 0
        while marks < 2:
            marks += b"to_file" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, errors) == (0, b"")


def test_a_router_that_stopped_leaves_its_depth(tmp_path: Path) -> None:
    stopped = Daemon(tmp_path)
    stopped.config.write_text(stopped.config.read_text().replace(f"{tmp_path}/out.ndjson", "/proc/no/such/file"))
    try:
        stopped.start()
        assert router("send", "-", "-c", stopped.config, "--repeat", "3", stdin=GOOD).returncode == 0
    finally:
        stopped.stop()
    done = router("status", "-c", stopped.config)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the router does not run: nobody answers at http://127.0.0.1:")
    line = next(line for line in done.stdout.splitlines() if line.startswith(" to_file "))
    assert line.split()[:3] == ["to_file", "stopped", "3"]
    found = json.loads(router("status", "-c", stopped.config, "--json").stdout)
    assert found["running"] is False
    assert (found["connections"][0]["depth"], found["connections"][0]["state"]) == (3, "stopped")
    assert found["log"]["bytes"] > 0


def test_a_router_that_never_ran_is_a_sentence_and_makes_no_folder(invoke: Invoke, config: Path) -> None:
    config.write_text(config.read_text().replace("admin: {port: 2}", f"admin: {{port: {free_port()}}}"))
    result = invoke("status", "-c", config)
    assert result.exit_code == 1
    assert "error: the router does not run" in result.stderr
    assert "shop_to_file" in result.stdout
    assert not (config.parent / "data").exists()


def test_a_port_that_the_system_chose_cannot_be_asked(invoke: Invoke, config: Path) -> None:
    config.write_text(config.read_text().replace("admin: {port: 2}", "admin: {port: 0}"))
    result = invoke("status", "-c", config)
    assert result.exit_code == 2
    assert "`admin.port` is 0" in result.stderr


@pytest.fixture
def stranger() -> Iterator[tuple[HTTPServer, dict[str, Any]]]:
    """Some other server, with the answer that it is to give."""
    answer: dict[str, Any] = {"status": 200, "body": b"hello"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if answer["status"] == 0:
                return
            self.send_response(answer["status"])
            self.end_headers()
            self.wfile.write(answer["body"])

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server, answer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("answered", "text"),
    [
        ((200, b"hello"), "is no router: set `admin.port`"),
        ((200, b"[]"), "is no router"),
        ((404, b"{}"), "is no router"),
        ((0, b""), "no answer from"),
    ],
)
def test_something_else_at_the_port_is_told(
    invoke: Invoke, config: Path, stranger: Any, answered: tuple[int, bytes], text: str
) -> None:
    server, answer = stranger
    answer["status"], answer["body"] = answered
    config.write_text(config.read_text().replace("admin: {port: 2}", f"admin: {{port: {server.server_port}}}"))
    result = invoke("status", "-c", config)
    assert result.exit_code == 1
    assert text in result.stderr


def test_the_figures_are_readable_and_errors_harmless() -> None:
    cells = status._cells(
        {
            "name": "c", "state": "waiting", "depth": 12345, "age_seconds": 3725, "records_per_second": 1234.5,
            "skipped": 7, "held": 0, "dead_letters": 3, "last_error": "no\x1b[2J", "last_error_at": time.time() - 61,
        }
    )  # fmt: skip
    assert cells[:8] == ["c", "waiting", "12,345", "1 h 2 m", "1,234.5/s", "7", "0", "3"]
    assert cells[8].startswith("no\x1b[2J (1 m 1 s ago")


def test_the_headline_names_what_is_wrong() -> None:
    headline = status._headline(
        {
            "running": True, "ready": False, "uptime_seconds": 5, "workers": {"deliver": {"up": False}},
            "log": {"bytes": 2048, "full": True, "damaged_files": 2},
        }
    )  # fmt: skip
    assert headline == ("not ready, up 5.0 s; the deliver worker is down; log 2.0 KiB, full; 2 damaged log files")
