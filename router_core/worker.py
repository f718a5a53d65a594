"""One worker process: accepting or delivering. Started by the supervisor, and gone as soon as the supervisor is."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import uvloop

from router_core import erasurefile
from router_core.connection import ConnectionStatus
from router_core.deliverer import Deliverer
from router_core.eraser import LOOK_EVERY, Eraser
from router_core.errors import ConfigurationError, RouterError
from router_core.ingest import Ingest
from router_core.log.embedded import EmbeddedLog
from router_core.log.port import EventLog
from router_core.logs import configure_logs, logger
from router_core.reports import Report, Reporter, Role
from router_core.store import StateFile
from router_core.suppression import Suppression
from router_core.telemetry import Telemetry

if TYPE_CHECKING:
    from router_core.configuration import Configuration

REPORT_EVERY = 1.0
LOOK_AT_SETTINGS_EVERY = 3.0
CANNOT_START = 3
"""Exit status of a worker for which another try would end the same way."""


class Parts:
    """The log, the state and the halves of the router in one process, opened and closed in order."""

    def __init__(self, configuration: Configuration, role: Role, config_path: Path) -> None:
        self.configuration = configuration
        self.role = role
        self.config_path = config_path
        self.telemetry = Telemetry()
        self.log = log_for(configuration)
        self.folder = configuration.settings.log.path
        self.state = StateFile(self.folder / "state.db")
        self.suppression = Suppression(self.folder / erasurefile.FILE)
        self.eraser: Eraser | None = None
        self.ingest: Ingest | None = None
        self.deliverer: Deliverer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, sockets: list[socket.socket], report: Callable[[Report], None]) -> None:
        """Bring the halves up, delivering first, and report from then on."""
        from router_core.otel import export_telemetry

        export_telemetry(self.configuration.settings.telemetry.otlp_endpoint, self.telemetry, self.role)
        self.suppression.open()
        await self.log.open(*log_names(self.configuration))
        if self.role != "ingest":
            self.deliverer = Deliverer(self.configuration, self.log, self.state, self.telemetry, self.suppression)
            await self.deliverer.start()
            self._tasks.append(asyncio.create_task(self._watch_settings(self.deliverer)))
            self.eraser = Eraser(self.folder, self.log, self.suppression, self.deliverer, self.telemetry)
            self._tasks.append(asyncio.create_task(self.eraser.run()))
        if self.role != "deliver":
            self.ingest = Ingest(self.configuration, self.log, self.state, self.telemetry, self.suppression)
            await self.ingest.start(sockets)
        gc.collect()
        gc.freeze()  # what is there now stays for good; the collector need not look at it again
        self._tasks.append(asyncio.create_task(self._report(report)))
        if self.role == "ingest":  # else the eraser does it
            self._tasks.append(asyncio.create_task(self._watch_suppression()))

    async def _watch_suppression(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self.suppression.refresh()

    async def _report(self, send: Callable[[Report], None]) -> None:
        reporter = Reporter(self.role, self.log, self.telemetry)
        while True:
            connections: Mapping[str, ConnectionStatus] = {}
            if self.deliverer is not None:
                connections = self.deliverer.status()
            try:
                send(await reporter.report(connections))
            except Exception as error:
                logger(part=self.role).error("report_failed", error=str(error))
            await asyncio.sleep(REPORT_EVERY)

    async def _watch_settings(self, deliverer: Deliverer) -> None:
        """While a connection is paused, look whether its settings were mended: a file behind `${file:…}`, mostly."""
        from router_core.check import load_configuration

        while True:
            await asyncio.sleep(LOOK_AT_SETTINGS_EVERY)
            if not (deliverer.paused or (self.eraser is not None and self.eraser.partners.wait_for_settings)):
                continue
            try:
                await deliverer.apply(await asyncio.to_thread(load_configuration, self.config_path))
            except ConfigurationError as error:
                logger(part=self.role).warning("configuration_unusable", problems=len(error.problems))
            except Exception as error:
                logger(part=self.role).error("settings_not_applied", error=str(error))

    async def stop(self) -> None:
        """In order: accept nothing more, end the calls under way, close the log."""
        within = self.configuration.settings.delivery.stop_within.total_seconds()
        if self.eraser is not None:
            self.eraser.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.ingest is not None:
            await self.ingest.stop(within * 0.3)
        if self.deliverer is not None:
            await self.deliverer.stop(within * 0.6)
        await self.log.close()
        self.state.close()
        self.suppression.close()
        if self.eraser is not None:
            self.eraser.close()


def log_for(configuration: Configuration) -> EventLog:
    """The event log that the configuration names, not opened yet."""
    settings = configuration.settings.log
    if settings.engine == "memory":
        from router_core.log.memory import MemoryLog

        return MemoryLog(max_bytes=settings.max_bytes)
    return EmbeddedLog(
        settings.path,
        max_bytes=settings.max_bytes,
        retention=settings.retention.total_seconds(),
        deduplicate_for=settings.deduplicate_for.total_seconds(),
        segment_bytes=settings.segment_bytes,
    )


def log_names(configuration: Configuration) -> tuple[list[str], dict[str, str]]:
    """What `EventLog.open` wants to know: the inputs, and each connection's input."""
    connections = {name: connection.input.name for name, connection in configuration.connections.items()}
    return list(configuration.inputs), connections


def main() -> None:
    """Entry of a worker process; the supervisor writes the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["ingest", "deliver"])
    parser.add_argument("config", type=Path, help="the supervisor's copy, the same for all workers and restarts")
    parser.add_argument("--origin", type=Path, required=True, help="the file that it is a copy of")
    parser.add_argument("--report", type=int, required=True)
    parser.add_argument("--listen", type=int)
    arguments = parser.parse_args()
    try:
        uvloop.run(_work(arguments.role, arguments.config, arguments.origin, arguments.report, arguments.listen))
    except RouterError as error:
        print(f"router {arguments.role}: {error}", file=sys.stderr)
        sys.exit(CANNOT_START)


async def _work(role: Role, config: Path, origin: Path, report_to: int, listen: int | None) -> None:
    from router_core.check import load_configuration

    configuration = load_configuration(config, folder=origin.parent)
    telemetry = configuration.settings.telemetry
    configure_logs(telemetry.log_format, telemetry.log_level)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Ctrl-C, and service managers, reach all processes of a group at once; the supervisor says in which order.
        loop.add_signal_handler(number, lambda: None)
    loop.add_reader(0, _obey_supervisor, stop)
    sockets = [] if listen is None else [socket.socket(fileno=listen)]
    parts = Parts(configuration, role, origin)
    pipe, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(report_to, "wb", buffering=0))
    encoder = msgspec.json.Encoder()

    def report(message: Report) -> None:
        if not pipe.get_write_buffer_size():  # else the last one is still on its way
            pipe.write(encoder.encode(message) + b"\n")

    try:
        await parts.start(sockets, report)
        await stop.wait()
    finally:
        await parts.stop()
        pipe.close()


def _obey_supervisor(stop: asyncio.Event) -> None:
    """The supervisor holds the other end of standard input: a byte means stop, its end that the supervisor is dead.

    Then leaving at once is as good as being killed, which everything here is made for; it frees the folder and the
    port for the next router.
    """
    if not os.read(0, 1):
        os._exit(1)
    stop.set()
    asyncio.get_running_loop().remove_reader(0)


if __name__ == "__main__":
    main()
