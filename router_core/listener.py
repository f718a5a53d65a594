"""Core's one listener: hands each request to the source whose path it is."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable, Iterator

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from router_core.components import AsgiApp, Route, Scope
from router_core.errors import ConfigurationError, Problem, RouterError
from router_core.http import BadRequest, Receive, Send, respond_error

_KEEP_ALIVE = 75
_REQUEST_WITHIN = 40.0
"""Seconds for a whole request to arrive; a source that reads slow bodies itself answers before."""
_BACKLOG = 2048


class Listener:
    """A plain ASGI callable; exact paths first, then the longest prefix."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[str, AsgiApp] = {}
        self._prefixes: list[tuple[str, AsgiApp]] = []
        for route in routes:
            if route.prefix:
                self._prefixes.append((route.path, route.app))
            elif route.path in self._exact:
                raise ConfigurationError(
                    [Problem(where="plugins", path="", what=f"two sources serve the path {route.path}.")]
                )
            else:
                self._exact[route.path] = route.app
        self._prefixes.sort(key=lambda entry: -len(entry[0]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        app = self._exact.get(path)
        if app is None:
            app = next((app for prefix, app in self._prefixes if path.startswith(prefix)), _not_found)
        await app(scope, receive, send)


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    await respond_error(send, BadRequest(404, "NOT_FOUND", "No input listens on this path."))


def bind(host: str, port: int, setting: str) -> socket.socket:
    """A listening socket. Raises `RouterError` with a sentence that names the setting to change."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listening.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise RouterError(
            f"cannot listen on {host}:{port}: {reason}. Stop what uses it, or set `{setting}` to a free port."
        ) from None
    listening.setblocking(False)
    listening.set_inheritable(True)
    return listening


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with the times at which a connection and its request under way began.

    uvicorn itself waits for ever for a head or a body that does not come; `Server` ends such connections.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.began: float | None = self.loop.time()
        super().connection_made(transport)

    def on_message_begin(self) -> None:
        self.began = self.loop.time()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self.began = None
        super().on_message_complete()


class Server(uvicorn.Server):
    """uvicorn without its own signal handlers (the process that it runs in decides when to stop), and impatient."""

    def __init__(self, app: AsgiApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="none",
                http=Protocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE,
            )
        )

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; once in five seconds, end connections whose request does not become whole."""
        if counter % 50 == 0:
            oldest = asyncio.get_running_loop().time() - _REQUEST_WITHIN
            for connection in list(self.server_state.connections):
                began = getattr(connection, "began", None)
                transport = getattr(connection, "transport", None)
                if began is not None and began < oldest and transport is not None:
                    transport.close()
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield
