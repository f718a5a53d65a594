"""Posts uploads to an input as a patient client does: it comes again when it is asked to, and counts the answers."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

import httpx
import orjson

from router_core.cli.batches import Upload
from router_core.errors import RouterError
from router_core.retry import Backoff, retry_after_seconds

if TYPE_CHECKING:
    from router_core.components import Clock

ATTEMPTS: Final = 8
LONGEST_WAIT: Final = 60.0
"""Seconds; a server that names more is asked again after a minute."""
_PASSING: Final = (408, 429, 500, 502, 503, 504)
_HOPELESS: Final = (401, 403, 404, 405)
_KEPT: Final = ("content-type", "traceparent", "tracestate", "x-mp-kits", "x-mp-bundled-kits")
_KEY_IN_PATH = re.compile(r"(/v\d+/JS/)[^/]+(?=/)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where to, and as whom."""

    url: str
    key: str | None = None
    secret: str | None = field(default=None, repr=False)

    def url_for(self, upload: Upload) -> str:
        """Recorded requests go where they went; one that names the key in its path goes to this key."""
        path = upload.path or ("/v2/bulkevents" if upload.bulk else "/v2/events")
        if self.key is not None:
            path = _KEY_IN_PATH.sub(lambda match: match[1] + str(self.key), path)
        return self.url.rstrip("/") + "/" + path.lstrip("/")

    def headers_for(self, upload: Upload) -> dict[str, str]:
        """The recorded headers that mean something to an input, and our own credentials."""
        headers = {name: value for name, value in upload.headers.items() if name in _KEPT}
        headers.setdefault("content-type", "application/json")
        if self.key is not None and self.secret is not None:
            headers["authorization"] = "Basic " + b64encode(f"{self.key}:{self.secret}".encode()).decode()
        return headers


@dataclass(kw_only=True)
class Tally:
    """How it went, in batches."""

    accepted: int = 0
    refused: int = 0
    not_sent: int = 0
    requests: int = 0
    retries: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    """Why batches were refused, in the order in which the reasons came up."""


def in_bulk(uploads: Iterable[Upload], size: int) -> Iterator[Upload]:
    """The same batches, `size` of them in a request."""
    batches = chain.from_iterable(upload.batches for upload in uploads)
    while part := list(islice(batches, size)):
        yield Upload(batches=part, bulk=True)


class Poster:
    """Posts with a number of requests at once. `advance` is told how many batches are done."""

    def __init__(
        self, client: httpx.AsyncClient, target: Target, clock: Clock, advance: Callable[[int], None] = lambda _: None
    ) -> None:
        self._client = client
        self._target = target
        self._clock = clock
        self._advance = advance
        self._backoff = Backoff(0.5, 10.0)
        self._hopeless = False
        self._answered = False
        self.tally = Tally()

    async def post(self, uploads: Iterable[Upload], concurrency: int) -> Tally:
        """Post all. Raises `RouterError` if nobody answers at all."""
        waiting = iter(uploads)

        async def work() -> None:
            for upload in waiting:
                await self._one(upload)
                self._advance(len(upload.batches))

        tasks = [asyncio.create_task(work()) for _ in range(concurrency)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return self.tally

    async def _one(self, upload: Upload) -> None:
        if self._hopeless:
            self.tally.not_sent += len(upload.batches)
            return
        reason = await self._reason_refused(upload)
        if reason is None:
            self.tally.accepted += len(upload.batches)
        else:
            self.tally.refused += len(upload.batches)
            self.tally.reasons[reason] += len(upload.batches)

    async def _reason_refused(self, upload: Upload) -> str | None:
        """None once the upload is accepted."""
        reason = ""
        for attempt in range(1, ATTEMPTS + 1):
            self.tally.requests += 1
            self.tally.retries += attempt > 1
            try:
                answer = await self._client.post(
                    self._target.url_for(upload), content=upload.body, headers=self._target.headers_for(upload)
                )
            except httpx.InvalidURL:
                return "the recorded path is no path"
            except httpx.TransportError as error:
                reason = f"no answer: {error or type(error).__name__}"
                if not self._answered and isinstance(error, httpx.ConnectError):
                    raise RouterError(f"nobody answers at {self._target.url}. Does the router run there?") from None
                asked = None
            else:
                self._answered = True
                if answer.is_success:
                    return None
                reason = _reason(answer)
                self._hopeless = self._hopeless or answer.status_code in _HOPELESS
                if answer.status_code not in _PASSING:
                    return reason
                asked = retry_after_seconds(answer.headers.get("retry-after"), self._clock.now())
            if attempt < ATTEMPTS:
                await self._clock.sleep(min(self._backoff.seconds(attempt) if asked is None else asked, LONGEST_WAIT))
        return f"{reason} (after {ATTEMPTS} tries)"


def _reason(answer: httpx.Response) -> str:
    """Status, code and message of the errors envelope, or the status alone."""
    try:
        error: Any = orjson.loads(answer.content)["errors"][0]
        return f"{answer.status_code} {error['code']}: {error['message']}"
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return f"{answer.status_code} {answer.reason_phrase}".strip()
