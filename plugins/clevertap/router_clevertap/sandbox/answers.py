"""Shapes of CleverTap's answers (recorded in 2017 and 2018 unless noted)."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson

JSON_TYPE = "application/json;charset=utf-8"  # recorded, with no blank


class Answer(NamedTuple):
    """A whole HTTP answer."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: tuple[tuple[str, str], ...] = ()

    def with_header(self, name: str, value: str) -> "Answer":
        return self._replace(headers=(*self.headers, (name, value)))


def json(status: int, content: Any) -> Answer:
    return Answer(status, orjson.dumps(content))


def failed(status: int, error: str | None = None) -> Answer:
    """`{"status":"fail","error":text,"code":status}`: recorded for 401, ours for all others."""
    return json(status, {"status": "fail", "error": error or _usual_error(status), "code": status})


def _usual_error(status: int) -> str:
    if status == 429:
        return "Too many concurrent requests"  # official documentation: API FAQs
    if status == 401:
        return "Invalid Credentials"
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Error {status}"


def uploaded(processed: int, unprocessed: Sequence[dict[str, Any]]) -> Answer:
    """The answer to a batch: `success`, `partial`, or `fail` if every record was refused.

    In 2017 a batch of refused records only was still answered `success` with 0 processed; since 2018 it is
    `fail`.
    """
    status = "success" if not unprocessed else "partial" if processed else "fail"
    return json(200, {"status": status, "processed": processed, "unprocessed": unprocessed})


def html(status: int) -> Answer:
    """What a proxy between sender and service would answer."""
    title = f"{status} {_usual_error(status)}"
    page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return Answer(status, page.encode(), "text/html")


SUCCESS = json(200, {"status": "success"})
UNKNOWN_ACCOUNT = failed(401, "Account ID is not valid")  # recorded
WRONG_PASSCODE = failed(401, "Invalid Credentials")  # text from RudderStack's test server
TOO_MANY_CALLS = failed(429)
