"""The HTTP server in front of a `Listener`: it accepts connections, ends slow ones, and stops in order."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable
from typing import Final

from router_core.httpconnection import Connection
from router_core.listener import Listener
from router_core.logs import logger

_SWEEP_EVERY: Final = 1.0
_SHARE_OF_FILES: Final = 0.75
"""The log and the rest of the process need some of the files that it may have open."""

Observer = Callable[[str, int, float], None]
"""Told of each answer: the source's name, the status or `DISCONNECTED`, seconds since the request was whole."""


class HttpServer:
    """Serves a listener's routes on sockets."""

    def __init__(
        self, listener: Listener, observe: Observer | None = None, most_connections: int | None = None
    ) -> None:
        """`most_connections` is by default what the process's limit of open files allows."""
        self.listener = listener
        self.loop = asyncio.get_running_loop()
        self.logger = logger(part="http")
        self.connections: set[Connection] = set()
        self.is_stopping = False
        self._most = most_connections or int(resource.getrlimit(resource.RLIMIT_NOFILE)[0] * _SHARE_OF_FILES)
        self.observe: Observer = observe or _nobody
        self._servers: list[asyncio.Server] = []
        self._sweeping: asyncio.Task[None] | None = None

    def has_place(self, newcomer: Connection) -> bool:
        """Whether a new connection may stay; if all places are taken, the one that is idle for longest goes."""
        if len(self.connections) <= self._most:
            return True
        idle = [connection for connection in self.connections if connection.is_idle and connection is not newcomer]
        if idle:
            min(idle, key=lambda connection: connection.since).end()
        return bool(idle)

    async def start(self, listening: socket.socket) -> None:
        """Accept connections from now on."""
        self._servers.append(await self.loop.create_server(lambda: Connection(self), sock=listening, backlog=2048))
        if self._sweeping is None:
            self._sweeping = self.loop.create_task(self._sweep())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_EVERY)
            now = self.loop.time()
            for connection in list(self.connections):
                connection.sweep(now)

    async def stop(self, within: float) -> None:
        """Take no new requests, answer those under way for up to `within` seconds, then close."""
        self.is_stopping = True
        for server in self._servers:
            server.close()
        until = self.loop.time() + within
        while self.connections and self.loop.time() < until:
            for connection in list(self.connections):
                connection.end()
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.cut()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)


def _nobody(owner: str, status: int, seconds: float) -> None:
    return
