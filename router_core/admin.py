"""The admin listener: `/livez`, `/readyz`, `/metrics`, `/status`. On a port of its own, 127.0.0.1 by default."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from urllib.parse import parse_qs

import orjson

from router_core.components import Route
from router_core.http import BadRequest, Handler, Request, Response, json_response
from router_core.reports import Overview
from router_core.telemetry import prometheus_text


def admin_routes(overview: Overview, token: str | None) -> Sequence[Route]:
    """The pages. With a token, all but the two probes want `Authorization: Bearer <token>`."""

    async def livez(request: Request) -> Response:
        return _text("ok\n")

    async def readyz(request: Request) -> Response:
        status = 200 if overview.ready else 503
        if "verbose" not in parse_qs(request.query, keep_blank_values=True) or not allowed(request):
            return _text("ok\n" if overview.ready else "not ready\n", status)
        lines = [f"[{'+' if holds else '-'}] {name}: {what}" for name, (holds, what) in overview.checks().items()]
        for connection in overview.status()["connections"]:
            is_ok = connection["state"] == "ok"
            error = f": {connection['last_error']}" if connection.get("last_error") and not is_ok else ""
            mark = "+" if is_ok else "!"
            lines.append(f"[{mark}] connection {connection['name']}: {connection['state']}{error}")
        return _text("\n".join([*lines, "ready" if overview.ready else "not ready", ""]), status)

    async def metrics(request: Request) -> Response:
        body = prometheus_text(overview.samples)
        return Response(200, body, [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")])

    async def status(request: Request) -> Response:
        return json_response(200, orjson.dumps(overview.status()))

    def allowed(request: Request) -> bool:
        given = request.headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        return token is None or hmac.compare_digest(given, token.encode())

    def page(answer: Handler, *, is_open: bool = False) -> Handler:
        async def handle(request: Request) -> Response:
            if request.method not in ("GET", "HEAD"):
                raise BadRequest(405, "METHOD_NOT_ALLOWED", "Use GET.", [(b"allow", b"GET, HEAD")])
            if not is_open and not allowed(request):
                raise BadRequest(
                    401, "UNAUTHORIZED", "Send the admin token as a Bearer token.", [(b"www-authenticate", b"Bearer")]
                )
            return await answer(request)

        return handle

    return [
        Route(path="/livez", handle=page(livez, is_open=True)),
        Route(path="/readyz", handle=page(readyz, is_open=True)),
        Route(path="/metrics", handle=page(metrics)),
        Route(path="/status", handle=page(status)),
    ]


def _text(text: str, status: int = 200) -> Response:
    return Response(status, text.encode(), [(b"content-type", b"text/plain; charset=utf-8")])
