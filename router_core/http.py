"""HTTP as sources see it: a whole request in, a whole answer out."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import orjson

from router_core.errors import RouterError

LARGEST_BODY: Final = 256 * 1024
"""Bytes of a request's body unless a route says otherwise, counted before and after inflation."""

Headers = Sequence[tuple[bytes, bytes]]


class Request(msgspec.Struct, frozen=True):
    """A request that is whole: its body is here, within its route's limit, and inflated."""

    method: str
    path: str
    """With percent escapes decoded."""
    query: str = ""
    """What stands behind the question mark, as it was sent."""
    headers: Mapping[bytes, bytes] = {}
    """Names in lower case; what came more than once is joined by a comma."""
    body: bytes = b""
    client: str = ""
    """The sender's address, or that of the proxy before it."""


class Response(msgspec.Struct, frozen=True):
    """An answer. The listener adds `content-length`, and `connection` where it is needed."""

    status: int
    body: bytes = b""
    headers: Headers = ()


Handler = Callable[[Request], Awaitable[Response]]
"""Answers a request, or raises `BadRequest`. Called many times at once; a sender who leaves does not cancel it."""


class BadRequest(RouterError):
    """The request ends here, with this answer in mParticle's errors envelope."""

    def __init__(self, status: int, code: str, message: str, headers: Headers = ()) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers
        super().__init__(message)

    @property
    def response(self) -> Response:
        """The answer."""
        return json_response(self.status, errors_envelope((self.code, self.message)), self.headers)


def json_response(status: int, body: bytes, headers: Headers = ()) -> Response:
    """An answer whose body is JSON."""
    return Response(status, body, [(b"content-type", b"application/json"), *headers])


def errors_envelope(*errors: tuple[str, str]) -> bytes:
    """`{"errors": [{"code": …, "message": …}]}`, as mParticle's Events API answers."""
    listed: list[dict[str, Any]] = [{"code": code, "message": message} for code, message in errors]
    return orjson.dumps({"errors": listed})


def decoded(body: bytes, encoding: bytes, limit: int) -> bytes:
    """The body behind its `content-encoding`: none or gzip. Raises `BadRequest` 413 beyond `limit` bytes, 415, 400.

    It is inflated through a limiter, so a small body cannot become a large one in memory.
    """
    encoding = encoding.lower()
    if encoding in (b"", b"identity"):
        return body
    if encoding not in (b"gzip", b"x-gzip"):
        raise BadRequest(415, "UNSUPPORTED_ENCODING", "Content-Encoding must be gzip or absent.")
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise BadRequest(400, "BAD_REQUEST", "The body is not valid gzip.") from None
    if len(plain) > limit:
        raise too_large(limit)
    if not inflater.eof or inflater.unused_data:
        raise BadRequest(400, "BAD_REQUEST", "The gzip body is cut short or has something behind its end.")
    return plain


def too_large(limit: int) -> BadRequest:
    """413."""
    return BadRequest(
        413,
        "REQUEST_TOO_LARGE",
        f"The request is larger than {limit // 1024} KB, counted after inflation. Send smaller batches.",
    )
