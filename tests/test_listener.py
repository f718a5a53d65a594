"""Core's one listener: whose path it is, and a port that is taken."""

from __future__ import annotations

import pytest

from router_core.components import Route
from router_core.errors import ConfigurationError, RouterError
from router_core.http import BadRequest, Handler, Request, Response
from router_core.listener import Listener, bind


def saying(text: str) -> Handler:
    async def handle(request: Request) -> Response:
        return Response(200, text.encode())

    return handle


async def asked(listener: Listener, url: str) -> bytes:
    target = listener.target(url.encode())
    return (await target.found.route.handle(Request("GET", target.path))).body


LISTENER = Listener(
    [
        ("web", Route(path="/v1/", handle=saying("short prefix"), prefix=True)),
        ("web", Route(path="/v1/long/", handle=saying("long prefix"), prefix=True)),
        ("web", Route(path="/v1/long/exact", handle=saying("exact"))),
        ("api", Route(path="/v2/events", handle=saying("events"))),
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
    assert await asked(LISTENER, path) == text
    assert await asked(LISTENER, f"{path}?a=b") == text
    assert await asked(LISTENER, f"http://any.host{path}") == text


@pytest.mark.parametrize("path", ["/", "/v2/events/", "/v2/Events", "/v2", "/v1", "*"])
async def test_another_path_is_404(path: str) -> None:
    assert LISTENER.target(path.encode()).found.owner == "unknown"
    with pytest.raises(BadRequest) as caught:
        await asked(LISTENER, path)
    assert (caught.value.status, caught.value.code) == (404, "NOT_FOUND")


@pytest.mark.parametrize("url", [b"", b"host:443", b"/caf\xc3\xa9", b"/a b", b"/%ff"])
def test_what_is_no_path_is_400(url: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        LISTENER.target(url)
    assert caught.value.status == 400


def test_path_and_query_are_taken_apart_and_the_path_decoded() -> None:
    target = LISTENER.target(b"/v1/caf%C3%A9/%2e?x=%41&y")
    assert (target.path, target.query, target.found.owner) == ("/v1/café/.", "x=%41&y", "web")
    assert LISTENER.target(b"/v2/%65vents").found.owner == "api"


def test_two_sources_on_one_path_are_refused() -> None:
    route = Route(path="/v2/events", handle=saying("x"))
    with pytest.raises(ConfigurationError, match="two sources serve the path /v2/events"):
        Listener([("one", route), ("two", route)])


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
