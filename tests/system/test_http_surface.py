"""What the Events API answers, over real sockets: every status on purpose, never a 5xx for something that was sent."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import socket
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from router_clevertap.sandbox import SandboxServer

from .configurations import SERVER_INPUT, to_clevertap, with_archive
from .daemon import BASIC, Daemon, SlowBody, batch, running, until

LIMIT = 256 * 1024
GOOD = json.dumps(batch("Hello")).encode()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, _sandbox_process: SandboxServer) -> Iterator[Daemon]:
    """One router for the whole file: two inputs with their own keys, a third with a rate limit."""
    folder = tmp_path_factory.mktemp("surface")
    config = with_archive(to_clevertap(_sandbox_process.url), folder / "archive")
    config["inputs"] = {
        "server": SERVER_INPUT,
        "other": {**SERVER_INPUT, "key": "other", "secret": "other-secret"},
        "slow": {**SERVER_INPUT, "key": "slow", "max_batches_per_second": 1},
    }
    with running(Daemon(folder, config)) as started:
        yield started


@pytest.fixture(autouse=True)
def _begin_early(slow_body: SlowBody) -> None:
    """Half a minute that passes while other tests run; see `test_timeouts.py`."""


def raw(daemon: Daemon, request: bytes) -> bytes:
    """The answer to bytes on a socket, up to the end of its head at least."""
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=10) as connection:
        try:
            connection.sendall(request)
            answer = b""
            while b"\r\n\r\n" not in answer and (chunk := connection.recv(65536)):
                answer += chunk
        except (ConnectionResetError, BrokenPipeError):
            pass
        return answer


def error_of(answer: httpx.Response, status: int) -> str:
    """The message of an errors envelope, with the status checked."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    envelope = answer.json()
    assert list(envelope) == ["errors"]
    for error in envelope["errors"]:
        assert error["code"].isupper()
        assert error["message"]
    message: str = envelope["errors"][0]["message"]
    return message


def padded(size: int) -> bytes:
    """A good batch of exactly this many bytes."""
    body = json.dumps({**batch("Padded"), "padding": ""}).encode()
    return body.replace(b'"padding": ""', b'"padding": "' + b"x" * (size - len(body)) + b'"')


# --- who is there -----------------------------------------------------------------------------------------------------


def test_a_good_batch_is_answered_with_202_and_no_body(daemon: Daemon) -> None:
    answer = daemon.post(GOOD)
    assert (answer.status_code, answer.content) == (202, b"")
    assert daemon.stored()[-1] == GOOD


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Basic",
        "Basic !!!",
        "Basic " + b64encode(b"no colon").decode(),
        "Basic " + b64encode(b"\xff:\xff").decode(),
        "Bearer " + b64encode(b"key:secret").decode(),
        "key:secret",
        "Basic Og== trailing",
    ],
)
def test_credentials_that_are_missing_or_unreadable_are_401(daemon: Daemon, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    answer = daemon.post(GOOD, auth=None, **headers)
    error_of(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize(
    ("key", "secret"),
    [("key", "wrong"), ("key", ""), ("", ""), ("nobody", "secret"), ("", "secret"), ("key", "secret "),
     ("key", "other-secret"), ("other", "secret"), ("KEY", "secret"), ("key", "secret" * 1000), ("key", "sécret"),
     ("key:secret", ""), ("nobody", "\0 no secret is like this")],
)  # fmt: skip
def test_a_pair_that_nobody_has_is_403(daemon: Daemon, key: str, secret: str) -> None:
    pair = b64encode(f"{key}:{secret}".encode()).decode()
    answer = daemon.post(GOOD, auth=None, authorization=f"Basic {pair}")
    assert "secret" in error_of(answer, 403)


def test_an_unknown_key_takes_no_less_time_than_a_wrong_secret(daemon: Daemon) -> None:
    def seconds(key: str) -> float:
        started = time.perf_counter()
        for _ in range(100):
            assert daemon.post(b"", auth=(key, "wrong")).status_code == 403
        return time.perf_counter() - started

    known, unknown = (min(seconds(key) for _ in range(3)) for key in ("key", "nobody"))
    assert 0.5 < known / unknown < 2


def test_several_inputs_are_told_apart_by_their_keys(daemon: Daemon) -> None:
    before = daemon.metric("router_accepted_batches_total", input="other")
    assert daemon.post(GOOD, auth=("other", "other-secret")).status_code == 202
    daemon.metric_reaches("router_accepted_batches_total", before + 1, input="other")


def test_a_scheme_in_any_case_is_taken(daemon: Daemon) -> None:
    assert daemon.post(GOOD, auth=None, authorization=BASIC.decode().replace("Basic", "bAsIc")).status_code == 202


# --- where and how ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/v2", "/v2/", "/v2/events/", "/v2/event", "/v2/events/x", "/v1/events", "/V2/events", "/v2//events"),
        *("/v2/../v2/events", "/status", "/metrics"),
    ],
)
def test_a_path_that_nobody_serves_is_404(daemon: Daemon, path: str) -> None:
    request = b"POST %b HTTP/1.1\r\nHost: x\r\nAuthorization: %b\r\nContent-Length: 2\r\n\r\n{}" % (
        path.encode(),
        BASIC,
    )
    assert raw(daemon, request).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", ["/v2/events", "/v2/bulkevents"])
