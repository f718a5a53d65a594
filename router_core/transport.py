"""The way out to partners: httpx behind a small port, with time limits, no redirects, and a cap on what is read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import httpx

from router_core.components import HttpAnswer
from router_core.errors import Unavailable

LARGEST_ANSWER: Final = 1024 * 1024
"""Bytes; what a partner sends beyond it is not read, as no answer that means anything is that long."""


class HttpxTransport:
    """An `HttpTransport` on one connection pool."""

    def __init__(self, connections: int = 16) -> None:
        self._client = httpx.AsyncClient(
            follow_redirects=False,  # a redirect could carry credentials elsewhere
            trust_env=True,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            headers={"user-agent": "router-core", "accept-encoding": "identity"},
        )

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        timeout: float = 30.0,
    ) -> HttpAnswer:
        """See `HttpTransport.request`."""
        try:
            async with (
                asyncio.timeout(timeout),
                self._client.stream(
                    method, url, headers=dict(headers or {}), content=content, timeout=timeout
                ) as answer,
            ):
                body = bytearray()
                async for chunk in answer.aiter_raw():
                    body += chunk
                    if len(body) > LARGEST_ANSWER:
                        raise Unavailable(f"the answer of {_host(url)} is longer than {LARGEST_ANSWER} bytes")
                return HttpAnswer(answer.status_code, {k.lower(): v for k, v in answer.headers.items()}, bytes(body))
        except (TimeoutError, httpx.TimeoutException):
            raise Unavailable(f"no complete answer from {_host(url)} within {timeout:g} seconds") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ExceptionGroup) as error:  # a group: a port beyond 65535
            raise Unavailable(f"cannot reach {_host(url)}: {error or type(error).__name__}") from None
        except ValueError as error:  # a host or a header that cannot be encoded; its text may show a secret
            raise Unavailable(f"cannot make a request to {_host(url)}: {type(error).__name__}") from None

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def _host(url: str) -> str:
    try:
        return httpx.URL(url).netloc.decode("ascii", "replace")
    except (httpx.InvalidURL, ValueError):
        return "an address that cannot be read"
