"""The way out, against real sockets on loopback: every answer that is none becomes `Unavailable`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from router_core.errors import Unavailable
from router_core.listener import bind
from router_core.transport import LARGEST_ANSWER, HttpxTransport

Handler = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A server that hands over each request's head; gives its address."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(await reader.readuntil(b"\r\n\r\n"), reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
async def transport() -> AsyncIterator[HttpxTransport]:
    made = HttpxTransport()
    yield made
    await made.close()


def answering(*parts: bytes, heads: list[bytes] | None = None) -> Handler:
    async def handler(head: bytes, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if heads is not None:
            heads.append(head)
        for part in parts:
            writer.write(part)
            await writer.drain()

    return handler


async def test_an_answer_comes_back_whole_with_lower_case_headers(transport: HttpxTransport) -> None:
    bodies: list[bytes] = []

    async def handler(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append(head + await reader.readexactly(5))
        writer.write(b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno")
        await writer.drain()

    async with serving(handler) as url:
        answer = await transport.request("POST", f"{url}/up?a=b", headers={"X-Key": "k"}, content=b"hello")
    assert (answer.status, answer.headers["retry-after"], answer.content) == (429, "7", b"no")
    assert bodies[0].startswith(b"POST /up?a=b HTTP/1.1\r\n")
    assert bodies[0].endswith(b"\r\n\r\nhello")
    lower = bodies[0].lower()
    for header in (b"x-key: k", b"user-agent: router-core", b"accept-encoding: identity", b"content-length: 5"):
        assert header + b"\r\n" in lower


async def test_a_redirect_is_not_followed(transport: HttpxTransport) -> None:
    heads: list[bytes] = []
    moved = b"HTTP/1.1 307 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    async with serving(answering(moved, heads=heads)) as url:
        answer = await transport.request("POST", url, headers={"authorization": "s"})
    assert (answer.status, answer.headers["location"]) == (307, "/elsewhere")
    assert len(heads) == 1


@pytest.mark.parametrize(
    "parts",
    [
        [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-"],
        [b"SSH-2.0-OpenSSH\r\n"],
        [],
    ],
    ids=["length", "chunked", "head", "not http", "nothing"],
)
async def test_an_answer_that_is_cut_short_is_none(transport: HttpxTransport, parts: list[bytes]) -> None:
    async with serving(answering(*parts)) as url:
        with pytest.raises(Unavailable, match=r"cannot reach 127\.0\.0\.1:\d+: ."):
            await transport.request("GET", url)


async def test_an_answer_of_just_the_limit_is_read(transport: HttpxTransport) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {LARGEST_ANSWER}\r\n\r\n".encode()
    async with serving(answering(head, b"x" * LARGEST_ANSWER)) as url:
        assert len((await transport.request("GET", url)).content) == LARGEST_ANSWER


async def test_a_longer_answer_is_not_read(transport: HttpxTransport) -> None:
    parts = [b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 65536] * 40]
    async with serving(answering(*parts)) as url:
        with pytest.raises(Unavailable, match=f"is longer than {LARGEST_ANSWER} bytes"):
            await transport.request("GET", url)


async def test_a_compressed_answer_is_not_inflated(transport: HttpxTransport) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
    async with serving(answering(head)) as url:
        assert (await transport.request("GET", url)).content == b"abc"


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"], ids=["head", "body"])
async def test_an_answer_that_takes_too_long_is_none(transport: HttpxTransport, part: bytes) -> None:
    gone = asyncio.Event()

    async def handler(_: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(part)
        await reader.read()  # until the other side gives up
        gone.set()

    async with serving(handler) as url:
        with pytest.raises(Unavailable, match=r"no complete answer from 127\.0\.0\.1:\d+ within 0\.05 seconds"):
            await transport.request("GET", url, timeout=0.05)
        await asyncio.wait_for(gone.wait(), 5)


async def test_a_trickle_is_cut_off_too(transport: HttpxTransport) -> None:
    async def handler(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.005)

    async with serving(handler) as url:
        with pytest.raises(Unavailable, match=r"within 0\.1 seconds"):
            await transport.request("GET", url, timeout=0.1)


async def test_a_refused_connection_is_unavailable(transport: HttpxTransport) -> None:
    listening = bind("127.0.0.1", 0, "port")
    port = listening.getsockname()[1]
    listening.close()
    with pytest.raises(Unavailable, match=rf"cannot reach 127\.0\.0\.1:{port}: ."):
        await transport.request("GET", f"http://127.0.0.1:{port}/path?token=hidden")


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/", "no-scheme", "http://", "http://[", "http://xn--a.com", "http://a/\udcff"]
)
async def test_an_address_that_cannot_be_used_is_unavailable(transport: HttpxTransport, url: str) -> None:
    with pytest.raises(Unavailable):
        await transport.request("GET", url)


async def test_a_header_that_cannot_be_sent_is_unavailable_and_not_shown(transport: HttpxTransport) -> None:
    with pytest.raises(Unavailable, match="cannot make a request to localhost: UnicodeEncodeError") as caught:
        await transport.request("GET", "http://localhost", headers={"x-key": "hiddén"})
    assert "xe9" not in str(caught.value)


async def test_errors_show_neither_path_nor_user(transport: HttpxTransport) -> None:
    async with serving(answering()) as url:
        with pytest.raises(Unavailable) as caught:
            await transport.request("GET", url.replace("//", "//user:hidden@") + "/hidden?token=hidden")
    assert "hidden" not in str(caught.value)
