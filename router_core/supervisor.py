"""`router run`: a supervisor with one accepting and one delivering worker, or both in this process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from router_core import worker
from router_core.admin import admin_routes
from router_core.errors import RouterError
from router_core.folder import lock_folder
from router_core.httpserver import HttpServer
from router_core.listener import Listener, bind
from router_core.logs import logger
from router_core.reports import Overview, Report, Role
from router_core.worker import CANNOT_START, Parts

if TYPE_CHECKING:
    from router_core.configuration import Configuration

_OPEN_FILES = 65_536
_RESTART_AFTER = (0.2, 1.0, 2.0, 5.0)
_RUNS_WELL_AFTER = 30.0


class Worker:
    """One worker process, started again when it ends by itself."""

    def __init__(
        self,
        role: Role,
        config: Path,
        origin: Path,
        overview: Overview,
        lock: int,
        listen: socket.socket | None = None,
    ) -> None:
        """`config` is a copy of `origin` that stays the same while we run, so that all workers agree.

        `lock` holds the data folder; the worker gets it too, so that the folder is free only when all are gone.
        """
        self._role = role
        self._config = config
        self._origin = origin.absolute()
        self._overview = overview
        self._lock = lock
        self._listen = listen
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self.ready = asyncio.Event()
        self._logger = logger(part="supervisor", worker=role)

    async def run(self) -> None:
        """Keep the worker alive until `stop`. Raises `RouterError` if it says that it cannot start."""
        failures = 0
        while not self._stopping:
            started = time.monotonic()
            status = await self._run_once()
            if self._is_stopping():
                return
            self._overview.worker_down(self._role)
            if status == CANNOT_START and not self.ready.is_set():  # later it is a passing fault, such as a full disk
                raise RouterError(f"the {self._role} worker cannot start; its message stands above")
            failures, wait = after_death(failures, time.monotonic() - started)
            self._logger.error("worker_ended", status=status, restart_in_seconds=wait)
            await asyncio.sleep(wait)

    def _is_stopping(self) -> bool:
        return self._stopping

    async def _run_once(self) -> int:
        read_end, write_end = os.pipe()
        arguments = [
            self._role,
            str(self._config),
            "--origin",
            str(self._origin.absolute()),
            "--report",
            str(write_end),
        ]
        passed = [write_end, self._lock]
        if self._listen is not None:
            arguments += ["--listen", str(self._listen.fileno())]
            passed.append(self._listen.fileno())
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "router_core.worker", *arguments,
                stdin=asyncio.subprocess.PIPE, pass_fds=passed,
            )  # fmt: skip
        except OSError as error:  # no memory, no process: passes
            os.close(read_end)
            self._logger.error("worker_not_started", reason=error.strerror)
            return -1
        finally:
            os.close(write_end)
        async for report in _reports(read_end):
            self._overview.take(report)
            self.ready.set()
        return await self._process.wait()

    async def stop(self, within: float) -> None:
        """Ask it to end, and end it if it takes too long."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.write(b"s")
        try:
            async with asyncio.timeout(within):
                await process.wait()
        except TimeoutError:
            self._logger.error("worker_killed", reason=f"it did not stop within {within:g} seconds")
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _reports(descriptor: int) -> AsyncIterator[Report]:
    reader = asyncio.StreamReader(limit=16 * 1024 * 1024)
    loop = asyncio.get_running_loop()
    with os.fdopen(descriptor, "rb", buffering=0) as pipe:
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        decoder = msgspec.json.Decoder(Report)
        try:
            while True:
                try:
                    line = await reader.readline()
                except ValueError:  # longer than the limit, and gone
                    logger(part="supervisor").warning("report_too_long")
                    continue
                if not line:
                    return
                try:
                    yield decoder.decode(line)
                except msgspec.DecodeError as error:  # a full pipe cuts a line; anything else is a fault of ours
                    logger(part="supervisor").warning("report_unreadable", reason=str(error))
        finally:
            transport.close()


