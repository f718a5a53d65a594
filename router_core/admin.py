"""The admin listener: `/livez`, `/readyz`, `/metrics`, `/status`, and OpenDSR under `/v3/`.

On a port of its own, 127.0.0.1 by default.
"""

from __future__ import annotations

import hmac
from base64 import b64decode
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

import orjson

from router_core.components import Route
from router_core.http import BadRequest, Handler, Request, Response, json_response
from router_core.opendsr import opendsr_routes
from router_core.reports import Overview
from router_core.telemetry import prometheus_text


def admin_routes(overview: Overview, token: str | None, folder: Path | None = None) -> Sequence[Route]:
    """The pages. All but the two probes want `Authorization: Bearer <token>`; without a token, this machine.

    With a data folder also OpenDSR's endpoints, whose clients send the token as the password of `Basic` as well.
    """

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
        if token is None:
            return _is_here(request.client)
        given = request.headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        return hmac.compare_digest(given, token.encode())

    def page(answer: Handler, *, is_open: bool = False) -> Handler:
        async def handle(request: Request) -> Response:
            if request.method not in ("GET", "HEAD"):
                raise BadRequest(405, "METHOD_NOT_ALLOWED", "Use GET.", [(b"allow", b"GET, HEAD")])
            if not is_open and not allowed(request):
                if token is None:
                    raise BadRequest(403, "FORBIDDEN", _ONLY_HERE)
                raise BadRequest(
                    401, "UNAUTHORIZED", "Send the admin token as a Bearer token.", [(b"www-authenticate", b"Bearer")]
                )
            return await answer(request)

        return handle

    def allowed_by_password(request: Request) -> bool:
        given = request.headers.get(b"authorization", b"")
        return allowed(request) or (token is not None and hmac.compare_digest(_password(given), token.encode()))

    return [
        *(opendsr_routes(folder, allowed_by_password, has_token=token is not None) if folder is not None else ()),
        Route(path="/livez", handle=page(livez, is_open=True)),
        Route(path="/readyz", handle=page(readyz, is_open=True)),
        Route(path="/metrics", handle=page(metrics)),
        Route(path="/status", handle=page(status)),
    ]


_ONLY_HERE: Final = "Without `admin.token` only this machine may ask. Set it to let others in."


def _is_here(client: str) -> bool:
    """Whether a sender's address is this machine's own loopback."""
    try:
        address = ip_address(client)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _password(authorization: bytes) -> bytes:
    """The password of Basic credentials; empty if there is none."""
    scheme, _, encoded = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return b""
    try:
        return b64decode(encoded.strip(), validate=True).partition(b":")[2]
    except ValueError:
        return b""


def _text(text: str, status: int = 200) -> Response:
    return Response(status, text.encode(), [(b"content-type", b"text/plain; charset=utf-8")])
