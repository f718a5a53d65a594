"""The HTTP server over real sockets: pieces, pipelining, limits, slow and leaving senders, and its end."""

from __future__ import annotations

import asyncio
import gzip
import itertools
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_core import httpconnection
from router_core.components import Route
from router_core.http import BadRequest, Request, Response
from router_core.httpconnection import DISCONNECTED, LARGEST_HEAD

from .wire import Answer, Served, request, serving

LIMIT = 1000


class Seen:
    """What handlers saw, and what the server told of its answers."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: list[int] = []
        self.gate = asyncio.Event()

    async def echo(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(200, request.body, [(b"content-type", b"text/plain")])

    async def nothing(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(202)

    async def slow(self, request: Request) -> Response:
        self.requests.append(request)
        await self.gate.wait()
        return Response(200, request.body)

    async def refuse(self, request: Request) -> Response:
        raise BadRequest(403, "FORBIDDEN", "No.")

    async def fail(self, request: Request) -> Response:
        raise ValueError("a fault of ours")

    def observe(self, source: str, status: int, seconds: float) -> None:
        assert seconds >= 0
        self.answers.append(status)

    @property
    def routes(self) -> list[Route]:
        handlers = {"/": self.echo, "/202": self.nothing, "/slow": self.slow, "/403": self.refuse, "/fail": self.fail}
        return [Route(path=path, handle=handle, largest_body=LIMIT) for path, handle in handlers.items()]


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
async def served(seen: Seen) -> AsyncIterator[Served]:
    async with serving(seen.routes, seen.observe) as server:
        yield server


def sure(answer: Answer | None) -> Answer:
    assert answer is not None
    return answer


def code_of(answer: Answer) -> Any:
    return orjson.loads(answer.body)["errors"][0]["code"]


async def reached(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


# --- a request ---


async def test_a_request_and_its_answer(served: Served, seen: Seen) -> None:
    answer = sure(await served.ask(request(b"hello", path="/?a=%41", headers=[("X-A", "1"), ("x-a", "2")])))
    assert (answer.status, answer.body) == (200, b"hello")
    assert answer.headers == {"content-type": "text/plain", "content-length": "5"}
    (got,) = seen.requests
    assert (got.method, got.path, got.query, got.body, got.client) == ("POST", "/", "a=%41", b"hello", "127.0.0.1")
    assert got.headers[b"x-a"] == b"1, 2"
    assert seen.answers == [200]


WIRE = (
    request(b"one", headers=[("a", "b")])
    + b"POST /?q HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"2\r\ntw\r\n1;x=y\r\no\r\n0\r\nTrailer: t\r\n\r\n"
    + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    + request(gzip.compress(b"three"), headers=[("Content-Encoding", "gzip")])
)


@given(st.lists(st.integers(1, len(WIRE) - 1), max_size=6))
@settings(max_examples=40, deadline=None)
def test_requests_are_the_same_in_whatever_pieces_they_come(cuts: list[int]) -> None:
    places = [0, *sorted(set(cuts)), len(WIRE)]
    pieces = [WIRE[a:b] for a, b in itertools.pairwise(places)]

    async def bodies() -> list[bytes]:
        seen = Seen()
        async with serving(seen.routes) as served, served.connected() as wire:
            await wire.send(*pieces)
            return [sure(await wire.answer()).body for _ in range(4)]

    assert asyncio.run(bodies()) == [b"one", b"two", b"", b"three"]


async def test_an_answer_without_a_body_says_so(served: Served) -> None:
    answer = sure(await served.ask(request(b"x", path="/202")))
    assert (answer.status, answer.headers, answer.body) == (202, {"content-length": "0"}, b"")


async def test_head_is_answered_without_the_body(served: Served) -> None:
    async with served.connected() as wire:
        await wire.send(request(b"12345", method="HEAD") + request(b"next"))
        assert sure(await wire.answer(head_only=True)).headers["content-length"] == "5"
        assert sure(await wire.answer()).body == b"next"


async def test_an_error_of_a_handler_is_its_answer_and_a_fault_is_500(served: Served, seen: Seen) -> None:
    async with served.connected() as wire:
        await wire.send(request(path="/403") + request(path="/fail") + request(path="/no") + request(b"on"))
        answers = [sure(await wire.answer()) for _ in range(4)]
    assert [answer.status for answer in answers] == [403, 500, 404, 200]
    assert [code_of(answer) for answer in answers[:3]] == ["FORBIDDEN", "INTERNAL_ERROR", "NOT_FOUND"]
    assert b"fault of ours" not in answers[1].body
    assert seen.answers == [403, 500, 404, 200]


# --- one connection ---


async def test_pipelined_requests_are_answered_in_order_and_no_more_than_some_are_read(
    served: Served, seen: Seen
) -> None:
    async with served.connected() as wire:
        count = 3000  # more than one read of the socket, so that reading must stop and go on
        await wire.send(request(b"0", path="/slow"))
        writing = asyncio.create_task(wire.send(b"".join(request(b"%d" % at) for at in range(1, count))))
        await reached(lambda: seen.requests)
        await asyncio.sleep(0.05)
        assert len(seen.requests) == 1
        seen.gate.set()
        assert [sure(await wire.answer()).body for _ in range(count)] == [b"%d" % at for at in range(count)]
        await writing


@pytest.mark.parametrize(
    ("head", "stays"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", False),
    ],
)
async def test_a_connection_stays_if_the_sender_wants_it(served: Served, head: bytes, stays: bool) -> None:
    async with served.connected() as wire:
        await wire.send(head)
        answer = sure(await wire.answer())
        assert answer.headers.get("connection") == (None if stays else "close")
        if stays:
            await wire.send(head)
            assert sure(await wire.answer()).status == 200
        else:
            assert await wire.ended()


async def test_what_comes_behind_the_last_request_is_not_read(served: Served, seen: Seen) -> None:
    async with served.connected() as wire:
        await wire.send(request(headers=[("Connection", "close")]) + request(b"late"))
        assert sure(await wire.answer()).status == 200
        assert await wire.ended()
    assert len(seen.requests) == 1


async def test_a_sender_who_closes_its_half_gets_its_answers(served: Served, seen: Seen) -> None:
    async with served.connected() as wire:
        await wire.send(request(b"1", path="/slow") + request(b"2"))
        wire.writer.write_eof()
        await reached(lambda: seen.requests)
        await asyncio.sleep(0.02)
        seen.gate.set()
        answers = [sure(await wire.answer()) for _ in range(2)]
        assert [(answer.body, answer.headers.get("connection")) for answer in answers] == [
            (b"1", None),
            (b"2", "close"),
        ]
        assert await wire.ended()


async def test_a_sender_who_leaves_within_a_request_is_counted(served: Served, seen: Seen) -> None:
    async with served.connected() as wire:
        await wire.send(request(b"{", declared=10))
        await asyncio.sleep(0.02)
    await reached(lambda: seen.answers)
    assert seen.answers == [DISCONNECTED]
    assert seen.requests == []


async def test_a_sender_who_leaves_before_its_answer_does_no_harm(served: Served, seen: Seen) -> None:
    async with served.connected() as wire:
        await wire.send(request(b"1", path="/slow"))
        await reached(lambda: seen.requests)
    seen.gate.set()
    await reached(lambda: not served.server.connections)
    assert sure(await served.ask(request(b"2"))).body == b"2"


async def test_a_sender_waiting_for_100_is_told_to_go_on(served: Served) -> None:
    async with served.connected() as wire:
        await wire.send(request(declared=5, headers=[("Expect", "100-Continue")]))
        assert sure(await wire.answer()).status == 100
        await wire.send(b"hello")
        assert sure(await wire.answer()).body == b"hello"


async def test_a_sender_waiting_for_100_with_too_much_is_refused_at_once(served: Served) -> None:
    assert sure(await served.ask(request(declared=LIMIT + 1, headers=[("Expect", "100-continue")]))).status == 413


@pytest.mark.parametrize("body", [b"", b"hello"])
async def test_a_wish_for_another_protocol_is_passed_over(served: Served, seen: Seen, body: bytes) -> None:
    wish = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQAAP__")]
    async with served.connected() as wire:
        await wire.send(request(body, headers=wish) + request(b"next"))
        assert [sure(await wire.answer()).body for _ in range(2)] == [body, b"next"]
    assert b"host" in seen.requests[0].headers


# --- limits ---


@pytest.mark.parametrize(
    "pieces",
    [
        [request(b"x" * (LIMIT + 1))],
        [request(declared=LIMIT + 1)],
        [b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"64\r\n" + b"x" * 100 + b"\r\n"] * 11],
    ],
    ids=["whole", "declared", "chunked"],
)
async def test_a_larger_body_is_413_and_ends_the_connection(served: Served, seen: Seen, pieces: list[bytes]) -> None:
    async with served.connected() as wire:
        await wire.send(*pieces)
        answer = sure(await wire.answer())
        assert (answer.status, code_of(answer), answer.headers["connection"]) == (413, "REQUEST_TOO_LARGE", "close")
        assert await wire.ended()
    assert seen.requests == []


async def test_the_refusal_reaches_a_sender_who_is_still_sending(served: Served) -> None:
    async with served.connected() as wire:
        await wire.send(request(declared=10_000_000), *[b"x" * 100_000] * 10)
        assert sure(await wire.answer()).status == 413


async def test_a_body_of_just_the_limit_is_taken(served: Served) -> None:
    assert len(sure(await served.ask(request(b"x" * LIMIT))).body) == LIMIT


async def test_an_inflated_body_beyond_the_limit_is_413_and_the_connection_stays(served: Served) -> None:
    async with served.connected() as wire:
        bomb = gzip.compress(bytes(LIMIT + 1))
        await wire.send(request(bomb, headers=[("Content-Encoding", "gzip")]) + request(b"next"))
        assert [sure(await wire.answer()).status for _ in range(2)] == [413, 200]


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n" + b"".join(b"h%d: x\r\n" % at for at in range(300)) + b"\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"x" * (LARGEST_HEAD * 6),
        b"GET /" + b"x" * (LARGEST_HEAD * 6),
    ],
    ids=["many", "long", "long path"],
)
async def test_a_head_without_end_is_431(served: Served, head: bytes) -> None:
    answer = sure(await served.ask(*[head[at : at + 32_768] for at in range(0, len(head), 32_768)]))
    assert (answer.status, code_of(answer)) == (431, "HEADERS_TOO_LARGE")


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        b"GET /caf\xc3\xa9 HTTP/1.1\r\n\r\n",
        b"GET host:80 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_what_is_not_http_is_400_and_ends_the_connection(served: Served, seen: Seen, raw: bytes) -> None:
    async with served.connected() as wire:
        await wire.send(raw)
        answer = sure(await wire.answer())
        assert (answer.status, code_of(answer), answer.headers["connection"]) == (400, "BAD_REQUEST", "close")
        assert await wire.ended()
    assert seen.requests == []


async def test_a_broken_request_behind_good_ones_is_answered_after_them(served: Served) -> None:
    async with served.connected() as wire:
        await wire.send(request(b"1") + request(b"2") + b"nonsense\r\n\r\n")
        assert [sure(await wire.answer()).status for _ in range(3)] == [200, 200, 400]


async def test_it_is_no_proxy(served: Served) -> None:
    assert sure(await served.ask(b"CONNECT host:80 HTTP/1.1\r\nHost: host:80\r\n\r\n")).status == 405


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_no_bytes_do_harm(raw: bytes) -> None:
    async def still_serves() -> int:
        async with serving(Seen().routes) as served:
            async with served.connected() as wire:
                await wire.send(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n" + raw)
                wire.writer.write_eof()
                while await wire.answer():
                    pass
            return sure(await served.ask(request(b"x"))).status

    assert asyncio.run(still_serves()) == 200


# --- time ---


@pytest.mark.parametrize("begun", [request(b"half", declared=100), b"POST / HTTP/1.1\r\nHost:"])
async def test_a_request_that_does_not_come_whole_in_time_is_408(
    served: Served, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpconnection, "REQUEST_WITHIN", 0.05)
    async with served.connected() as wire:
        await wire.send(begun)
        answer = sure(await wire.answer())
        assert (answer.status, code_of(answer), answer.headers["connection"]) == (408, "REQUEST_TIMEOUT", "close")
        assert await wire.ended()


async def test_a_connection_that_nobody_uses_is_closed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpconnection, "KEEP_ALIVE", 0.05)
    async with served.connected() as unused, served.connected() as used:
        await used.send(request(b"x"))
        assert sure(await used.answer()).status == 200
        assert await used.ended()
        assert await unused.ended()


async def test_a_slow_handler_is_not_taken_for_a_slow_sender(
    served: Served, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KEEP_ALIVE", "REQUEST_WITHIN", "_LINGER"):
        monkeypatch.setattr(httpconnection, name, 0.05)
    async with served.connected() as wire:
        await wire.send(request(b"x", path="/slow", headers=[("Connection", "close")]))
        await asyncio.sleep(1.2)  # a sweep comes by
        seen.gate.set()
        assert sure(await wire.answer()).body == b"x"


async def test_a_sender_who_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpconnection, "REQUEST_WITHIN", 0.05)

    async def flood(request: Request) -> Response:
        return Response(200, bytes(50_000_000))

    async with serving([Route(path="/", handle=flood)]) as served, served.connected() as wire:
        await wire.send(request() + request())
        await reached(lambda: served.server.connections)
        await reached(lambda: not served.server.connections)


async def test_a_large_answer_arrives_whole_at_a_slow_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpconnection, "_LINGER", 0.0)

    async def large(request: Request) -> Response:
        return Response(200, bytes(8_000_000))

    async with serving([Route(path="/", handle=large)]) as served, served.connected() as wire:
        await wire.send(request(headers=[("Connection", "close")]))
        await asyncio.sleep(1.2)  # a sweep comes by
        assert len(sure(await wire.answer()).body) == 8_000_000


# --- the end ---


async def stopping(served: Served, within: float = 5.0) -> asyncio.Task[None]:
    task = asyncio.create_task(served.server.stop(within))
    await asyncio.sleep(0.03)
    return task


async def test_at_the_end_requests_under_way_are_answered_and_idle_connections_closed(seen: Seen) -> None:
    async with serving(seen.routes) as served, served.connected() as idle, served.connected() as wire:
        await idle.send(request(b"x"))
        assert sure(await idle.answer()).status == 200
        await wire.send(request(b"1", path="/slow") + request(b"2"))
        await reached(lambda: len(seen.requests) == 2)
        task = await stopping(served)
        assert await idle.ended()
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection("127.0.0.1", served.port)
        seen.gate.set()
        answers = [sure(await wire.answer()) for _ in range(2)]
        assert [(answer.body, answer.headers.get("connection")) for answer in answers] == [
            (b"1", None),
            (b"2", "close"),
        ]
        await task


async def test_at_the_end_a_request_that_is_arriving_may_become_whole(seen: Seen) -> None:
    async with serving(seen.routes) as served, served.connected() as wire:
        await wire.send(request(b"ha", declared=4))
        await reached(lambda: served.server.connections)
        await asyncio.sleep(0.02)
        task = await stopping(served)
        await wire.send(b"lf")
        assert sure(await wire.answer()).body == b"half"
        await task


async def test_at_the_end_nobody_is_waited_for_longer_than_said(seen: Seen) -> None:
    async with serving(seen.routes) as served, served.connected() as wire:
        await wire.send(request(path="/slow"))
        await reached(lambda: seen.requests)
        async with asyncio.timeout(5):
            await served.server.stop(0.05)
        assert await wire.answer() is None


# --- what attackers tried ---


async def test_a_trailer_is_no_header(served: Served, seen: Seen) -> None:
    chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nAuthorization: late\r\n\r\n"
    assert sure(await served.ask(chunked)).body == b"hi"
    assert b"authorization" not in seen.requests[0].headers


@pytest.mark.parametrize(
    "line", [b"a:b\r\n", b"name-%d: value\r\n", b"x"], ids=["same", "different", "one without end"]
)
async def test_trailers_without_end_are_431_and_cost_nothing(served: Served, line: bytes) -> None:
    begun = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"
    flood = b"".join(line % at if b"%d" in line else line for at in range(400_000 // len(line)))
    answer = sure(await served.ask(begun, *[flood[at : at + 65_536] for at in range(0, len(flood), 65_536)]))
    assert answer.status == 431


async def test_a_header_repeated_without_end_is_431(served: Served) -> None:
    assert sure(await served.ask(b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * 50_000 + b"\r\n")).status == 431


async def test_chunks_of_a_few_bytes_are_taken(served: Served) -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"".join(b"3\r\nabc\r\n" for _ in range(LIMIT // 3)) + b"0\r\n\r\n"
    assert len(sure(await served.ask(head + body)).body) == LIMIT // 3 * 3


async def test_heads_that_are_cut_by_reads_do_not_add_up(served: Served) -> None:
    one = request(b"x", headers=[("X-Filler", "y" * 900)])
    count = 1000
    async with served.connected() as wire:
        writing = asyncio.create_task(wire.send(one * count))
        assert {sure(await wire.answer()).status for _ in range(count)} == {200}
        await writing


async def test_waiting_requests_are_inflated_one_by_one(served: Served, seen: Seen) -> None:
    packed = gzip.compress(b" " * LIMIT)
    async with served.connected() as wire:
        await wire.send(request(path="/slow") + request(packed, headers=[("Content-Encoding", "gzip")]) * 5)
        await reached(lambda: seen.requests)
        await asyncio.sleep(0.02)
        (connection,) = served.server.connections
        assert {len(whole.request.body) for whole in connection._waiting} == {len(packed)}
        seen.gate.set()
        assert [len(sure(await wire.answer()).body) for _ in range(6)] == [0, *[LIMIT] * 5]


async def test_many_wishes_for_another_protocol_are_passed_over(served: Served) -> None:
    async with served.connected() as wire:
        one = request(b"x", headers=[("Connection", "Upgrade"), ("Upgrade", "h2c")])
        writing = asyncio.create_task(wire.send(one * 1500))
        assert {sure(await wire.answer()).body for _ in range(1500)} == {b"x"}
        await writing


async def test_a_wish_to_close_outlives_one_for_another_protocol(served: Served) -> None:
    async with served.connected() as wire:
        await wire.send(request(headers=[("Connection", "close, Upgrade"), ("Upgrade", "h2c")]))
        assert sure(await wire.answer()).headers["connection"] == "close"
        assert await wire.ended()


async def test_100_continue_is_not_for_http_1_0(served: Served) -> None:
    answer = await served.ask(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", b"hi")
    assert sure(answer).body == b"hi"


async def test_when_all_places_are_taken_the_longest_idle_goes(seen: Seen) -> None:
    async with (
        serving(seen.routes, most_connections=2) as served,
        served.connected() as first,
        served.connected() as second,
    ):
        for wire in (first, second):
            await wire.send(request(b"x"))
            assert sure(await wire.answer()).status == 200
        assert sure(await served.ask(request(b"third"))).body == b"third"
        assert await first.ended()
        await second.send(request(b"x"))
        assert sure(await second.answer()).status == 200


async def test_when_all_places_are_busy_a_new_sender_is_asked_to_come_again(seen: Seen) -> None:
    async with serving(seen.routes, most_connections=1) as served, served.connected() as busy:
        await busy.send(request(path="/slow"))
        await reached(lambda: seen.requests)
        answer = sure(await served.ask(request(b"x")))
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        seen.gate.set()
        assert sure(await busy.answer()).status == 200
