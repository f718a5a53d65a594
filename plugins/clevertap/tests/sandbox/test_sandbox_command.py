"""The command line, as a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import typer
from router_clevertap.sandbox import SandboxServer, command
from typer.testing import CliRunner

EVENT = {"type": "event", "identity": "u1", "evtName": "Seen", "evtData": {}}
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}


@contextmanager
def process(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running command and its first line."""
    started = subprocess.Popen(
        [sys.executable, "-m", "router_clevertap.sandbox", "--port=0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    try:
        assert started.stdout is not None
        yield started, started.stdout.readline()
    finally:
        started.kill()
        started.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_tells_url_and_credentials_and_ends_well_on_a_signal(number: signal.Signals) -> None:
    with process() as (running, line):
        assert line.startswith("CleverTap sandbox on http://127.0.0.1:")
        assert "DEMO-ACCOUNT" in line
        assert "demo-passcode" in line
        url = line.split()[3]
        with httpx.Client() as client:
            assert client.get(f"{url}/sandbox/stats").json()["calls"] == 0
            running.send_signal(number)
            assert running.wait(10) == 0
        output, errors = running.communicate()
    assert (output, errors) == ("", "")


def test_given_passcodes_are_not_printed() -> None:
    with process("--account=A:s3cret:x", "--account=B:hidden") as (_, line):
        assert "A" in line
        assert "s3cret" not in line
        assert "hidden" not in line


def test_options_reach_the_sandbox(tmp_path: Path) -> None:
    path = tmp_path / "records.ndjson"
    fault = json.dumps({"status": 503, "times": 1})
    with process(f"--record={path}", f"--fault={fault}", "--discard=Old", "--account=A:b:c") as (_, line):
        url = line.split()[3]
        headers = {"x-clevertap-account-id": "A", "x-clevertap-passcode": "b:c"}
        answers = [
            httpx.post(f"{url}/1/upload", headers=headers, json={"d": [EVENT, EVENT | {"evtName": "old"}]})
            for _ in range(2)
        ]
    assert [answer.status_code for answer in answers] == [503, 200]
    assert [entry["code"] for entry in answers[1].json()["unprocessed"]] == [528]
    assert [json.loads(line)["record"] for line in path.read_text().splitlines()] == [EVENT]


def test_a_port_in_use_is_one_sentence_and_code_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = CliRunner().invoke(command.app, ["--port", str(taken.getsockname()[1])])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "Address already in use" in result.stderr


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--account", "nocolon"], 2, "ID:PASSCODE"),
        (["--fault", "{}"], 2, "a fault needs one of"),
        (["--fault", "{"], 2, "Invalid JSON"),
        (["--fast", "--record", "x"], 1, "Fast mode keeps no records"),
        (["--record", "/nowhere/x"], 1, "Cannot write /nowhere/x"),
        (["--concurrency", "0"], 2, "concurrency"),
    ],
)
def test_mistakes_on_the_command_line_are_told_without_a_traceback(options: list[str], code: int, told: str) -> None:
    result = CliRunner().invoke(command.app, ["--port", "0", *options], env={"COLUMNS": "200"})
    assert result.exit_code == code
    assert told in result.stderr
    assert "Traceback" not in result.output


def test_the_command_can_be_mounted_as_router_clevertap_sandbox() -> None:
    router, clevertap = typer.Typer(), typer.Typer()
    clevertap.add_typer(command.app)
    router.add_typer(clevertap, name="clevertap")
    result = CliRunner().invoke(router, ["clevertap", "sandbox", "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "stand-in for CleverTap" in result.output


def test_a_server_in_a_process_of_its_own_is_used_alike() -> None:
    with SandboxServer(process=True, accounts={"A": "b"}, concurrency=2) as sandbox:
        assert sandbox.pid != os.getpid()
        assert sandbox.upload(EVENT).json()["processed"] == 1
        assert sandbox.wait_for(1)["accounts"]["A"]["accepted"] == 1
