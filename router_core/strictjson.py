"""JSON as a router should take it: one meaning only. What two parsers could read in two ways is refused.

orjson refuses bad UTF-8, NaN, lone surrogates and trailing text by itself. Here: nesting, NUL and duplicate keys, found
without walking the document: only a document that looks suspicious is looked at closely.
"""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

import orjson

from router_core.errors import InvalidBatch

DEEPEST: Final = 50
"""Objects and lists within each other."""


def strict_json(body: bytes) -> Any:
    """Decode `body`. Raises `InvalidBatch` with the place: a byte offset, or the path of a duplicate key."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidBatch(f"Not valid JSON: {_reason(body, error)}.", f"byte {_byte_offset(body, error)}") from None
    if body.count(b"{") + body.count(b"[") > DEEPEST:
        _refuse_depth(document)
    if b"\\u0000" in body:
        _refuse_nul(document, "$")
    # A duplicate key takes its colon with it when it is decoded, and nothing else changes their number (an escaped
    # colon does; then the close look finds nothing).
    if body.count(b":") != orjson.dumps(document).count(b":"):
        _refuse_duplicates(body)
    return document


def _byte_offset(body: bytes, error: orjson.JSONDecodeError) -> int:
    return len(body[:0] + body.decode("utf-8", "replace")[: error.pos].encode())


def _reason(body: bytes, error: orjson.JSONDecodeError) -> str:
    if body[:2] in (b"\xff\xfe", b"\xfe\xff") or body[:2] in (b"{\x00", b"\x00{", b"[\x00", b"\x00["):
        return "it is UTF-16, and must be UTF-8"
    if body[:3] == b"\xef\xbb\xbf":
        return "it starts with a byte order mark"
    return error.msg.split(":")[0]


def _refuse_depth(document: Any) -> None:
    level = [("$", document)]
    for _ in range(DEEPEST):
        level = (
            [
                (f"{place}.{key}" if isinstance(value, dict) else f"{place}[{key}]", child)
                for place, value in level
                for key, child in (value.items() if isinstance(value, dict) else enumerate(value))
                if type(child) in (dict, list)
            ]
            if level and level[0]
            else []
        )
        if not level:
            return
    raise InvalidBatch(f"Nested deeper than {DEEPEST} levels.", level[0][0][:200])


def _refuse_nul(value: Any, place: str) -> None:
    if isinstance(value, str) and "\0" in value:
        raise InvalidBatch("Text must not contain the character NUL.", place)
    if isinstance(value, dict):
        for key, child in value.items():
            if "\0" in key:
                raise InvalidBatch("A name must not contain the character NUL.", place)
            _refuse_nul(child, f"{place}.{key}")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            _refuse_nul(child, f"{place}[{index}]")


def _refuse_duplicates(body: bytes) -> None:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            _refuse_first_twice([key for key, _ in items])
        return found

    json.loads(body, object_pairs_hook=pairs)


def _refuse_first_twice(keys: list[str]) -> NoReturn:
    twice = next(key for index, key in enumerate(keys) if key in keys[:index])
    raise InvalidBatch("An object has the same name twice.", f'"{twice[:100]}"')
