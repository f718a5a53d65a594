"""JSON as a router should take it: one meaning only. What two parsers could read in two ways is refused.

orjson refuses bad UTF-8, NaN, lone surrogates and trailing text by itself. Here: nesting, NUL and duplicate keys, found
without walking the document: only a document that looks suspicious is looked at closely.
"""

from __future__ import annotations

import json
from collections.abc import Callable
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
    again = orjson.dumps(document)
    if b"\\" not in body:  # then there is no NUL either, as only an escape can write one
        # A duplicate key takes its colon with it when it is decoded; nothing else changes their number.
        if again != body and body.count(b":") != again.count(b":"):
            _refuse_duplicates(body)
        return document
    if b"\\u0000" in body:
        _refuse_nul(document)
    if b"\\u003" in body or body.count(b":") != again.count(b":"):  # an escaped colon changes their number too
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
    level = [document]
    for _ in range(DEEPEST):
        level = [
            child
            for value in level
            for child in (value.values() if type(value) is dict else value)
            if type(child) in (dict, list)
        ]
        if not level:
            return
    raise InvalidBatch(f"Nested deeper than {DEEPEST} levels.", _shown(_way_to(document, _is_too_deep)))


def _refuse_nul(document: Any) -> None:
    way = _way_to(document, _has_nul)
    if way is not None:
        raise InvalidBatch("Text and names must not contain the character NUL.", _shown(way))


Way = list[str | int]
"""The keys from the root of a document to a place in it."""


def _way_to(value: Any, wanted: Callable[[Any, int], bool], depth: int = 0) -> Way | None:
    """The way to the first value that is wanted, last step first; built only when it is found, as keys can be long."""
    if wanted(value, depth):
        return []
    if type(value) in (dict, list):
        for key, child in value.items() if type(value) is dict else enumerate(value):
            way = _way_to(child, wanted, depth + 1)
            if way is not None:
                way.append(key)
                return way
    return None


def _is_too_deep(value: Any, depth: int) -> bool:
    return depth == DEEPEST and type(value) in (dict, list)


def _has_nul(value: Any, _: int) -> bool:
    return "\0" in value if type(value) is str else type(value) is dict and any("\0" in key for key in value)


def _shown(way: Way | None) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step[:50]}" for step in reversed(way or ()))
    return ("$" + "".join(steps))[:200]


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
