"""Builders that all tests of the plugin share."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from msgspec import Raw
from opentelemetry.metrics import NoOpMeter
from router_clevertap.settings import ClevertapConfiguration, ClevertapConnection

from router_core.components import DestinationContext, HttpAnswer
from router_core.events import Platform, WireEvent, batch_from_json, decoded_event
from router_core.records import PROFILE_UPDATE, BatchContext, Record
from router_core.telemetry import Telemetry

NOW = 1_700_000_100.0
PASSCODE = "s3cret-passcode"


class Script:
    """A transport that answers as told and keeps what it was asked."""

    def __init__(self, *answers: HttpAnswer | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[dict[str, Any]] = []

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        timeout: float = 30.0,
    ) -> HttpAnswer:
        self.requests.append(
            {"method": method, "url": url, "headers": dict(headers or {}), "body": json.loads(content)}
        )
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class StillClock:
    """A clock that stands at `NOW`."""

    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return NOW

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here may wait")


class MemoryStore:
    """A key-value store that keeps nothing beyond its own life."""

    def __init__(self) -> None:
        self.items: dict[str, bytes] = {}

    async def get(self, key: str) -> bytes | None:
        return self.items.get(key)

    async def put(self, items: Mapping[str, bytes]) -> None:
        self.items.update(items)

    async def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.items.pop(key, None)


@asynccontextmanager
async def _slot() -> Any:
    yield


@pytest.fixture
def record() -> Callable[..., Record]:
    """`record("custom_event", {"event_name": "A"}, user_identities={...})`; the type `profile_update` has no data."""

    def make(
        event_type: str = "custom_event",
        data: Mapping[str, Any] | None = None,
        *,
        id: str = "7.0",
        received_at_ms: int = 1_700_000_100_000,
        channel: str = "server_to_server",
        user: int = 0,
        **batch: Any,
    ) -> Record:
        batch.setdefault("user_identities", {"customer_id": "cust-1"})
        decoded = batch_from_json(json.dumps(batch).encode())
        context = BatchContext(
            seq=7,
            input="app",
            platform=Platform.ANDROID,
            channel=channel,
            received_at_ms=received_at_ms,
            user=user,
        )
        if event_type == PROFILE_UPDATE:
            return Record(id, event_type, None, decoded, context)
        wire = json.dumps({"timestamp_unixtime_ms": 1_700_000_000_123, **(data or {})}).encode()
        return Record(id, event_type, decoded_event(WireEvent(event_type, Raw(wire))), decoded, context)

    return make


@pytest.fixture
def answer() -> Callable[..., HttpAnswer]:
    """`answer({"status": "success", …})`, `answer(b"<html>", status=502)`."""

    def make(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> HttpAnswer:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return HttpAnswer(status, headers or {}, content)

    return make


@pytest.fixture
def script() -> type[Script]:
    return Script


@pytest.fixture
def configuration() -> Callable[..., ClevertapConfiguration]:
    def make(**settings: Any) -> ClevertapConfiguration:
        return ClevertapConfiguration(**{"account_id": "TEST-123-456Z", "passcode": PASSCODE, **settings})

    return make


@pytest.fixture
def context(configuration: Callable[..., ClevertapConfiguration]) -> Callable[..., DestinationContext]:
    """`context(transport, records_per_call=2, connection={"user_id": "mpid"})`."""

    def make(http: Any, *, connection: Mapping[str, Any] | None = None, **settings: Any) -> DestinationContext:
        return DestinationContext(
            name="app_to_clevertap",
            output="clevertap_eu",
            settings=configuration(**settings),
            connection_settings=ClevertapConnection(**(connection or {})),
            clock=StillClock(),
            log=structlog.get_logger(),
            meter=NoOpMeter("test"),
            telemetry=Telemetry(),
            store=MemoryStore(),
            http=http,
            account_slot=_slot,
        )

    return make
