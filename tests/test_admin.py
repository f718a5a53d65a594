"""The admin pages: two probes for everybody, the rest behind the token."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from router_core.admin import admin_routes
from router_core.connection import ConnectionStatus
from router_core.http import BadRequest, Request
from router_core.listener import Listener
from router_core.log.port import ConnectionStats, LogStats
from router_core.reports import Overview, Report
from router_core.telemetry import Sample


def overview(*, full: bool = False, state: str = "ok", last_error: str = "") -> Overview:
    made = Overview({"shop_to_a": ("shop", "a")})
    made.take(
        Report(
            role="router", pid=17, at=9e9, samples=[Sample("log_bytes", {}, 5.0)],
            log=LogStats(head=3, bytes=100, full=full, damaged=0, connections={
                "shop_to_a": ConnectionStats(depth=7, oldest_ms=None, held=2, letters=1),
            }),
            connections={
                "shop_to_a": ConnectionStatus(state=state, last_error=last_error, last_error_at=None, delivered=3)
            },
        )
    )  # fmt: skip
    return made


async def get(path: str, *, of: Overview | None = None, token: str | None = None, given: str | None = None,
              method: str = "GET", client: str = "127.0.0.1") -> httpx.Response:  # fmt: skip
    listener = Listener(("admin", route) for route in admin_routes(of or overview(), token))
    headers = {} if given is None else {b"authorization": given.encode()}
    target = listener.target(path.encode())
    try:
        answer = await target.found.route.handle(Request(method, target.path, target.query, headers, client=client))
    except BadRequest as error:
        answer = error.response
    named = [(name.decode(), value.decode()) for name, value in answer.headers]
    return httpx.Response(answer.status, headers=named, content=answer.body)


@pytest.mark.parametrize("token", [None, "t0ken"])
async def test_the_probes_are_open_to_everybody(token: str | None) -> None:
    for path in ("/livez", "/readyz"):
        answer = await get(path, token=token)
        assert (answer.status_code, answer.text) == (200, "ok\n")


async def test_it_lives_while_it_is_not_ready() -> None:
    for of in (overview(full=True), Overview({})):
        assert (await get("/livez", of=of)).status_code == 200
        answer = await get("/readyz", of=of)
        assert (answer.status_code, answer.text) == (503, "not ready\n")


async def test_verbose_tells_each_check_and_connection() -> None:
    answer = await get("/readyz?verbose", of=overview(state="paused", last_error="bad passcode"))
    assert answer.status_code == 200
    assert answer.text.splitlines() == [
        "[+] router: running", "[+] log: has room", "[!] connection shop_to_a: paused: bad passcode", "ready",
    ]  # fmt: skip
    answer = await get("/readyz?verbose", of=overview(full=True))
    assert answer.status_code == 503
    assert "[-] log: full: deliveries are behind, or the disk is" in answer.text.splitlines()
    assert answer.text.endswith("not ready\n")


async def test_verbose_is_short_without_the_token() -> None:
    assert (await get("/readyz?verbose", token="t0ken")).text == "ok\n"
    assert "shop_to_a" in (await get("/readyz?verbose", token="t0ken", given="Bearer t0ken")).text


@pytest.mark.parametrize("path", ["/metrics", "/status"])
@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer wrong", "Bearer t0ken2", "Basic t0ken", "Bearer é"])
async def test_metrics_and_status_want_the_token(path: str, given: str | None) -> None:
    answer = await get(path, token="t0ken", given=given)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["errors"][0]["code"] == "UNAUTHORIZED"
    assert (await get(path, token="t0ken", given="Bearer t0ken")).status_code == 200


async def test_metrics_are_in_prometheus_form() -> None:
    answer = await get("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert families["router_log_bytes"].samples[0].value == 5.0
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_status_is_json() -> None:
    answer = await get("/status")
    assert answer.json()["connections"][0]["name"] == "shop_to_a"


@pytest.mark.parametrize(("method", "path", "code"), [("POST", "/livez", 405), ("GET", "/", 404)])
async def test_nothing_else_is_there(method: str, path: str, code: int) -> None:
    assert (await get(path, method=method)).status_code == code


@pytest.mark.parametrize("path", ["/status", "/metrics"])
@pytest.mark.parametrize(("client", "status"), [("127.0.0.1", 200), ("::1", 200), ("::ffff:127.0.0.1", 200),
                                                ("192.0.2.7", 403), ("::ffff:192.0.2.7", 403), ("", 403)])  # fmt: skip
async def test_without_a_token_only_this_machine_may_ask(path: str, client: str, status: int) -> None:
    answer = await get(path, client=client)
    assert answer.status_code == status
    if status == 403:
        assert "`admin.token`" in answer.json()["errors"][0]["message"]
        assert (await get("/livez", client=client)).status_code == 200
        assert (await get("/readyz?verbose", client=client)).text == "ok\n"
