"""Bytes to and from an `HttpServer` over a real socket of this event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from router_core.components import Route
from router_core.httpserver import HttpServer, Observer
from router_core.listener import Listener, bind


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        """Write pieces apart, so that they arrive as such."""
        for at, piece in enumerate(pieces):
            if at:
                await asyncio.sleep(0.002)
            self.writer.write(piece)
            with contextlib.suppress(ConnectionError):
                await self.writer.drain()

    async def answer(self, *, head_only: bool = False) -> Answer | None:
        """The next answer, or None if the connection ended before one."""
        try:
            head = (await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 10)).decode("latin-1")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        line, *lines = head.rstrip("\r\n").split("\r\n")
        assert line.startswith("HTTP/1.1 ")
        headers = dict(item.split(": ", 1) for item in lines)
        size = 0 if head_only else int(headers.get("content-length", 0))
        return Answer(int(line.split()[1]), headers, await asyncio.wait_for(self._reader.readexactly(size), 10))

    async def ended(self) -> bool:
        """Whether the server closes without another byte."""
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(self._reader.read(1), 10) == b""
        return True


@dataclass
class Served:
    """A server under test."""

    server: HttpServer
    port: int

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Wire]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Wire(reader, writer)
        finally:
            writer.close()

    async def ask(self, *pieces: bytes) -> Answer | None:
        """One request on a connection of its own."""
        async with self.connected() as wire:
            await wire.send(*pieces)
            return await wire.answer(head_only=pieces[0].startswith(b"HEAD "))


@contextlib.asynccontextmanager
async def serving(
    routes: Iterable[Route], observe: Observer | None = None, *, most_connections: int | None = None
) -> AsyncIterator[Served]:
    """A server on a free port, its routes all of the source `test`."""
    server = HttpServer(Listener(("test", route) for route in routes), observe, most_connections)
    listening = bind("127.0.0.1", 0, "listen.port")
    port = listening.getsockname()[1]
    await server.start(listening)
    try:
        yield Served(server, port)
    finally:
        await server.stop(1.0)


def request(
    body: bytes = b"", *, path: str = "/", method: str = "POST", headers: Sequence[tuple[str, str]] = (),
    declared: int | None = None,
) -> bytes:  # fmt: skip
    """The bytes of one request."""
    size = len(body) if declared is None else declared
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {size}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
