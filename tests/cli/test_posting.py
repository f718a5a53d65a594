"""Posting: what is asked again, what is given up, and what is counted."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Sequence

import httpx
import pytest

from router_core.cli.batches import Upload
from router_core.cli.posting import ATTEMPTS, LONGEST_WAIT, Poster, Tally, Target, in_bulk
from router_core.errors import RouterError

ONE = Upload(batches=[b"{}"])
Answers = Sequence[httpx.Response | Exception]


class Clock:
    """Notes the waits and does not wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


def scripted(answers: Answers, seen: list[httpx.Request]) -> Callable[[httpx.Request], httpx.Response]:
    """Gives the answers in turn, and the last one for ever."""

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        found = answers[min(len(seen), len(answers)) - 1]
        if isinstance(found, Exception):
            raise found
        return found

    return answer


async def post(
    answers: Answers, uploads: Sequence[Upload] = (ONE,), *, concurrency: int = 1, target: Target | None = None
) -> tuple[Tally, list[float], list[httpx.Request]]:
    seen: list[httpx.Request] = []
    clock = Clock()
    async with httpx.AsyncClient(transport=httpx.MockTransport(scripted(answers, seen))) as client:
        target = target or Target(url="http://router.test", key="k", secret="s")
        tally = await Poster(client, target, clock).post(uploads, concurrency)
    return tally, clock.waits, seen


def refusal(status: int, code: str = "X", message: str = "no", **headers: str) -> httpx.Response:
    return httpx.Response(
        status,
        json={"errors": [{"code": code, "message": message}]},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


OK = httpx.Response(202)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_passing_answer_is_asked_again_after_the_time_it_names(status: int) -> None:
    tally, waits, _ = await post([refusal(status, retry_after="7"), refusal(status, retry_after="9999"), OK])
    assert (tally.accepted, tally.refused, tally.retries, tally.requests) == (1, 0, 2, 3)
    assert waits == [7.0, LONGEST_WAIT]


async def test_without_a_time_the_waits_grow() -> None:
    _, waits, _ = await post([refusal(503), httpx.ReadTimeout("late"), httpx.ConnectError("gone"), OK])
    assert len(waits) == 3
    assert all(0 < wait <= limit for wait, limit in zip(waits, (0.5, 1.0, 2.0), strict=True))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (refusal(400, "BAD_REQUEST", "no name"), "400 BAD_REQUEST: no name"),
        (httpx.Response(413, text="large"), "413 Request Entity Too Large"),
        (httpx.Response(301, headers={"location": "/x"}), "301 Moved Permanently"),
        (httpx.Response(422, json=["odd"]), "422 Unprocessable Entity"),
        (httpx.Response(400, json={"errors": []}), "400 Bad Request"),
        (refusal(503, "FULL", "full"), f"503 FULL: full (after {ATTEMPTS} tries)"),
        (httpx.ReadError("reset"), f"no answer: reset (after {ATTEMPTS} tries)"),
    ],
)
async def test_what_is_refused_is_counted_with_its_reason(answer: httpx.Response | Exception, reason: str) -> None:
    tally, _, _ = await post([answer], [ONE, ONE])
    assert (tally.accepted, tally.refused) == (0, 2)
    assert dict(tally.reasons) == {reason: 2}


@pytest.mark.parametrize("status", [401, 403, 404, 405])
async def test_nothing_more_is_sent_when_nothing_would_be_accepted(status: int) -> None:
    tally, waits, seen = await post([refusal(status)], [ONE] * 5)
    assert (tally.refused, tally.not_sent, len(seen)) == (1, 4, 1)
    assert waits == []


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_a_router_that_is_not_there_is_an_error(concurrency: int) -> None:
    with pytest.raises(RouterError, match="nobody answers at"):
        await post([httpx.ConnectError("refused")], [ONE] * 5, concurrency=concurrency)


async def test_all_are_posted_with_several_at_once() -> None:
    done: list[int] = []
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: OK)) as client:
        poster = Poster(client, Target(url="http://router.test"), Clock(), done.append)
        tally = await poster.post([ONE] * 20, 4)
    assert tally.accepted == 20
    assert sum(done) == 20


async def test_credentials_go_in_the_authorization_header_alone() -> None:
    _, _, seen = await post([OK])
    assert b64decode(seen[0].headers["authorization"].removeprefix("Basic ")) == b"k:s"
    assert "s3cr3t" not in repr(Target(url="http://router.test", key="k", secret="s3cr3t"))


@pytest.mark.parametrize(
    ("upload", "url"),
    [
        (ONE, "http://router.test/base/v2/events"),
        (Upload(batches=[b"{}"], bulk=True), "http://router.test/base/v2/bulkevents"),
        (Upload(batches=[b"{}"], path="/v2/events"), "http://router.test/base/v2/events"),
        (
            Upload(batches=[b"{}"], path="/webevents/v3/JS/us1-old/events"),
            "http://router.test/base/webevents/v3/JS/k/events",
        ),
    ],
)
def test_recorded_requests_go_to_their_path_with_our_key(upload: Upload, url: str) -> None:
    assert Target(url="http://router.test/base/", key="k").url_for(upload) == url


async def test_of_recorded_headers_only_those_that_mean_something_are_sent() -> None:
    headers = {"x-mp-kits": "7", "authorization": "Basic old", "content-length": "9", "content-type": "text/plain"}
    _, _, seen = await post([OK], [Upload(batches=[b"{}"], headers=headers)], target=Target(url="http://router.test"))
    assert seen[0].headers["x-mp-kits"] == "7"
    assert seen[0].headers["content-type"] == "text/plain"
    assert "authorization" not in seen[0].headers
    assert seen[0].headers["content-length"] == "2"


async def test_a_recorded_path_that_is_none_is_refused() -> None:
    tally, _, _ = await post([OK], [Upload(batches=[b"{}"], path="/a\x00b")])
    assert dict(tally.reasons) == {"the recorded path is no path": 1}


def test_bulk_cuts_the_batches_anew() -> None:
    uploads = [ONE, Upload(batches=[b"1", b"2"], bulk=True, path="/x"), ONE]
    assert [upload.body for upload in in_bulk(uploads, 3)] == [b"[{},1,2]", b"[{}]"]
