"""Somebody looks into the log's files while the router writes them, and then it is killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .configurations import to_file
from .daemon import Daemon, batch

LOOK = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT count(*) FROM batches').fetchone()"


@pytest.mark.parametrize("onlooker", ["command line", "another program"])
def test_a_reader_from_outside_takes_nothing_from_a_router_that_is_killed_later(
    new_daemon: Callable[..., Daemon], tmp_path: Path, onlooker: str
) -> None:
    daemon = new_daemon(to_file(tmp_path / "archive")).start()
    daemon.send(batch("First"))
    daemon.settled()
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