def test_a_method_other_than_post_is_405(daemon: Daemon, method: str, path: str) -> None:
    answer = daemon.client.request(method, path, auth=("key", "secret"))
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    if method != "HEAD":
        error_of(answer, 405)


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", "gzip,identity", "x", "\u00e9"])
def test_an_encoding_other_than_gzip_is_415(daemon: Daemon, encoding: str) -> None:
    headers = [(b"content-encoding", encoding.encode("latin-1"))]
    answer = daemon.client.post("/v2/events", content=GOOD, auth=("key", "secret"), headers=headers)
    error_of(answer, 415)


@pytest.mark.parametrize("kind", ["text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "", "nonsense"])
def test_the_content_type_does_not_matter(daemon: Daemon, kind: str) -> None:
    assert daemon.post(GOOD, content_type=kind).status_code == 202


def test_a_chunked_body_is_taken(daemon: Daemon) -> None:
    pieces = [GOOD[start : start + 7] for start in range(0, len(GOOD), 7)]
    answer = daemon.client.post("/v2/events", content=iter(pieces), auth=("key", "secret"))
    assert answer.status_code == 202
    assert daemon.stored()[-1] == GOOD


def test_the_rate_of_one_input_is_limited_with_429_and_the_others_are_not(daemon: Daemon) -> None:
    answers = [daemon.post(GOOD, auth=("slow", "secret")) for _ in range(10)]
    assert answers[0].status_code == 202
    limited = [answer for answer in answers if answer.status_code != 202]
    for answer in limited:
        error_of(answer, 429)
        assert 1 <= int(answer.headers["retry-after"]) <= 10
        assert answer.headers["x-mp-rate-limit-exceeded"] == "feed"
    assert len(limited) >= 7
    assert daemon.post(GOOD).status_code == 202


def test_a_sender_that_waits_as_told_by_429_is_taken_again(daemon: Daemon) -> None:
    until("a 429", lambda: daemon.post(GOOD, auth=("slow", "secret")).status_code == 429)
    wait = int(daemon.post(GOOD, auth=("slow", "secret")).headers["retry-after"])
    time.sleep(wait)
    assert daemon.post(GOOD, auth=("slow", "secret")).status_code == 202


# --- how large --------------------------------------------------------------------------------------------------------


def test_256_kb_exactly_are_taken_and_one_byte_more_is_413(daemon: Daemon) -> None:
    assert len(padded(LIMIT)) == LIMIT
    assert daemon.post(padded(LIMIT)).status_code == 202
    error_of(daemon.post(padded(LIMIT + 1)), 413)


def test_the_limit_holds_for_chunked_bodies(daemon: Daemon) -> None:
    def pieces(body: bytes) -> Iterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    assert daemon.client.post("/v2/events", content=pieces(padded(LIMIT)), auth=("key", "secret")).status_code == 202
    error_of(daemon.client.post("/v2/events", content=pieces(padded(LIMIT + 1)), auth=("key", "secret")), 413)


def test_a_body_that_says_it_is_huge_is_refused_before_it_is_sent(daemon: Daemon) -> None:
    request = b"POST /v2/events HTTP/1.1\r\nHost: x\r\nAuthorization: %b\r\nContent-Length: 10000000000\r\n\r\n" % BASIC
    started = time.monotonic()
    assert raw(daemon, request).startswith(b"HTTP/1.1 413 ")
    assert time.monotonic() - started < 1


def test_gzip_is_inflated_and_the_limit_counts_after_inflation(daemon: Daemon) -> None:
    assert daemon.post(gzip.compress(GOOD), content_encoding="gzip").status_code == 202
    assert daemon.stored()[-1] == GOOD
    assert daemon.post(gzip.compress(padded(LIMIT)), content_encoding="GZIP").status_code == 202
    error_of(daemon.post(gzip.compress(padded(LIMIT + 1)), content_encoding="gzip"), 413)


def test_a_gzip_bomb_is_413_at_once_and_takes_no_memory(daemon: Daemon) -> None:
    bomb = gzip.compress(b"[" + b" " * 100_000_000 + b"]")
    assert len(bomb) < 110_000
    daemon.post(bomb, content_encoding="gzip")
    before = daemon.resident_kb("ingest")
    for _ in range(20):
        started = time.monotonic()
        error_of(daemon.post(bomb, content_encoding="gzip", path="/v2/bulkevents"), 413)
        assert time.monotonic() - started < 0.5
    assert daemon.resident_kb("ingest") - before < 5_000


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(GOOD)[:-9],
        gzip.compress(GOOD)[:10],
        gzip.compress(GOOD) + b"behind",
        gzip.compress(GOOD) + gzip.compress(GOOD),
        b"\x1f\x8b",
        b"",
        GOOD,
        gzip.compress(GOOD)[:-8] + b"\0" * 8,
    ],
    ids=["truncated", "header only", "trailing", "two members", "magic", "empty", "plain", "wrong checksum"],
)
def test_broken_gzip_is_400(daemon: Daemon, body: bytes) -> None:
    assert "gzip" in error_of(daemon.post(body, content_encoding="gzip"), 400)


