"""The Events API over a socket: every status, the errors envelope, and who may come in."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
import structlog
from opentelemetry import metrics

from router_core.components import Accepted, SourceContext, SourceInput
from router_core.errors import InvalidBatch, LogFull
from router_core.events import Platform
from router_core.intake import envelope_of
from router_core.sources.events_api import EVENTS_API, LARGEST_REQUEST, MOST_BATCHES, EventsApi
from router_core.store import StateFile
from router_core.telemetry import Telemetry
from router_core.testing import FakeClock, event_batch

from .wire import Answer, request, serving

GOOD = event_batch()


def basic(pair: str) -> str:
    return f"Basic {b64encode(pair.encode()).decode()}"


AUTHORIZED = basic("key:secret")


def errors_in(answer: Answer) -> list[dict[str, str]]:
    """The errors of mParticle's envelope."""
    assert answer.headers["content-type"] == "application/json"
    document = json.loads(answer.body)
    assert list(document) == ["errors"]
    errors: list[dict[str, str]] = document["errors"]
    return errors


@dataclass
class FakeIntake:
    """Checks shapes as the real one does, and keeps what it was given."""

    fails: Exception | None = None
    taken: list[tuple[str, list[bytes], Mapping[str, str] | None]] = field(default_factory=list)

    async def accept(
        self,
        input: SourceInput,
        bodies: Sequence[bytes],
        *,
        headers: Mapping[str, str] | None = None,
        request_ids: Sequence[str] | None = None,
    ) -> Sequence[Accepted]:
        if self.fails is not None:
            raise self.fails
        self.taken.append((input.name, list(bodies), headers))
        return [self._accepted(body) for body in bodies]

    def _accepted(self, body: bytes) -> Accepted:
        try:
            envelope_of(body)
        except InvalidBatch as error:
            return Accepted(error=error)
        return Accepted(duplicate=body == b'{"source_request_id":"twice"}')


class Api:
    """The source with three inputs: `shop`, `app` (a secret with a colon), and `slow` with a rate."""

    def __init__(self, state: StateFile) -> None:
        self.clock = FakeClock()
        self.answers: Counter[int] = Counter()
        self.intake = FakeIntake()
        lines = structlog.testing.LogCapture()
        self.lines = lines.entries

        def source_input(name: str, key: str, secret: str, rate: int | None = None) -> SourceInput:
            return SourceInput(
                name=name, platform=Platform.DATA_FEEDS, key=key, secret=secret, settings=None,
                max_batches_per_second=rate,
            )  # fmt: skip

        inputs = [
            source_input("shop", "key", "secret"),
            source_input("app", "key2", "se:c:réτ"),
            source_input("slow", "key3", "secret", rate=2),
        ]
        source = EventsApi(
            SourceContext(
                name="events_api",
                settings=None,
                clock=self.clock,
                log=structlog.wrap_logger(None, processors=[lines]),
                meter=metrics.get_meter("test"),
                telemetry=Telemetry(),
                store=state.namespace("source", "events_api"),
                inputs={item.name: item for item in inputs},
            )
        )
        self.routes = source.routes(self.intake)

    def observe(self, source: str, status: int, seconds: float) -> None:
        assert source == "test"
        self.answers[status] += 1

    async def send(
        self,
        body: bytes | Sequence[bytes] = GOOD,
        *,
        path: str = "/v2/events",
        method: str = "POST",
        authorization: str | None = AUTHORIZED,
        declared: int | None = None,
        **headers: str,
    ) -> Answer:
        pieces = [body] if isinstance(body, bytes) else list(body)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if authorization is not None:
            given["authorization"] = authorization
        size = sum(map(len, pieces)) if declared is None else declared
        head = request(path=path, method=method, headers=[*given.items()], declared=size)
        async with serving(self.routes, self.observe) as served:
            answer = await served.ask(head, *pieces)
        assert answer is not None
        return answer

    async def bulk(self, body: bytes, **more: Any) -> Answer:
        return await self.send(body, path="/v2/bulkevents", **more)


@pytest.fixture
def api(tmp_path: Any) -> Api:
    return Api(StateFile(tmp_path / "state.db"))


# --- 202 ---


async def test_a_good_batch_is_acknowledged_without_a_body(api: Api) -> None:
    answer = await api.send(GOOD)
    assert (answer.status, answer.body, answer.headers) == (202, b"", {"content-length": "0"})
    assert api.intake.taken == [("shop", [GOOD], None)]
    assert api.answers == {202: 1}


async def test_a_duplicate_is_acknowledged_like_the_first(api: Api) -> None:
    assert (await api.send(b'{"source_request_id":"twice"}')).status == 202


