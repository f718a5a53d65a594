"""The admin listener: `/livez`, `/readyz`, `/metrics`, `/status`. On a port of its own, 127.0.0.1 by default."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from router_core.reports import Overview
from router_core.telemetry import prometheus_text

Endpoint = Callable[[Request], Awaitable[Response]]


def admin_app(overview: Overview, token: str | None) -> Starlette:
    """The app. With a token, all but the two probes want `Authorization: Bearer <token>`."""

    async def livez(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        status = 200 if overview.ready else 503
        if "verbose" not in request.query_params or not allowed(request):
            return PlainTextResponse("ok\n" if overview.ready else "not ready\n", status)
        lines = [f"[{'+' if holds else '-'}] {name}: {what}" for name, (holds, what) in overview.checks().items()]
        for connection in overview.status()["connections"]:
            error = f": {connection['last_error']}" if connection.get("last_error") else ""
            mark = "+" if connection["state"] == "ok" else "!"
            lines.append(f"[{mark}] connection {connection['name']}: {connection['state']}{error}")
        return PlainTextResponse("\n".join([*lines, "ready" if overview.ready else "not ready", ""]), status)

    async def metrics(request: Request) -> Response:
        return Response(prometheus_text(overview.samples), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def status(request: Request) -> Response:
        return JSONResponse(overview.status())

    def allowed(request: Request) -> bool:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        return token is None or hmac.compare_digest(given.encode(), token.encode())

    def guarded(endpoint: Endpoint) -> Endpoint:
        async def guard(request: Request) -> Response:
            if not allowed(request):
                return JSONResponse(
                    {"errors": [{"code": "UNAUTHORIZED", "message": "Send the admin token as a Bearer token."}]},
                    401,
                    {"www-authenticate": "Bearer"},
                )
            return await endpoint(request)

        return guard

    return Starlette(
        routes=[
            Route("/livez", livez),
            Route("/readyz", readyz),
            Route("/metrics", guarded(metrics)),
            Route("/status", guarded(status)),
        ]
    )