# --- what -------------------------------------------------------------------------------------------------------------


def test_100_batches_are_taken_in_bulk_and_101_are_400(daemon: Daemon) -> None:
    before = len(daemon.stored())
    assert daemon.post([batch(f"B{n}") for n in range(100)], path="/v2/bulkevents").status_code == 202
    assert len(daemon.stored()) == before + 100
    assert "101" in error_of(daemon.post([batch("B")] * 101, path="/v2/bulkevents"), 400)
    assert len(daemon.stored()) == before + 100


def test_a_bulk_request_with_bad_parts_is_202_and_the_log_counts_them_by_position(daemon: Daemon) -> None:
    before, lines = len(daemon.stored()), len(daemon.lines("bad_batch"))
    invalid = daemon.metric("router_invalid_batches_total")
    bulk = [batch("Good"), {"events": [{}]}, batch("Good"), 17, {"events": [{"event_type": "custom_event"}]}]
    assert daemon.post(bulk, path="/v2/bulkevents").status_code == 202
    assert len(daemon.stored()) == before + 2
    logged = daemon.lines("bad_batch")[lines:]
    assert [(line["input"], line["position"]) for line in logged] == [("server", 1), ("server", 3), ("server", 4)]
    assert logged[0]["place"] == "$.events[0].event_type"
    daemon.metric_reaches("router_invalid_batches_total", invalid + 3)


def test_a_bulk_request_without_a_good_part_is_400_and_names_each(daemon: Daemon) -> None:
    message = error_of(daemon.post([{"events": [{}]}, [], {"events": 1}], path="/v2/bulkevents"), 400)
    assert all(place in message for place in ("$[0].events[0].event_type", "$[1]", "$[2].events"))


