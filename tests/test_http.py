"""A request body within its limits, and the errors envelope."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Sequence

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_core.components import Message
from router_core.http import (
    BODY_WITHIN,
    BadRequest,
    Disconnected,
    Receive,
    errors_envelope,
    read_body,
    respond_error,
)
from router_core.testing import in_virtual_time, run_in_virtual_time


def receiving(*chunks: bytes | None, pause: float = 0.0) -> Receive:
    """What uvicorn hands over: the chunks, or for None the end of the connection."""
    messages: list[Message] = [
        {"type": "http.disconnect"}
        if chunk is None
        else {"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1}
        for index, chunk in enumerate(chunks)
    ]

    async def receive() -> Message:
        if pause:
            await asyncio.sleep(pause)
        return messages.pop(0)

    return receive


def refusal(*chunks: bytes | None, limit: int = 10, encoding: bytes = b"", declared: int | None = None) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        run_in_virtual_time(read_body(receiving(*chunks), limit, encoding, declared))
    return caught.value


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=5))
def test_a_body_is_the_same_in_whatever_pieces_it_comes(chunks: list[bytes]) -> None:
    assert run_in_virtual_time(read_body(receiving(*chunks), 100)) == b"".join(chunks)


@pytest.mark.parametrize("chunks", [[b"x" * 11], [b"x" * 6, b"x" * 5], [b"x" * 10, b"", b"x", b"y"]])
def test_a_body_beyond_the_limit_is_413_and_ends_the_connection(chunks: Sequence[bytes]) -> None:
    error = refusal(*chunks)
    assert (error.status, error.code, list(error.headers)) == (413, "REQUEST_TOO_LARGE", [(b"connection", b"close")])


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_read() -> None:
    assert refusal(declared=11).status == 413


@in_virtual_time
async def test_a_body_that_drips_in_is_given_up_after_half_a_minute() -> None:
    started = asyncio.get_running_loop().time()
    with pytest.raises(BadRequest) as caught:
        await read_body(receiving(*[b"x"] * 100, pause=1.0), 1000)
    assert (caught.value.status, caught.value.code) == (408, "REQUEST_TIMEOUT")
    assert asyncio.get_running_loop().time() - started <= BODY_WITHIN + 1.0


@pytest.mark.parametrize("chunks", [[None], [b"half", None]])
def test_a_sender_that_goes_away_is_no_error(chunks: Sequence[bytes | None]) -> None:
    with pytest.raises(Disconnected):
        run_in_virtual_time(read_body(receiving(*chunks), 100))


@pytest.mark.parametrize("encoding", [b"gzip", b"x-gzip"])
@given(st.binary(max_size=64))
def test_gzip_is_inflated(encoding: bytes, plain: bytes) -> None:
    assert run_in_virtual_time(read_body(receiving(gzip.compress(plain)), 100, encoding)) == plain


@pytest.mark.parametrize("encoding", [b"br", b"deflate", b"gzip, gzip", b"zstd"])
def test_another_encoding_is_415(encoding: bytes) -> None:
    assert refusal(b"x", encoding=encoding).status == 415


def test_a_gzip_bomb_is_413_without_being_inflated() -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    assert refusal(bomb, limit=20_000, encoding=b"gzip").status == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"plain",
        gzip.compress(b"cut")[:-3],
        gzip.compress(b"a") + b"behind",
        gzip.compress(b"a") * 2,
        zlib.compress(b"a"),
    ],
    ids=["empty", "no gzip", "cut", "something behind", "two members", "zlib"],
)
def test_a_broken_gzip_body_is_400(body: bytes) -> None:
    assert refusal(body, limit=1000, encoding=b"gzip").status == 400


def test_the_errors_envelope_is_mparticles() -> None:
    assert orjson.loads(errors_envelope(("BAD_REQUEST", "No."), ("B", "2"))) == {
        "errors": [{"code": "BAD_REQUEST", "message": "No."}, {"code": "B", "message": "2"}]
    }


async def test_an_error_is_answered_with_its_status_headers_and_envelope() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await respond_error(send, BadRequest(429, "TOO_MANY", "Later.", [(b"retry-after", b"3")]))
    start, body = sent
    headers = dict(start["headers"])
    assert start["status"] == 429
    assert headers[b"retry-after"] == b"3"
    assert headers[b"content-type"] == b"application/json"
    assert int(headers[b"content-length"]) == len(body["body"])
    assert body["body"] == errors_envelope(("TOO_MANY", "Later."))
