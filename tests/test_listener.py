"""Core's one listener: whose path it is, and a port that is taken."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from router_core.components import AsgiApp, Message, Route
from router_core.errors import ConfigurationError, RouterError
from router_core.http import respond
from router_core.listener import Listener, bind


def saying(text: str) -> AsgiApp:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, 200, text.encode())

    return app


async def asked(listener: Listener, path: str, kind: str = "http") -> tuple[int, bytes]:
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("nobody reads")

    async def send(message: Message) -> None:
        sent.append(message)

    await listener({"type": kind, "path": path, "method": "GET", "headers": []}, receive, send)
    return (sent[0]["status"], sent[1]["body"]) if sent else (0, b"")


LISTENER = Listener(
    [
        Route(path="/v1/", app=saying("short prefix"), prefix=True),
        Route(path="/v1/long/", app=saying("long prefix"), prefix=True),
        Route(path="/v1/long/exact", app=saying("exact")),
        Route(path="/v2/events", app=saying("events")),
    ]
)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/v2/events", b"events"),
        ("/v1/x", b"short prefix"),
        ("/v1/long/x", b"long prefix"),
        ("/v1/long/exact", b"exact"),
        ("/v1/long/exact/", b"long prefix"),
        ("/v1/", b"short prefix"),
    ],
)
async def test_exact_paths_come_first_then_the_longest_prefix(path: str, text: bytes) -> None:
    assert await asked(LISTENER, path) == (200, text)


@pytest.mark.parametrize("path", ["/", "", "/v2/events/", "/v2/Events", "/v2", "/v1"])
async def test_another_path_is_404_in_the_errors_envelope(path: str) -> None:
    status, body = await asked(LISTENER, path)
    assert status == 404
    assert orjson.loads(body) == {"errors": [{"code": "NOT_FOUND", "message": "No input listens on this path."}]}


async def test_what_is_not_http_is_let_go() -> None:
    assert await asked(LISTENER, "/v2/events", "lifespan") == (0, b"")


def test_two_sources_on_one_path_are_refused() -> None:
    route = Route(path="/v2/events", app=saying("x"))
    with pytest.raises(ConfigurationError, match="two sources serve the path /v2/events"):
        Listener([route, route])


def test_a_port_in_use_is_a_sentence_with_the_setting() -> None:
    first = bind("127.0.0.1", 0, "server.port")
    port = first.getsockname()[1]
    with pytest.raises(RouterError) as caught:
        bind("127.0.0.1", port, "server.port")
    first.close()
    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use. "
        "Stop what uses it, or set `server.port` to a free port."
    )
    bind("127.0.0.1", port, "server.port").close()


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("192.0.2.1", 0), ("no.such.host.invalid", 0)])
def test_an_address_that_cannot_be_used_is_a_sentence_too(host: str, port: int) -> None:
    with pytest.raises(RouterError, match=rf"cannot listen on {host}:{port}: ."):
        bind(host, port, "server.host")


def test_the_socket_is_for_asyncio_and_for_a_child() -> None:
    listening = bind("127.0.0.1", 0, "server.port")
    assert not listening.getblocking()
    assert listening.get_inheritable()
    listening.close()
