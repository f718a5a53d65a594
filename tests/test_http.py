"""What is behind a content encoding, and the errors envelope."""

from __future__ import annotations

import gzip
import zlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_core.http import BadRequest, decoded, errors_envelope


def refusal(body: bytes, encoding: bytes, limit: int = 1000) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        decoded(body, encoding, limit)
    return caught.value


@pytest.mark.parametrize("encoding", [b"gzip", b"x-gzip", b"GZip"])
@given(st.binary(max_size=64))
def test_gzip_is_inflated(encoding: bytes, plain: bytes) -> None:
    assert decoded(gzip.compress(plain), encoding, 64) == plain


@pytest.mark.parametrize("encoding", [b"", b"identity", b"Identity"])
def test_no_encoding_is_the_body_itself(encoding: bytes) -> None:
    assert decoded(b"x", encoding, 10) == b"x"


@pytest.mark.parametrize("encoding", [b"br", b"deflate", b"gzip, gzip", b"zstd"])
def test_another_encoding_is_415(encoding: bytes) -> None:
    assert refusal(b"x", encoding).status == 415


def test_a_gzip_bomb_is_413_without_being_inflated() -> None:
    assert refusal(gzip.compress(b"\0" * 10_000_000), b"gzip", limit=20_000).status == 413


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
    assert refusal(body, b"gzip").status == 400


def test_the_errors_envelope_is_mparticles() -> None:
    assert orjson.loads(errors_envelope(("BAD_REQUEST", "No."), ("B", "2"))) == {
        "errors": [{"code": "BAD_REQUEST", "message": "No."}, {"code": "B", "message": "2"}]
    }


def test_an_error_is_answered_with_its_status_headers_and_envelope() -> None:
    answer = BadRequest(429, "TOO_MANY", "Later.", [(b"retry-after", b"3")]).response
    assert (answer.status, answer.body) == (429, errors_envelope(("TOO_MANY", "Later.")))
    assert list(answer.headers) == [(b"content-type", b"application/json"), (b"retry-after", b"3")]
