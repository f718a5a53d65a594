"""One call of the API as its handlers see it."""

from dataclasses import dataclass
from typing import Any

import orjson

from router_clevertap.sandbox import rules
from router_clevertap.sandbox.faults import Partial


class BadCall(Exception):
    """The call as a whole is refused: status 400 with this text.

    Official documentation, API Errors: 400 when a mandatory parameter is missing or the body is not JSON.
    Body and texts of such an answer were never seen.
    """


@dataclass(frozen=True, slots=True)
class Call:
    """A call with good credentials and its whole body."""

    number: int
    """Uploads: number since start or reset, from 1; 0 for other calls."""
    query: dict[str, str]
    body: bytes
    partial: Partial | None = None
    """A fault on order that refuses some records."""


def object_of(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises BadCall."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadCall("Malformed JSON") from None
    if not isinstance(content, dict):
        raise BadCall("The body must be a JSON object")
    return content


def array_of(body: bytes, key: str, maximum: int) -> list[Any]:
    """The array under `key`. Raises BadCall, also for more than `maximum` elements.

    What the real service does with too many is unknown; ours is 400 and nothing stored.
    """
    content = object_of(body).get(key)
    if not isinstance(content, list):
        raise BadCall(f"'{key}' must be an array")
    if len(content) > maximum:
        raise BadCall(f"At most {maximum} records are allowed in a request")
    return content


def shallow_array_of(body: bytes, key: str, maximum: int) -> list[Any]:
    """As `array_of`, and none of the elements is nested so deeply that it could not be written back."""
    content = array_of(body, key, maximum)
    if not all(_is_within(rules.MAX_DEPTH, element) for element in content):
        raise BadCall(f"JSON nested deeper than {rules.MAX_DEPTH} levels is not allowed")
    return content


def _is_within(levels: int, value: Any) -> bool:
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return True
    return levels > 0 and all(_is_within(levels - 1, inner) for inner in value)