def after_death(failures: int, lived: float) -> tuple[int, float]:
    """Deaths in a row, this one counted, and the seconds to wait; one that had run well begins the row anew."""
    failures = 1 if lived > _RUNS_WELL_AFTER else failures + 1
    return failures, _RESTART_AFTER[min(failures, len(_RESTART_AFTER)) - 1]


def allow_open_files() -> None:
    """As many as the system lets this user have: each sender's connection is one, and so is each file of the log."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class Supervisor:
    """Binds the ports, holds the data folder, keeps the workers alive, and answers on the admin port."""

    def __init__(self, configuration: Configuration, config: Path) -> None:
        self._configuration = configuration
        self._config = config
        self._stop = asyncio.Event()
        self._logger = logger(part="supervisor")
        connections = configuration.connections.items()
        self._overview = Overview({name: (item.input.name, item.output.name) for name, item in connections})

    async def run(self, *, single_process: bool = False) -> None:
        """Run until SIGTERM or SIGINT. Raises `RouterError` with a sentence if it cannot."""
        settings = self._configuration.settings
        if settings.log.engine == "memory" and not single_process:
            raise RouterError("log.engine memory works in one process only: add --single-process.")
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        allow_open_files()
        with contextlib.ExitStack() as stack:
            lock = lock_folder(settings.log.path)
            stack.callback(os.close, lock)
            listening = stack.enter_context(bind(settings.listen.host, settings.listen.port, "listen.port"))
            admin_socket = stack.enter_context(bind(settings.admin.host, settings.admin.port, "admin.port"))
            token = settings.admin.token.get_secret_value() if settings.admin.token is not None else None
            admin = HttpServer(
                Listener(("admin", route) for route in admin_routes(self._overview, token, settings.log.path))
            )
            await admin.start(admin_socket)
            try:
                if single_process:
                    await self._run_here(listening, admin_socket)
                else:
                    await self._run_workers(lock, listening, admin_socket)
            finally:
                await admin.stop(1.0)
        self._logger.info("stopped")

    async def _run_workers(self, lock: int, listening: socket.socket, admin: socket.socket) -> None:
        """One process to accept, one to deliver; on a stop, accepting ends first."""
        log = worker.log_for(self._configuration)
        # Every connection has its cursors before the first batch is accepted: a new one misses nothing.
        await log.open(*worker.log_names(self._configuration))
        await log.close()
        copy = self._copied_config()
        ingest = Worker("ingest", copy, self._config, self._overview, lock, listening)
        deliver = Worker("deliver", copy, self._config, self._overview, lock)
        running = [asyncio.create_task(ingest.run()), asyncio.create_task(deliver.run())]
        others = [
            asyncio.create_task(self._say_ready([ingest, deliver], listening, admin)),
            stopping := asyncio.create_task(self._stop_wanted()),
        ]
        within = self._configuration.settings.delivery.stop_within.total_seconds()
        try:
            ended, _ = await asyncio.wait([*running, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await ingest.stop(within * 0.4)
            await deliver.stop(within * 0.6)
            for task in (*running, *others):
                task.cancel()
            await asyncio.gather(*running, *others, return_exceptions=True)
        for task in running:
            if task in ended:
                task.result()

    def _copied_config(self) -> Path:
        """The configuration as it was at the start: an edit must not reach one worker, restarted, and not the other."""
        copy = self._configuration.settings.log.path / "running.yaml"
        copy.unlink(missing_ok=True)
        with open(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(self._config.read_bytes())
        return copy

    async def _run_here(self, listening: socket.socket, admin: socket.socket) -> None:
        """Everything on this event loop: for debugging, tests and tiny hosts."""
        parts = Parts(self._configuration, "router", self._config)
        try:
            await parts.start([listening], self._overview.take)
            await self._say_ready([], listening, admin)
            await self._stop.wait()
        finally:
            await parts.stop()

    async def _stop_wanted(self) -> None:
        await self._stop.wait()

    async def _say_ready(self, workers: Sequence[Worker], *sockets: socket.socket) -> None:
        for item in workers:
            await item.ready.wait()
        listen, admin = ("{}:{}".format(*item.getsockname()[:2]) for item in sockets)
        self._logger.info("ready", listen=listen, admin=admin)
