"""The router under test: the installed command in a process group of its own, with a configuration made for the run."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import orjson
from prometheus_client.parser import text_string_to_metric_families

KEY = "bench"
SECRET = "bench-secret"
_READY_WITHIN = 120.0
_GONE_WITHIN = 30.0


class Trouble(Exception):
    """The run cannot go on, or its figures cannot be trusted."""


def write_configuration(folder: Path, output: Mapping[str, Any], log: Mapping[str, Any]) -> Path:
    """One input, one output, one connection. JSON is YAML."""
    path = folder / "router.yaml"
    configuration = {
        "listen": {"port": 0},
        "admin": {"port": 0},
        "log": {"path": "data", **log},
        "telemetry": {"log_format": "json", "log_level": "info"},
        "inputs": {"bench": {"source": "events_api", "platform": "data_feeds", "key": KEY, "secret": SECRET}},
        "outputs": {"partner": output},
        "connections": {"bench_to_partner": {"input": "bench", "output": "partner"}},
    }
    path.write_text(json.dumps(configuration, indent=2))
    return path


class Product:
    """Runs while its block lasts."""

    def __init__(self, config: Path, *, single_process: bool = False) -> None:
        self._config = config
        self._output = config.with_name("router.log")
        self._options = ["--single-process"] if single_process else []

    def __enter__(self) -> Self:
        command = Path(sys.executable).with_name("router")
        if not command.exists():
            raise Trouble(f"{command} is missing: install router-core into this environment first")
        started = time.perf_counter()
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [str(command), "run", "--config", str(self._config), *self._options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._config.parent,
                start_new_session=True,
            )
        try:
            ready = self._wait_until_ready(started + _READY_WITHIN)
            self.seconds_to_ready = time.perf_counter() - started
            self.port = int(ready["listen"].rpartition(":")[2])
            self._admin = int(ready["admin"].rpartition(":")[2])
            workers = self.status()["workers"]
        except BaseException:
            self.kill()
            raise
        self.pids = {"supervisor": self._process.pid} | {role: worker["pid"] for role, worker in workers.items()}
        return self

    def _wait_until_ready(self, deadline: float) -> dict[str, str]:
        while time.perf_counter() < deadline:
            for line in self._output.read_bytes().splitlines():
                if b'"ready"' in line:
                    found: dict[str, str] = orjson.loads(line)
                    return found
            if self._process.poll() is not None:
                break
            time.sleep(0.01)
        raise Trouble(f"the router did not start:\n{self.output()}")

    def __exit__(self, kind: object, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it as an operator would."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_GONE_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Trouble("the router did not stop") from None

    def kill(self) -> None:
        """End the whole group at once."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self._process.wait()

    def output(self) -> str:
        """The end of what it has printed."""
        return self._output.read_text(errors="replace")[-4000:]

    def status(self) -> dict[str, Any]:
        """What the admin listener says."""
        found: dict[str, Any] = orjson.loads(self._get("/status"))
        return found

    def counters(self) -> dict[str, int]:
        """The router's own counters by name, over all labels; a second old at most."""
        found: dict[str, int] = {}
        for family in text_string_to_metric_families(self._get("/metrics").decode()):
            for sample in family.samples:
                if sample.name.endswith("_total"):
                    name = sample.name.removeprefix("router_").removesuffix("_total")
                    found[name] = found.get(name, 0) + int(sample.value)
        return found

    def _get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._admin, timeout=30)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()
