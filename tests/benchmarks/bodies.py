"""Event batches as a shop's server would send them, cut where each request gets its own id and user."""

from __future__ import annotations

import random
import time
from base64 import b64encode
from collections.abc import Iterator
from itertools import count, cycle
from typing import Any, Final, NamedTuple

import msgspec
import orjson

USERS: Final = 10_000
_ID_MARK: Final = "<request id, twenty>"
_USER_MARK: Final = "<user, twelve>"
_WORDS: Final = (
    "amber", "basket", "canyon", "delta", "ember", "forest", "garnet", "harbor", "indigo", "jasmine", "kettle",
    "lagoon", "meadow", "nectar", "orchid", "pebble", "quartz", "ribbon", "saffron", "timber", "umber", "velvet",
    "willow", "yarrow", "zephyr",
)  # fmt: skip


class Shape(msgspec.Struct, frozen=True):
    """What one request holds."""

    events: int = 3
    """Per batch."""
    batches: int = 1
    """More than one makes a bulk request."""
    attributes: bool = False
    """Whether batches carry user attributes, so that profiles are uploaded too."""

    @property
    def events_per_request(self) -> int:
        """All events of one request."""
        return self.events * self.batches

    @property
    def records_per_request(self) -> int:
        """What the router makes of one request: the events, and one profile update for each batch's identities."""
        return (self.events + 1) * self.batches

    @property
    def templates(self) -> int:
        """How many different bodies are built; few enough to build them in a blink."""
        return max(8, 512 // (self.batches * max(1, self.events // 3)))


def batch(shape: Shape, rng: random.Random, now_ms: int) -> dict[str, Any]:
    """One batch, with marks in the place of its request id and user; 4.1 kB with three events."""
    found: dict[str, Any] = {
        "source_request_id": _ID_MARK,
        "user_identities": {"customer_id": _USER_MARK},
        "environment": "production",
        "schema_version": 2,
        "mpid": str(rng.getrandbits(62)),
        "ip": f"172.{rng.randrange(16, 32)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
        "timestamp_unixtime_ms": now_ms,
        "device_info": {
            "brand": "google",
            "product": "panther",
            "device": "panther",
            "device_manufacturer": "Google",
            "device_model": rng.choice(["Pixel 7", "Pixel 8", "Pixel 9"]),
            "os_version": str(rng.randrange(12, 16)),
            "screen_height": 2400,
            "screen_width": 1080,
            "locale_language": "en",
            "locale_country": rng.choice(["US", "GB", "IN", "DE"]),
            "network_carrier": _text(rng, 1),
            "timezone_offset": rng.randrange(-8, 9),
        },
        "application_info": {
            "application_name": "Corner Shop",
            "application_version": f"4.{rng.randrange(20)}.{rng.randrange(10)}",
            "package": "com.example.cornershop",
        },
        "events": [_event(rng, now_ms - 200 * index) for index in range(shape.events)],
    }
    if shape.attributes:
        found["user_attributes"] = {
            "$firstname": rng.choice(_WORDS).title(),
            "$lastname": rng.choice(_WORDS).title(),
            "$city": rng.choice(_WORDS).title(),
            "$age": str(rng.randrange(18, 90)),
            "$gender": rng.choice("MF"),
            "plan": rng.choice(["free", "basic", "gold"]),
            "points": rng.randrange(100_000),
            "newsletter": rng.random() < 0.5,
            "favourites": rng.sample(_WORDS, 3),
            "last_shop": _text(rng, 2),
        }
    return found


def _event(rng: random.Random, at_ms: int) -> dict[str, Any]:
    return {
        "event_type": "custom_event",
        "data": {
            "event_name": rng.choice(["Viewed Product", "Added To Basket", "Searched", "Shared", "Rated"]),
            "custom_event_type": "transaction",
            "timestamp_unixtime_ms": at_ms,
            "event_id": rng.getrandbits(62),
            "source_message_id": f"{rng.getrandbits(128):032x}",
            "session_id": rng.getrandbits(62),
            "session_uuid": f"{rng.getrandbits(128):032X}",
            "session_start_unixtime_ms": at_ms - 60_000,
            "custom_attributes": {
                "product_name": _text(rng, 8),
                "product_id": f"SKU-{rng.randrange(10**8):08d}",
                "category": _text(rng, 8),
                "price": round(rng.uniform(1, 500), 2),
                "quantity": rng.randrange(1, 9),
                "currency": rng.choice(["USD", "EUR", "GBP", "INR"]),
                "campaign": f"{_text(rng, 7)} {rng.randrange(2020, 2030)}",
                "referrer": f"https://www.example.com/{rng.choice(_WORDS)}/{rng.getrandbits(96):024x}",
                "in_stock": rng.random() < 0.9,
                "comment": _text(rng, 19),
            },
            "location": {"latitude": round(rng.uniform(-90, 90), 6), "longitude": round(rng.uniform(-180, 180), 6)},
            "device_current_state": {
                "time_since_start_ms": rng.randrange(10**6),
                "battery_level": round(rng.random(), 2),
                "data_connection_type": "wifi",
                "device_orientation": 1,
                "total_system_memory_usage_bytes": rng.randrange(10**9),
                "disk_space_free_bytes": rng.randrange(10**11),
            },
        },
    }


def _text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(_WORDS, k=words))