def test_the_one_message_that_mparticle_publishes_is_ours_too(daemon: Daemon) -> None:
    message = error_of(daemon.post({"events": [{"data": {}}]}), 400)
    assert message.startswith('Required event field "event_type" is missing or empty.')


def nested(depth: int) -> bytes:
    """A batch with this many objects and lists within each other."""
    return b'{"user_attributes":{"a":' + b"[" * (depth - 2) + b"]" * (depth - 2) + b"}}"


BAD: dict[str, bytes] = {
    "empty": b"",
    "space": b" \n",
    "wrong top level list": b"[]",
    "wrong top level number": b"1",
    "wrong top level text": b'"x"',
    "null": b"null",
    "depth 51": nested(51),
    "depth 100000": nested(100_000),
    "open lists": b"[" * 100_000,
    "open objects": b'{"a":' * 50_000,
    "NaN": b'{"user_attributes":{"a":NaN}}',
    "Infinity": b'{"user_attributes":{"a":-Infinity}}',
    "lone surrogate": b'{"user_attributes":{"a":"\\ud800"}}',
    "reversed surrogates": b'{"user_attributes":{"a":"\\udc00\\ud800"}}',
    "raw surrogate": b'{"user_attributes":{"a":"\xed\xa0\x80"}}',
    "bad UTF-8": b'{"user_attributes":{"a":"\xff"}}',
    "overlong UTF-8": b'{"user_attributes":{"a":"\xc0\x80"}}',
    "escaped NUL": b'{"user_attributes":{"a":"\\u0000"}}',
    "NUL in a name": b'{"user_attributes":{"\\u0000":1}}',
    "raw NUL": b'{"user_attributes":{"a":"\0"}}',
    "duplicate name": b'{"events":[],"events":[]}',
    "duplicate name, escaped": b'{"events":[],"\\u0065vents":[]}',
    "duplicate name inside": b'{"user_attributes":{"a":1,"a":2}}',
    "UTF-16": json.dumps(batch("Hello")).encode("utf-16"),
    "UTF-16 without mark": json.dumps(batch("Hello")).encode("utf-16-le"),
    "UTF-32": json.dumps(batch("Hello")).encode("utf-32"),
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "cut": GOOD[:-1],
    "trailing": GOOD + b"x",
    "two documents": GOOD + GOOD,
    "comment": b"{/* */}",
    "single quotes": b"{'events': []}",
    "trailing comma": b'{"events":[],}',
    "huge exponent": b'{"user_attributes":{"a":1e999999}}',
    "events object": b'{"events":{}}',
    "event number": b'{"events":[1]}',
    "event without type": b'{"events":[{"data":{}}]}',
    "event type number": b'{"events":[{"event_type":1}]}',
    "nameless custom event": b'{"events":[{"event_type":"custom_event","data":{}}]}',
    "data list": b'{"events":[{"event_type":"screen_view","data":[]}]}',
    "attributes list": b'{"user_attributes":[1]}',
    "identities text": b'{"user_identities":"x"}',
    "mpid object": b'{"mpid":{}}',
    "request id list": b'{"source_request_id":[]}',
    "deleted numbers": b'{"deleted_user_attributes":[1]}',
    "integration text": b'{"integration_attributes":{"135":"x"}}',
}


