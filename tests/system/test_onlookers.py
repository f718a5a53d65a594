"""Somebody looks into the log's files while the router writes them, and then it is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .configurations import to_clevertap
from .daemon import Daemon, batch, free_port


@pytest.mark.parametrize("onlooker", ["dead letters", "status", "another program"])
def test_a_reader_from_outside_takes_nothing_from_a_router_that_is_killed_later(
    new_daemon: Callable[..., Daemon], onlooker: str
) -> None:
    daemon = new_daemon(to_clevertap(f"http://127.0.0.1:{free_port()}")).start()
    daemon.send(batch("First"))
    time.sleep(2.5)  # both workers have looked at what waits, more than once
    if onlooker == "another program":
        for path in (daemon.data / "log").glob("*.log"):
            assert b"First" in path.read_bytes()
    else:
        command = {"dead letters": ["dead-letters", "list"], "status": ["status"]}[onlooker]
        done = subprocess.run(
            [str(Path(sys.executable).with_name("router")), *command, "-c", str(daemon.file)],
            check=False,
            capture_output=True,
        )
        assert b"Traceback" not in done.stderr
    for number in range(5):
        daemon.send(batch(f"Later {number}"))
    daemon.kill_all()
    assert daemon.kept() == 6