class Template(NamedTuple):
    """A request cut into the bytes between its marks, and the user and the id that go between them."""

    head: bytes
    pieces: tuple[tuple[bytes, bytes], ...]
    """For each batch: what comes before its id, and what comes before its user."""
    tail: bytes


class Requests:
    """Whole HTTP requests without end, each with ids that no other has."""

    def __init__(self, shape: Shape, *, key: str, secret: str, seed: int = 1) -> None:
        rng = random.Random(seed)
        now_ms = int(time.time() * 1000)
        self._bulk = shape.batches > 1
        self._batches = shape.batches
        self._authorization = b64encode(f"{key}:{secret}".encode())
        self._templates = [self._template(shape, rng, now_ms) for _ in range(shape.templates)]
        self._users = [b"customer%04d" % number for number in rng.sample(range(USERS), USERS)]
        self._run = b"%08x" % random.SystemRandom().getrandbits(32)

    def _template(self, shape: Shape, rng: random.Random, now_ms: int) -> Template:
        wires = [orjson.dumps(batch(shape, rng, now_ms)) for _ in range(shape.batches)]
        whole = b"[" + b",".join(wires) + b"]" if self._bulk else wires[0]
        parts = [part.split(_USER_MARK.encode()) for part in whole.split(_ID_MARK.encode())]
        # Before the first id; then, for each id, what stands between it and its user, and what follows the user.
        before = [parts[0][0], *(after for _, after in parts[1:])]
        pieces = tuple(zip(before, (between for between, _ in parts[1:]), strict=False))
        length = len(whole) + shape.batches * (20 - len(_ID_MARK) + 12 - len(_USER_MARK))
        return Template(self._head(length), pieces, before[-1])

    def _head(self, length: int) -> bytes:
        path = b"/v2/bulkevents" if self._bulk else b"/v2/events"
        return (
            b"POST %b HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: router-benchmark\r\naccept: application/json\r\n"
            b"content-type: application/json\r\nauthorization: Basic %b\r\ncontent-length: %d\r\n\r\n"
        ) % (path, self._authorization, length)

    @property
    def mean_bytes(self) -> int:
        """Bytes of a body, in the mean."""
        sizes = [int(template.head.rpartition(b" ")[2]) for template in self._templates]
        return sum(sizes) // len(sizes)

    def __iter__(self) -> Iterator[bytes]:
        templates, users, run, numbers = cycle(self._templates), cycle(self._users), self._run, count()
        join = b"".join
        if not self._bulk:
            for head, ((before, between),), tail in templates:
                yield join((head, before, run, b"%012x" % next(numbers), between, next(users), tail))
        for head, pieces, tail in templates:
            parts = [head]
            for before, between in pieces:
                parts += (before, run, b"%012x" % next(numbers), between, next(users))
            parts.append(tail)
            yield join(parts)


def bodies(shape: Shape, amount: int, seed: int = 1) -> list[bytes]:
    """Bodies of single batches without HTTP around them, all different, for measuring one stage at a time."""
    requests = iter(Requests(Shape(shape.events, 1, shape.attributes), key="k", secret="s", seed=seed))
    return [next(requests).partition(b"\r\n\r\n")[2] for _ in range(amount)]