@pytest.mark.parametrize("bulk", [False, True], ids=["single", "bulk"])
@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_what_is_no_batch_is_400_with_a_sentence(daemon: Daemon, body: bytes, bulk: bool) -> None:
    before = len(daemon.stored())
    if bulk:
        error_of(daemon.post(b"[" + body + b"]", path="/v2/bulkevents"), 400)
    else:
        error_of(daemon.post(body), 400)
    assert len(daemon.stored()) == before


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"1", b"null", b'"x"', b"[" * 100_000, b"[{}", b"[{},]", b"\xff"])
def test_what_is_no_list_of_batches_is_400_in_bulk(daemon: Daemon, body: bytes) -> None:
    error_of(daemon.post(body, path="/v2/bulkevents"), 400)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"events":[]}',
        b'{"events":null,"user_attributes":null}',
        nested(50),
        b'{"mpid":"7346244611012968789"}',
        b'{"mpid":7346244611012968789}',
        b'{"mpid":99999999999999999999999999}',
        b'{"events":[{"event_type":"made_up","data":{"x":[1]}}],"unknown":{"a":1}}',
        b' \r\n\t{"events": [] } ',
        b'{"user_attributes":{"a:b":"c:\\"d","e":"\\u003a"}}',
    ],
)
def test_what_is_odd_but_clear_is_taken(daemon: Daemon, body: bytes) -> None:
    answer = daemon.post(body)
    assert answer.status_code == 202, answer.text
    assert daemon.stored()[-1] == body


# --- twice ------------------------------------------------------------------------------------------------------------


def test_a_request_id_counts_once_for_an_input_and_again_for_another(daemon: Daemon) -> None:
    once = batch("Once", source_request_id="request-1")
    before = len(daemon.stored())
    for _ in range(3):
        assert daemon.post(once).status_code == 202
    assert len(daemon.stored()) == before + 1
    assert daemon.post([once, batch("Once"), once], path="/v2/bulkevents").status_code == 202
    assert len(daemon.stored()) == before + 2
    assert daemon.post(once, auth=("other", "other-secret")).status_code == 202
    assert len(daemon.stored()) == before + 3


def test_a_request_id_that_comes_twice_in_one_bulk_request_counts_once(daemon: Daemon) -> None:
    before = len(daemon.stored())
    daemon.send(*[batch("Twice", source_request_id="request-2")] * 5)
    assert len(daemon.stored()) == before + 1


def test_a_request_that_was_refused_does_not_use_up_its_id(daemon: Daemon) -> None:
    before = len(daemon.stored())
    assert daemon.post({"events": [{}], "source_request_id": "request-3"}).status_code == 400
    assert daemon.post(batch("Now", source_request_id="request-3")).status_code == 202
    assert len(daemon.stored()) == before + 1


def test_empty_request_ids_are_none(daemon: Daemon) -> None:
    before = len(daemon.stored())
    for empty in ("", None):
        daemon.send(batch("Empty", source_request_id=empty), batch("Empty", source_request_id=empty))
    assert len(daemon.stored()) == before + 4


# --- rubbish ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v2/events HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /v2/events HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"POST /v2/events HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v2/events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /v2/events HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /v2/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v2/events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}",
        b"POST /v2/events HTTP/9.9\r\nHost: x\r\n\r\n",
        b"POST /v2/events HTTP/1.1\r\nHo\0st: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /v2/events HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_garbage_instead_of_a_request_gets_a_4xx_or_a_closed_connection(daemon: Daemon, request_bytes: bytes) -> None:
    answer = raw(daemon, request_bytes)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer
    assert daemon.post(GOOD).status_code == 202


def test_headers_with_odd_bytes_do_no_harm(daemon: Daemon) -> None:
    odd = b"\r\n".join([b"X-Odd: \xff\xfe", b"traceparent: \xc3\xa9 not a trace", b"x-mp-kits: \xff", b"X-Empty:"])
    head = b"POST /v2/events HTTP/1.1\r\nHost: \xff\r\nAuthorization: %b\r\nContent-Length: %d\r\n%b\r\n\r\n"
    assert raw(daemon, head % (BASIC, len(GOOD), odd) + GOOD).startswith(b"HTTP/1.1 202 ")


def test_a_sender_that_goes_away_amid_its_body_leaves_nothing_behind(daemon: Daemon) -> None:
    before = len(daemon.stored())
    head = b"POST /v2/events HTTP/1.1\r\nHost: x\r\nAuthorization: %b\r\nContent-Length: %d\r\n\r\n" % (
        BASIC,
        len(GOOD),
    )
    for cut in (0, 1, len(GOOD) - 1):
        with socket.create_connection(("127.0.0.1", daemon.port)) as connection:
            connection.sendall(head + GOOD[:cut])
    daemon.metric_reaches("router_requests_total", 3, status="disconnected")
    assert len(daemon.stored()) == before


