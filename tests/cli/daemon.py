"""`router` as a user starts it: commands that end, and one that runs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import httpx

ROUTER = Path(sys.executable).parent / "router"
T = TypeVar("T")


def router(
    *arguments: str | Path, stdin: bytes = b"", env: Mapping[str, str] | None = None, within: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. The environment is bare, so that no setting of whoever runs the tests gets in."""
    done = subprocess.run(
        [ROUTER, *arguments],
        input=stdin,
        capture_output=True,
        timeout=within,
        env={"PATH": os.environ["PATH"], "COLUMNS": "400", **(env or {})},
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def until(ready: Callable[[], T | None], within: float = 20.0) -> T:
    """Poll until `ready` gives something."""
    deadline = time.monotonic() + within
    while not (found := ready()):
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)
    return found


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Daemon:
    """A running router with one input `shop` and one connection `to_file`, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "router.yaml"
        self.port, self.admin_port = free_port(), free_port()
        self.config.write_text(
            f"""\
listen: {{port: {self.port}}}
admin: {{port: {self.admin_port}, token: "${{env:ADMIN_TOKEN:-admin-token}}"}}
log: {{path: data}}
inputs:
  shop: {{source: events_api, platform: data_feeds, key: demo, secret: "${{env:SHOP_SECRET:-shop-secret}}"}}
outputs:
  archive: {{destination: file, settings: {{path: "{folder}/out.ndjson"}}}}
connections:
  to_file: {{input: shop, output: archive}}
"""
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it is ready."""
        with (self.folder / "router.log").open("ab") as log:
            self._process = subprocess.Popen(
                [ROUTER, "run", "-c", self.config], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        until(self._is_ready)

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "router.log").read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{self.admin_port}/readyz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """Stop it, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None
