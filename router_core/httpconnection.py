"""One client's HTTP connection: parsing, limits, pipelining, timeouts.

A protocol of our own on httptools, because the request is the unit that clients pay for: half the CPU of a general
ASGI server. It hands over only whole requests, so handlers need no care for slow, endless or broken senders.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import httptools
import msgspec

from router_core.http import BadRequest, Request, Response, decoded, too_large
from router_core.isolation import fault_of
from router_core.listener import NOWHERE, Target

if TYPE_CHECKING:
    from router_core.httpserver import HttpServer

REQUEST_WITHIN: Final = 30.0
"""Seconds for a whole request to arrive, and for an answer to be taken."""
KEEP_ALIVE: Final = 75.0
"""Seconds that a connection may be idle between requests."""
LARGEST_HEAD: Final = 64 * 1024
DISCONNECTED: Final = 0
"""What counts for the status of a request whose sender left before it was whole."""
_MOST_HEADERS: Final = 200
_MOST_WAITING: Final = 16
"""Requests of one connection that are whole and wait for the one before; beyond it, no more is read."""
_LINGER: Final = 2.0
"""Seconds for which the rest of a refused request is thrown away: a connection closed at once would take the answer
with it."""


class _Whole(NamedTuple):
    """A request that waits for its answer, or one that was refused and has it already."""

    target: Target
    request: Request
    keep_alive: bool
    at: float
    limit: int = 0
    """Bytes of the body, when it is inflated."""
    refusal: Response | None = None


class Connection(asyncio.Protocol):
    """One client's connection. Requests may come pipelined; they are answered one after another."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._listener = server.listener
        self._loop = server.loop
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[_Whole] = deque()
        self._task: asyncio.Task[None] | None = None
        self._in_head = False
        self._lines = 0
        self._size = 0
        self._overhead = 0
        """Bytes of the request that is arriving without its body: head, chunk sizes, trailers."""
        self._deaf = False
        """What still comes is thrown away."""
        self._half_closed = False
        self._target = NOWHERE
        self._can_write = asyncio.Event()
        self._can_write.set()
        self._paused = False
        self.began: float | None = None
        """When the request that is arriving began."""
        self.since = server.loop.time()
        """When the connection became idle, or deaf."""

    # --- the connection ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._client = str(peer[0]) if isinstance(peer, tuple) else ""
        self._server.connections.add(self)
        if not self._server.has_place(self):
            self._refuse(_TOO_MANY)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections.discard(self)
        self._can_write.set()
        del self._parser  # it holds this object, which would wait for the garbage collector
        if self.began is not None and not self._in_head and not self._deaf:
            self._server.observe(self._target.found.owner, DISCONNECTED, 0.0)

    def eof_received(self) -> bool:
        """Whether the connection stays open: a sender may close its half and wait for the answer."""
        self._half_closed = True
        return self.is_busy

    def pause_writing(self) -> None:
        self.since = self._loop.time()
        self._can_write.clear()

    def resume_writing(self) -> None:
        self._can_write.set()

    def data_received(self, data: bytes) -> None:
        self._overhead += len(data)  # what is body is taken off again, and all of it at the end of a request
        while data and not self._deaf:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade() + data[upgrade.args[0] :]
                continue
            except httptools.HttpParserError as error:
                if not self._deaf:
                    self._refuse(BadRequest(400, "BAD_REQUEST", f"The request is not valid HTTP/1.1: {error}."))
            break
        if self.began is not None and not self._deaf and self._overhead > LARGEST_HEAD + 4 * self._size:
            self._refuse(_HEAD_TOO_LARGE)

    def _without_upgrade(self) -> bytes:
        """The head once more without its wish for another protocol, which would hide its body.

        Java's HttpClient asks for h2c in this way with each first request, and takes HTTP/1.1 for an answer.
        """
        method = self._parser.get_method()
        if method == b"CONNECT":
            self._refuse(BadRequest(405, "METHOD_NOT_ALLOWED", "This is no proxy."))
            return b""
        head = b"%b %b HTTP/%b\r\n" % (method, self._url, self._parser.get_http_version().encode())
        if b"close" in self._headers.get(b"connection", b"").lower():
            head += b"connection: close\r\n"
        for name, value in self._headers.items():
            if name not in (b"upgrade", b"connection", b"http2-settings"):
                head += b"%b: %b\r\n" % (name, value)
        self._parser = httptools.HttpRequestParser(self)
        return head + b"\r\n"

    # --- what the parser finds ---

    def on_message_begin(self) -> None:
        self._url = b""
        self._target = NOWHERE
        self._headers: dict[bytes, bytes] = {}
        self._body = b""
        self._more: list[bytes] = []
        self._size = 0
        self._in_head = True
        self._lines = 0
        self.began = self._loop.time()

    def on_url(self, part: bytes) -> None:
        self._url += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self._lines += 1
        if not self._in_head or self._lines > _MOST_HEADERS:
            return  # a trailer means nothing here, and must not pass for a header
        headers = self._headers
        name = name.lower()
        if name in headers:
            value = headers[name] + b", " + value
        headers[name] = value

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._deaf or self._parser.should_upgrade():
            return
        headers = self._headers
        try:
            self._target = target = self._listener.target(self._url)
        except BadRequest as error:
            self._refuse(error)
            return
        self._limit = limit = target.found.route.largest_body
        if self._lines > _MOST_HEADERS:
            self._refuse(_HEAD_TOO_LARGE)
        elif int(headers.get(b"content-length", b"0")) > limit:
            self._refuse(too_large(limit))
        elif headers.get(b"expect", b"").lower() == b"100-continue" and self._may_go_on():
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _may_go_on(self) -> bool:
        return not self.is_busy and self._parser.get_http_version() == "1.1"

    def on_body(self, part: bytes) -> None:
        if self._deaf:
            return
        if self._size:
            self._more.append(part)
        else:
            self._body = part
        self._size += len(part)
        self._overhead -= len(part)
        if self._size > self._limit:
            self._refuse(too_large(self._limit))

    def on_message_complete(self) -> None:
        if self._deaf or self._parser.should_upgrade():
            return
        self.began = None
        self._overhead = 0
        target, headers = self._target, self._headers
        body = b"".join([self._body, *self._more]) if self._more else self._body
        keep_alive = self._parser.should_keep_alive()
        if b"connection" in headers and self._parser.get_http_version() == "1.0":
            keep_alive = False  # else the answer would have to say that it is kept alive
        self._deaf = not keep_alive
        request = Request(
            self._parser.get_method().decode(), target.path, target.query, headers, body, self._client
        )  # fmt: skip
        self._take(_Whole(target, request, keep_alive, perf_counter(), self._limit))

    def _refuse(self, error: BadRequest) -> None:
        """Answer this request without the rest of it, after those before it, and take nothing more."""
        self._deaf = True
        self.began = None
        self._take(_Whole(self._target, Request("", ""), False, perf_counter(), refusal=error.response))

    # --- answers ---

    @property
    def is_busy(self) -> bool:
        """Whether an answer is owed."""
        return self._task is not None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is owed or arriving."""
        return not self.is_busy and self.began is None

    def _take(self, whole: _Whole) -> None:
        self._waiting.append(whole)
        if self._task is None:
            self._task = self._loop.create_task(self._answer())
        elif len(self._waiting) >= _MOST_WAITING and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    async def _answer(self) -> None:
        waiting = self._waiting
        try:
            while waiting:
                whole = waiting.popleft()
                response = whole.refusal or await self._response(whole)
                if not self._can_write.is_set():
                    await self._can_write.wait()
                if self._transport.is_closing():
                    return
                self._server.observe(whole.target.found.owner, response.status, perf_counter() - whole.at)
                is_last = not waiting and (self._half_closed or self._server.is_stopping)
                keep_alive = whole.keep_alive and not is_last
                self._transport.write(_bytes_of(response, keep_alive, whole.request.method == "HEAD"))
                if not keep_alive:
                    self._hang_up(gently=whole.refusal is not None)
                    return
                if self._paused and len(waiting) < _MOST_WAITING // 2:
                    self._paused = False
                    self._transport.resume_reading()
                if waiting:
                    await asyncio.sleep(0)  # a long queue of refusals must not hold up other connections
        finally:
            self._task = None
            self.since = self._loop.time()

    async def _response(self, whole: _Whole) -> Response:
        request = whole.request
        try:
            if encoding := request.headers.get(b"content-encoding"):
                # Only now: many small requests that wait here must not become large ones in memory.
                body = decoded(request.body, encoding, whole.limit)
                request = msgspec.structs.replace(request, body=body)
            return await whole.target.found.route.handle(request)
        except BadRequest as error:
            return error.response
        except Exception as error:
            target = whole.target
            self._server.logger.error(
                "request_failed", source=target.found.owner, path=target.path, error=fault_of(error)
            )
            return _FAULT.response

    def _hang_up(self, *, gently: bool) -> None:
        self._deaf = True
        self._waiting.clear()
        if gently and self._transport.can_write_eof():
            with contextlib.suppress(OSError, RuntimeError):
                self._transport.write_eof()
                if self._paused:
                    self._transport.resume_reading()
        else:
            self._transport.close()

    # --- time ---

    def sweep(self, now: float) -> None:
        """End what takes too long."""
        if self._transport.get_write_buffer_size():
            if now - self.since > REQUEST_WITHIN:
                self._transport.abort()
        elif self._deaf and not self.is_busy:
            if now - self.since > _LINGER:
                self._transport.abort()
        elif self.began is not None:
            if now - self.began > REQUEST_WITHIN:
                self._refuse(_TOO_SLOW)
        elif not self.is_busy and now - self.since > KEEP_ALIVE:
            self._transport.close()

    def end(self) -> None:
        """Close if nothing is owed or arriving."""
        if not self.is_busy and (self.began is None or self._in_head):
            self._transport.close()

    def cut(self) -> None:
        """Close now."""
        if self._task is not None:
            self._task.cancel()
        self._transport.abort()


_STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_HEAD_TOO_LARGE: Final = BadRequest(431, "HEADERS_TOO_LARGE", "The headers are too many or too long.")
_TOO_SLOW: Final = BadRequest(
    408, "REQUEST_TIMEOUT", f"The request did not arrive whole within {REQUEST_WITHIN:.0f} seconds."
)
_TOO_MANY: Final = BadRequest(
    503, "TOO_MANY_CONNECTIONS", "All places are taken by other connections. Come again.", [(b"retry-after", b"5")]
)
_FAULT: Final = BadRequest(500, "INTERNAL_ERROR", "The router failed at this request; its log has the reason.")


_BARE: Final = {
    status: line + b"\r\n" if status in (204, 304) else line + b"content-length: 0\r\n\r\n"
    for status, line in _STATUS_LINES.items()
}


def _bytes_of(response: Response, keep_alive: bool, head_only: bool) -> bytes:
    status, body = response.status, response.body
    if keep_alive and not body and not response.headers and status in _BARE:
        return _BARE[status]
    head = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    for name, value in response.headers:
        head += b"%b: %b\r\n" % (name, value)
    if not keep_alive:
        head += b"connection: close\r\n"
    if status in (204, 304):
        return head + b"\r\n"
    head += b"content-length: %d\r\n\r\n" % len(body)
    return head if head_only else head + body
