"""mParticle's server-side Events API: `POST /v2/events` and `/v2/bulkevents`.

Status codes and the errors envelope are those of mParticle's HTTP documentation; where it contradicts itself, 401 is
an Authorization header that is missing or unreadable, and 403 a pair that nobody knows. 413 is ours: the limit of
256 KB is documented, its answer is not.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode
from collections.abc import Sequence
from typing import Final

import msgspec

from router_core.components import (
    Accepted,
    ConfigurationSettings,
    Intake,
    Route,
    Source,
    SourceContext,
    SourceInput,
    SourceType,
)
from router_core.errors import InvalidBatch, LogError
from router_core.http import BadRequest, Request, Response
from router_core.intake import KEPT_HEADERS
from router_core.sources.rate import TokenBucket

LARGEST_REQUEST: Final = 256 * 1024
MOST_BATCHES: Final = 100
_KEPT: Final = frozenset(name.encode() for name in KEPT_HEADERS)
_SLICES: Final = msgspec.json.Decoder(list[msgspec.Raw])


class EventsApi(Source):
    """Serves all inputs of this type, told apart by their key."""

    def __init__(self, context: SourceContext) -> None:
        self._context = context
        self._inputs = {item.key or "": item for item in context.inputs.values()}
        self._rates = {
            item.name: TokenBucket(item.max_batches_per_second, context.clock.monotonic)
            for item in context.inputs.values()
            if item.max_batches_per_second
        }

    def routes(self, intake: Intake) -> Sequence[Route]:
        self._intake = intake
        return [
            Route(path="/v2/events", handle=self._single, largest_body=LARGEST_REQUEST),
            Route(path="/v2/bulkevents", handle=self._bulk, largest_body=LARGEST_REQUEST),
        ]

    async def _single(self, request: Request) -> Response:
        source = self._sender_of(request)
        return await self._take(source, request, [request.body], bulk=False)

    async def _bulk(self, request: Request) -> Response:
        source = self._sender_of(request)
        return await self._take(source, request, _slices(request.body), bulk=True)

    async def _take(self, source: SourceInput, request: Request, bodies: Sequence[bytes], *, bulk: bool) -> Response:
        """Take batches in; returns when they are durable."""
        self._require_rate(source.name, len(bodies))
        headers = request.headers
        kept = None
        if not _KEPT.isdisjoint(headers):
            kept = {name.decode(): headers[name].decode("latin-1") for name in _KEPT & headers.keys()}
        try:
            results = await self._intake.accept(source, bodies, headers=kept)
        except LogError as error:
            raise BadRequest(
                503, "SERVICE_UNAVAILABLE", f"Nothing was kept: {error}. Send it again later.", _LATER
            ) from None
        self._refuse(source.name, results, bulk=bulk)
        return _ACCEPTED

    def _sender_of(self, request: Request) -> SourceInput:
        if request.method != "POST":
            raise BadRequest(405, "METHOD_NOT_ALLOWED", "Use POST.", [(b"allow", b"POST")])
        return self._authenticated(request.headers.get(b"authorization"))

    def _authenticated(self, header: bytes | None) -> SourceInput:
        """The input whose key and secret the header has. Takes the same time whichever of the two is wrong."""
        if header is None:
            raise _unauthorized("The Authorization header is missing. Send HTTP Basic with the input's key and secret.")
        scheme, _, encoded = header.partition(b" ")
        try:
            key, colon, secret = b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = ""
        if scheme.lower() != b"basic" or not colon:
            raise _unauthorized("The Authorization header is not HTTP Basic with key:secret in base64.")
        found = self._inputs.get(key)
        expected = found.secret or "" if found is not None else _NOBODY
        matches = hmac.compare_digest(secret.encode(), expected.encode())
        if found is None or not matches:
            raise BadRequest(403, "FORBIDDEN", "No input has this key and secret.")
        return found

    def _require_rate(self, name: str, batches: int) -> None:
        rate = self._rates.get(name)
        wait = rate.take(batches) if rate is not None else 0.0
        if wait > 0:
            raise BadRequest(
                429,
                "TOO_MANY_REQUESTS",
                "This input's `max_batches_per_second` is used up.",
                [(b"retry-after", b"%d" % max(1, round(wait + 0.5))), (b"x-mp-rate-limit-exceeded", b"feed")],
            )

    def _refuse(self, name: str, results: Sequence[Accepted], *, bulk: bool) -> None:
        """Answer 400 if nothing was good. The bad parts of a bulk request that has good ones are logged by position."""
        errors = [(at, result.error) for at, result in enumerate(results) if isinstance(result.error, InvalidBatch)]
        if not errors:
            return
        if len(errors) < len(results):
            for at, error in errors:
                self._context.log.warning("bad_batch", input=name, position=at, reason=error.message, place=error.place)
            return
        raise BadRequest(400, "BAD_REQUEST", "; ".join(_sentence(at, error, bulk) for at, error in errors[:10]))


_ACCEPTED: Final = Response(202)
_LATER: Final = ((b"retry-after", b"5"),)
_NOBODY: Final = "\0 no secret is like this"


def _sentence(at: int, error: InvalidBatch, bulk: bool) -> str:
    return f"{error.message} (at {f'$[{at}]' + error.place.lstrip('$') if bulk else error.place})"


def _unauthorized(message: str) -> BadRequest:
    return BadRequest(401, "UNAUTHORIZED", message, [(b"www-authenticate", b'Basic realm="events"')])


def _slices(body: bytes) -> list[bytes]:
    """The batches of a bulk request, each as its own bytes; each is checked strictly on its own afterwards."""
    try:
        slices = [bytes(part) for part in _SLICES.decode(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(400, "BAD_REQUEST", f"A bulk request must be a JSON list of batches: {error}.") from None
    if not slices:
        raise BadRequest(400, "BAD_REQUEST", "A bulk request must hold at least one batch.")
    if len(slices) > MOST_BATCHES:
        raise BadRequest(
            400, "BAD_REQUEST", f"A bulk request may hold {MOST_BATCHES} batches; this one holds {len(slices)}."
        )
    return slices


class EventsApiSettings(ConfigurationSettings):
    """The Events API needs no settings beyond an input's key and secret."""


EVENTS_API = SourceType(
    name="events_api",
    title="Events API",
    summary="mParticle's server-side HTTP API, for its Python, Node and other server clients and for feeds.",
    create=EventsApi,
    input_settings=EventsApiSettings,
    needs_key=True,
    needs_secret=True,
    stability="stable",
)