async def test_a_body_in_pieces_is_put_together(api: Api) -> None:
    assert (await api.send([GOOD[:5], b"", GOOD[5:9], GOOD[9:]])).status == 202
    assert api.intake.taken == [("shop", [GOOD], None)]


async def test_a_bulk_request_is_handed_over_batch_by_batch_as_it_came(api: Api) -> None:
    answer = await api.bulk(b' [ {"events": [ ]} ,{"mpid":1}, 5 ] ')
    assert answer.status == 202
    assert api.intake.taken[0][1] == [b'{"events": [ ]}', b'{"mpid":1}', b"5"]


async def test_kept_headers_go_with_the_batch_and_others_do_not(api: Api) -> None:
    await api.send(GOOD, traceparent="00-1", x_mp_kits="128", user_agent="u", x_mp_bundled_kits="1é")
    assert api.intake.taken[0][2] == {"traceparent": "00-1", "x-mp-kits": "128", "x-mp-bundled-kits": "1é"}


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
async def test_gzip_is_inflated(api: Api, encoding: str) -> None:
    assert (await api.send(gzip.compress(GOOD), content_encoding=encoding)).status == 202
    assert api.intake.taken[0][1] == [GOOD]


async def test_identity_is_no_encoding(api: Api) -> None:
    assert (await api.send(GOOD, content_encoding="identity")).status == 202


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
@pytest.mark.parametrize(("pair", "source"), [("key:secret", "shop"), ("key2:se:c:réτ", "app")])
async def test_an_input_is_found_by_its_key_and_secret(api: Api, scheme: str, pair: str, source: str) -> None:
    authorization = basic(pair).replace("Basic", scheme)
    assert (await api.send(GOOD, authorization=authorization)).status == 202
    assert api.intake.taken[0][0] == source


# --- 401 and 403 ---


@pytest.mark.parametrize(
    "authorization",
    [
        None, "", "Basic", "Basic ", "Bearer token", basic("no-colon"), "Basic not*base64", "Basic a2V5OnNlY3JldA",
        f"Digest {AUTHORIZED.partition(' ')[2]}", "Basic /w==", "key:secret", "Basic \xe9\xe9\xe9\xe9",
    ],
)  # fmt: skip
async def test_a_header_that_is_missing_or_unreadable_is_401(api: Api, authorization: str | None) -> None:
    answer = await api.send(GOOD, authorization=authorization)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="events"'
    assert [error["code"] for error in errors_in(answer)] == ["UNAUTHORIZED"]
    assert api.intake.taken == []


@pytest.mark.parametrize(
    "pair", ["key:wrong", "key:", ":secret", ":", "wrong:secret", "key:secret2", "Key:secret", "key2:se", "key: secret"]
)
async def test_a_pair_that_nobody_knows_is_403(api: Api, pair: str) -> None:
    answer = await api.send(GOOD, authorization=basic(pair))
    assert answer.status == 403
    assert errors_in(answer) == [{"code": "FORBIDDEN", "message": "No input has this key and secret."}]
    assert api.intake.taken == []


# --- the other refusals ---


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "OPTIONS", "DELETE"])
@pytest.mark.parametrize("path", ["/v2/events", "/v2/bulkevents"])
async def test_another_method_is_405(api: Api, method: str, path: str) -> None:
    answer = await api.send(b"", method=method, path=path)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Not valid JSON"),
        (b"[]", "A batch must be a JSON object. (at $)"),
        (b'{"events":[{}]}', 'Required event field "event_type" is missing or empty. (at $.events[0].event_type)'),
        (b'{"a":1,"a":1}', 'An object has the same name twice. (at "a")'),
    ],
)
async def test_a_bad_batch_is_400_with_its_place(api: Api, body: bytes, message: str) -> None:
    answer = await api.send(body)
    assert answer.status == 400
    (error,) = errors_in(answer)
    assert error["code"] == "BAD_REQUEST"
    assert error["message"].startswith(message)
    assert api.answers == {400: 1}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{}", "A bulk request must be a JSON list of batches"),
        (b"", "A bulk request must be a JSON list of batches"),
        (b"[{}", "A bulk request must be a JSON list of batches"),
        (b"[{}] x", "A bulk request must be a JSON list of batches"),
        (b"[" * 100_000, "A bulk request must be a JSON list of batches"),
        (b"[]", "A bulk request must hold at least one batch."),
        (b"[" + b",".join([b"{}"] * (MOST_BATCHES + 1)) + b"]",
         f"A bulk request may hold {MOST_BATCHES} batches; this one holds {MOST_BATCHES + 1}."),
    ],
)  # fmt: skip
async def test_a_bulk_request_of_the_wrong_shape_is_400(api: Api, body: bytes, message: str) -> None:
    answer = await api.bulk(body)
    assert answer.status == 400
    assert errors_in(answer)[0]["message"].startswith(message)
    assert api.intake.taken == []


