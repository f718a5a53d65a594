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

LOOK = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT count(*) FROM batches').fetchone()"


@pytest.mark.parametrize("onlooker", ["command line", "another program"])
def test_a_reader_from_outside_takes_nothing_from_a_router_that_is_killed_later(
    new_daemon: Callable[..., Daemon], onlooker: str
) -> None:
    daemon = new_daemon(to_clevertap(f"http://127.0.0.1:{free_port()}")).start()
    daemon.send(batch("First"))
    time.sleep(2.5)  # both workers have looked at what waits, more than once
    if onlooker == "command line":
        subprocess.run(
            [str(Path(sys.executable).with_name("router")), "dead-letters", "list", "-c", str(daemon.file)],
            check=True,
            capture_output=True,
        )
    else:
        for path in (daemon.data / "log").glob("*.db"):
            subprocess.run([sys.executable, "-c", LOOK, str(path)], check=True)
    for number in range(5):
        daemon.send(batch(f"Later {number}"))
    daemon.kill_all()
    assert daemon.kept() == 6
