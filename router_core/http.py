"""What HTTP sources need under plain ASGI: a body within limits, and an answer."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import orjson

from router_core.components import Message
from router_core.errors import RouterError

BODY_WITHIN: Final = 30.0
"""Seconds for the whole of a body to arrive."""

Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]


class BadRequest(RouterError):
    """The request ends here, with this answer."""

    def __init__(self, status: int, code: str, message: str, headers: Headers = ()) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers
        super().__init__(message)


class Disconnected(Exception):  # not an error: the sender went away, and nobody waits for an answer
    """The sender went away before its request was whole."""


async def read_body(receive: Receive, limit: int, encoding: bytes = b"", declared: int | None = None) -> bytes:
    """The whole body, inflated if `encoding` is gzip. Raises `BadRequest` 413 beyond `limit` bytes, 408, 415, 400.

    What is inflated goes through a limiter, so a small body cannot become a large one in memory.
    """
    if declared is not None and declared > limit:
        raise _too_large(limit)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise Disconnected
    if message.get("more_body"):
        body = await _rest(receive, body, limit)
    if len(body) > limit:
        raise _too_large(limit)
    if not encoding or encoding == b"identity":
        return body
    if encoding not in (b"gzip", b"x-gzip"):
        raise BadRequest(415, "UNSUPPORTED_ENCODING", "Content-Encoding must be gzip or absent.")
    return _inflated(body, limit)


async def _rest(receive: Receive, first: bytes, limit: int) -> bytes:
    chunks, size = [first], len(first)
    try:
        async with asyncio.timeout(BODY_WITHIN):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > limit:
                    raise _too_large(limit)
                if not message.get("more_body"):
                    return b"".join(chunks)
    except TimeoutError:
        raise BadRequest(
            408, "REQUEST_TIMEOUT", f"The body did not arrive within {BODY_WITHIN:.0f} seconds.", _CLOSE
        ) from None


def _inflated(body: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise BadRequest(400, "BAD_REQUEST", "The body is not valid gzip.") from None
    if len(plain) > limit:
        raise _too_large(limit)
    if not inflater.eof or inflater.unused_data:
        raise BadRequest(400, "BAD_REQUEST", "The gzip body is cut short or has something behind its end.")
    return plain


_CLOSE: Final = ((b"connection", b"close"),)


def _too_large(limit: int) -> BadRequest:
    return BadRequest(
        413,
        "REQUEST_TOO_LARGE",
        f"The request is larger than {limit // 1024} KB, counted after inflation. Send smaller batches.",
        _CLOSE,
    )


async def respond(send: Send, status: int, body: bytes = b"", headers: Headers = ()) -> None:
    """Send a whole answer."""
    await send({
        "type": "http.response.start",
        "status": status,
        "headers": [*headers, (b"content-length", b"%d" % len(body))],
    })  # fmt: skip
    await send({"type": "http.response.body", "body": body})


async def respond_error(send: Send, error: BadRequest) -> None:
    """Send mParticle's errors envelope."""
    body = errors_envelope((error.code, error.message))
    await respond(send, error.status, body, [(b"content-type", b"application/json"), *error.headers])


def errors_envelope(*errors: tuple[str, str]) -> bytes:
    """`{"errors": [{"code": …, "message": …}]}`, as mParticle's Events API answers."""
    listed: list[dict[str, Any]] = [{"code": code, "message": message} for code, message in errors]
    return orjson.dumps({"errors": listed})