def mutations(count: int) -> Iterator[bytes]:
    """A fixed sequence of damaged batches: bytes flipped, cut out, doubled, swapped, and pieces put together anew."""
    chance = random.Random(7)
    seeds = [path.read_bytes() for path in sorted((Path(__file__).parent.parent / "data").rglob("*.json"))]
    bodies = [json.loads(seed)["body_text"].encode() for seed in seeds]
    tokens = [
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b"null",
        b"-",
        b"1e9",
        b"\\u",
        b"\\ud83d",
        b"\0",
        b"\xff",
        b"true",
    ]
    for number in range(count):
        body = bytearray(chance.choice(bodies))
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(body) + 1)
            match chance.randrange(5):
                case 0:
                    body[at : at + 1] = bytes([chance.randrange(256)])
                case 1:
                    del body[at : at + chance.randrange(1, 40)]
                case 2:
                    body[at:at] = chance.choice(tokens) * chance.randint(1, 3)
                case 3:
                    body[at:at] = body[at : at + chance.randrange(1, 60)]
                case _:
                    other = chance.choice(bodies)
                    start = chance.randrange(len(other))
                    body[at:at] = other[start : start + chance.randrange(1, 60)]
        yield bytes(body) if number % 50 else os.urandom(chance.randrange(200))


def test_thousands_of_damaged_bodies_get_a_202_or_a_400_and_take_no_memory(daemon: Daemon) -> None:
    statuses: dict[int, int] = {}
    corpus = mutations(6000)

    def send(amount: int) -> None:
        for number, body in enumerate(itertools.islice(corpus, amount)):
            path = "/v2/bulkevents" if number % 2 else "/v2/events"
            answer = daemon.post(body, path=path)
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1

    send(2000)
    before = daemon.resident_kb("ingest")
    send(4000)
    assert statuses.keys() == {202, 400}, statuses
    assert statuses[400] > 1000
    assert daemon.resident_kb("ingest") - before < 10_000
    for connection in ("main", "archive"):
        daemon.settled(connection, within=30)


def test_what_was_damaged_and_yet_taken_ends_as_delivered_or_a_dead_letter(daemon: Daemon) -> None:
    """Behind the envelope check everything may have any type: no record may stop a lane."""
    odd: list[Any] = [
        None,
        True,
        0,
        -1.5,
        1e300,
        "",
        "x" * 5000,
        [],
        {},
        [[]],
        [{}],
        {"a": {"b": [1]}},
        "\U0001f600",
        10**18,
    ]
    fields = [
        *(
            "timestamp_unixtime_ms",
            "custom_attributes",
            "screen_name",
            "product_action",
            "promotion_action",
            "location",
        ),
        *("product_impressions", "new", "old", "user_attribute_name", "session_uuid", "custom_flags"),
    ]
    kinds = [
        "custom_event",
        "screen_view",
        "commerce_event",
        "user_attribute_change",
        "user_identity_change",
        "opt_out",
    ]
    batches = []
    for kind, field, value in itertools.product(kinds, fields, odd):
        if field != "custom_attributes" or isinstance(value, dict | None):
            event = {"event_type": kind, "data": {"event_name": "Odd", field: value}}
            batches.append({"events": [event], "user_identities": {"customer_id": "odd"}})
    for field, value in itertools.product(["environment", "consent_state", "context", "ip", "schema_version"], odd):
        batches.append({**batch("Odd"), field: value})
    for start in range(0, len(batches), 100):
        daemon.send(*batches[start : start + 100])
    for connection in ("main", "archive"):
        daemon.settled(connection, within=30)
    codes = {code for _, code, _ in daemon.letters()}
    assert codes <= {"malformed_batch", "malformed_event", "no_identity", "no_event_name", "clevertap_512"}, (
        daemon.letters()
    )
