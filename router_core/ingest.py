"""The accepting half of the router: sources, intake, log."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from opentelemetry import metrics

from router_core.clock import SystemClock
from router_core.components import Source, SourceContext, SourceInput
from router_core.errors import LogFull
from router_core.httpserver import HttpServer
from router_core.intake import CoreIntake
from router_core.isolation import fault_of
from router_core.listener import Listener
from router_core.log.port import EventLog
from router_core.logs import logger
from router_core.store import StateFile
from router_core.suppression import Suppression
from router_core.telemetry import Cell, Histogram, Telemetry

if TYPE_CHECKING:
    from router_core.configuration import Configuration, ConfiguredInput


class Ingest:
    """Everything between a client and its acknowledgement."""

    def __init__(
        self,
        configuration: Configuration,
        log: EventLog,
        state: StateFile,
        telemetry: Telemetry,
        suppression: Suppression | None = None,
    ) -> None:
        self._log = log
        self._telemetry = telemetry
        self._logger = logger(part="ingest")
        plans = {item.name: item.data_plan for item in configuration.inputs.values() if item.data_plan is not None}
        self._intake = CoreIntake(log, telemetry, suppression, plans)
        self._sources = {
            name: self._create(configuration, name, state)
            for name in sorted({item.type.name for item in configuration.inputs.values()})
        }
        self._tasks: list[asyncio.Task[None]] = []
        self._server: HttpServer | None = None
        self._answers: dict[tuple[str, int], tuple[Cell, Histogram | None]] = {}

    def _create(self, configuration: Configuration, source_type: str, state: StateFile) -> Source:
        inputs = [item for item in configuration.inputs.values() if item.type.name == source_type]
        context = SourceContext(
            name=source_type,
            settings=None,
            clock=SystemClock(),
            log=self._logger,
            meter=metrics.get_meter(f"router_core.source.{source_type}"),
            telemetry=self._telemetry,
            store=state.namespace("source", source_type),
            inputs={item.name: _source_input(item) for item in inputs},
        )
        return inputs[0].type.create(context)

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Accept from now on."""
        try:
            await self._log.append([])  # opens the log's files now, not at the first request
        except LogFull as error:  # a full disk is no reason not to start: senders get a 503 until there is room
            self._logger.error("log_full", reason=str(error))
        routes = [(name, route) for name, source in self._sources.items() for route in source.routes(self._intake)]
        self._server = HttpServer(Listener(routes), self._observe)
        for listening in sockets:
            await self._server.start(listening)
        self._tasks = [asyncio.create_task(self._run(name, source)) for name, source in self._sources.items()]

    def _observe(self, source: str, status: int, seconds: float) -> None:
        """Count an answer of the HTTP server."""
        known = self._answers.get((source, status))
        if known is None:
            known = self._answers[source, status] = (
                self._telemetry.cell("requests", source=source, status=str(status) if status else "disconnected"),
                self._telemetry.histogram("acknowledge_seconds", source=source) if status == 202 else None,
            )
        count, histogram = known
        count.value += 1
        if histogram is not None:
            histogram.add(seconds)

    async def _run(self, name: str, source: Source) -> None:
        """Run a source; one that fails is started again, and does not take the others with it."""
        while True:
            try:
                await source.run(self._intake)
            except Exception as error:
                self._logger.error("source_failed", source=name, error=fault_of(error))
                await asyncio.sleep(5.0)
            else:
                return

    async def stop(self, within: float) -> None:
        """Answer what is under way, take nothing new."""
        if self._server is not None:
            await self._server.stop(within)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for source in self._sources.values():
            await source.close()


def _source_input(item: ConfiguredInput) -> SourceInput:
    return SourceInput(
        name=item.name,
        platform=item.platform,
        key=item.key,
        secret=item.secret.get_secret_value() if item.secret is not None else None,
        settings=item.settings,
        max_batches_per_second=item.max_batches_per_second,
    )