async def test_as_many_batches_as_the_limit_says_are_taken(api: Api) -> None:
    assert (await api.bulk(orjson.dumps([{}] * MOST_BATCHES))).status == 202


async def test_a_bulk_request_with_good_parts_is_taken_and_the_bad_ones_are_logged_by_position(api: Api) -> None:
    answer = await api.bulk(b'[{},{"events":[{}]},{},7]')
    assert answer.status == 202
    assert [(line["event"], line["input"], line["position"], line["place"]) for line in api.lines] == [
        ("bad_batch", "shop", 1, "$.events[0].event_type"),
        ("bad_batch", "shop", 3, "$"),
    ]


async def test_a_bulk_request_that_is_all_bad_is_400_with_each_position(api: Api) -> None:
    answer = await api.bulk(b'[{"events":[{}]},7]')
    assert answer.status == 400
    assert errors_in(answer)[0]["message"] == (
        'Required event field "event_type" is missing or empty. (at $[0].events[0].event_type); '
        "A batch must be a JSON object. (at $[1])"
    )


def padded(size: int) -> bytes:
    return b'{"mpid":"' + b"m" * (size - 11) + b'"}'


async def test_a_request_of_just_the_limit_is_taken(api: Api) -> None:
    assert (await api.send(padded(LARGEST_REQUEST))).status == 202


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (padded(LARGEST_REQUEST + 1), {}),
        (b"{}", {"declared": LARGEST_REQUEST + 1}),
        ([b" " * 100_000] * 3, {}),
        (gzip.compress(padded(LARGEST_REQUEST + 1)), {"content_encoding": "gzip"}),
        (gzip.compress(b" " * 50_000_000), {"content_encoding": "gzip"}),
    ],
    ids=["whole", "declared", "in pieces", "inflated", "bomb"],
)
async def test_a_larger_request_is_413(api: Api, body: Any, headers: dict[str, Any]) -> None:
    answer = await api.send(body, **headers)
    assert answer.status == 413
    assert errors_in(answer)[0]["code"] == "REQUEST_TOO_LARGE"
    assert api.intake.taken == []


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd"])
async def test_another_encoding_is_415(api: Api, encoding: str) -> None:
    assert (await api.send(GOOD, content_encoding=encoding)).status == 415


@pytest.mark.parametrize(
    "body",
    [b"", GOOD, gzip.compress(GOOD)[:-4], gzip.compress(GOOD) + b"x", gzip.compress(GOOD) * 2,
     gzip.compress(GOOD)[:-8] + b"\0" * 8],
    ids=["empty", "plain", "cut", "text behind", "two members", "wrong checksum"],
)  # fmt: skip
async def test_bad_gzip_is_400(api: Api, body: bytes) -> None:
    answer = await api.send(body, content_encoding="gzip")
    assert answer.status == 400
    assert "gzip" in errors_in(answer)[0]["message"]


async def test_beyond_the_rate_it_is_429_with_the_time_to_come_again(api: Api) -> None:
    slow = basic("key3:secret")
    assert [(await api.send(GOOD, authorization=slow)).status for _ in range(3)] == [202, 202, 429]
    answer = await api.send(GOOD, authorization=slow)
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["x-mp-rate-limit-exceeded"] == "feed"
    assert errors_in(answer)[0]["code"] == "TOO_MANY_REQUESTS"
    assert (await api.send(GOOD)).status == 202, "another input has its own rate"
    api.clock.advance(1.0)
    assert (await api.send(GOOD, authorization=slow)).status == 202


async def test_a_large_bulk_request_leaves_a_debt(api: Api) -> None:
    slow = basic("key3:secret")
    assert (await api.bulk(orjson.dumps([{}] * 10), authorization=slow)).status == 202
    api.clock.advance(3.0)
    assert (await api.send(GOOD, authorization=slow)).status == 429
    api.clock.advance(2.0)
    assert (await api.send(GOOD, authorization=slow)).status == 202


async def test_without_room_it_is_503_with_a_time(api: Api) -> None:
    api.intake.fails = LogFull("the event log is full")
    answer = await api.send(GOOD)
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert errors_in(answer) == [
        {"code": "SERVICE_UNAVAILABLE", "message": "Nothing was kept: the event log is full. Send it again later."}
    ]


def test_an_input_of_it_needs_key_and_secret() -> None:
    assert EVENTS_API.needs_key
    assert EVENTS_API.needs_secret
    assert EVENTS_API.channel == "server_to_server"
