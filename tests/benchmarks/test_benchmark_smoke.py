"""The benchmark runs, and its counts are exact. No figure is asserted here: a busy machine must not fail a build."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def figures(tmp_path: Path) -> dict[str, Any]:
    """One tiny run at a low rate."""
    file = tmp_path / "figures.json"
    options = ["--only", "3", "--rate", "200", "--seconds", "2", "--warmup", "0.2", "--connections", "4"]
    script = Path(__file__).with_name("run.py")
    done = subprocess.run(
        [sys.executable, str(script), *options, "--folder", str(tmp_path), "--json", str(file)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(file.read_bytes())
    return found


def test_a_tiny_run_delivers_exactly_what_was_accepted(figures: dict[str, Any]) -> None:
    [result] = figures["results"]
    assert figures["trouble"] is None
    assert (result["requests"], result["events"]) == (400, 1200)
    assert result["ack"]["count"] == 400
    assert result["memory"].keys() >= {"supervisor", "ingest", "deliver", "sandbox"}
