"""What a plugin brings: sources, transforms, destinations, commands, and the settings that describe them.

A plugin announces *types* (frozen descriptions with a `create` function) through the hooks in `hookspecs.py`; core
creates the components and calls them. All data methods are coroutines, take a group of records, and are called from
one event loop. Nothing here is module-level state: two connections never share a component.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticUndefined

from router_core.events import DeviceIdentity, EventType, Platform, UserIdentity
from router_core.http import LARGEST_BODY, Handler
from router_core.outcomes import Outcome
from router_core.records import Record

if TYPE_CHECKING:
    import structlog
    import typer
    from opentelemetry.metrics import Meter

    from router_core.telemetry import Telemetry

CONTRACT: Final = 1
"""The plugin contract that this core speaks; a component type made for another number is refused."""


# --- settings ---------------------------------------------------------------------------------------------------------


class Settings(BaseModel):
    """Base of all settings of components: frozen, no unknown names, and no value of the input in an error's text."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)


class ConfigurationSettings(Settings):
    """Settings of one account at a partner (an output), or of a source or transform."""


class ConnectionSettings(Settings):
    """Settings of one input → output connection."""


def setting(
    default: Any = PydanticUndefined,
    *,
    title: str,
    help: str,
    example: Any = None,
    platforms: Collection[Platform] | None = None,
    default_factory: Callable[[], Any] | None = None,
    **constraints: Any,
) -> Any:
    """A settings field that describes itself; `router describe`, the JSON Schema and the lint read it from here.

    `platforms` names the platforms of the input for which the setting means anything (None: all). `constraints` are
    pydantic's (`ge`, `pattern`, `max_length`, …). Secrets are declared by their type, `SecretStr`.
    """
    extra: dict[str, Any] = {"platforms": sorted(platforms)} if platforms is not None else {}
    examples = None if example is None else [example]
    if default_factory is not None:
        return Field(
            default_factory=default_factory, title=title, description=help, examples=examples,
            json_schema_extra=extra or None, **constraints,
        )  # fmt: skip
    return Field(
        default, title=title, description=help, examples=examples, json_schema_extra=extra or None, **constraints
    )


# --- what core gives to components ------------------------------------------------------------------------------------


class Clock(Protocol):
    """Time, injected so that tests can set it."""

    def now(self) -> float:
        """Unix seconds."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class KeyValueStore(Protocol):
    """A small durable store, in a namespace of its own for each component. What is put is durable on return."""

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""

    async def put(self, items: Mapping[str, bytes]) -> None:
        """Store all items together."""

    async def delete(self, keys: Iterable[str]) -> None:
        """Remove the keys; unknown ones do no harm."""


@dataclass(frozen=True)
class HttpAnswer:
    """An answer of a partner: status, headers (lower-case names) and at most `max_bytes` of body."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class HttpTransport(Protocol):
    """The way out. Core's is httpx behind time limits, without redirects, and with a cap on what it reads."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        timeout: float = 30.0,
    ) -> HttpAnswer:
        """Send one request. Raises `Unavailable` when no complete answer came within `timeout` seconds."""


@dataclass(frozen=True, kw_only=True)
class ComponentContext:
    """What every component gets."""

    name: str
    """Name of the component in the configuration: the connection, transform or source type."""
    settings: Any
    """An instance of the type's configuration settings."""
    clock: Clock
    log: structlog.stdlib.BoundLogger
    """Never give it a payload value or a secret."""
    meter: Meter
    """OpenTelemetry's, for instruments of the component's own."""
    telemetry: Telemetry
    """Core's counters; `count` the values that a destination alters as `altered_values`."""
    store: KeyValueStore


@dataclass(frozen=True, kw_only=True)
class DestinationContext(ComponentContext):
    """What a destination gets; there is one destination per connection."""

    output: str
    connection_settings: Any
    """An instance of the type's connection settings."""
    http: HttpTransport
    account_slot: Callable[[], AbstractAsyncContextManager[None]]
    """Core holds one slot around each `deliver`; take one per further call that runs in parallel."""


@dataclass(frozen=True, kw_only=True)
class TransformContext(ComponentContext):
    """What a transform gets; there is one per connection that names it."""

    connection: str


@dataclass(frozen=True, kw_only=True)
class SourceInput:
    """One input as its source sees it. `secret` is plain text: compare it in constant time and never log it."""

    name: str
    platform: Platform
    key: str | None
    secret: str | None
    settings: Any
    max_batches_per_second: int | None = None


@dataclass(frozen=True, kw_only=True)
class SourceContext(ComponentContext):
    """What a source gets; one source serves all inputs of its type."""

    inputs: Mapping[str, SourceInput]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A person to be erased: what the request names, and what the router's log knew of the person besides.

    Of each kind first what the request names. Its text holds no value, so that it may get into a log line.
    """

    user_identities: Mapping[UserIdentity, tuple[str, ...]] = field(default_factory=dict, repr=False)
    device_identities: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    """By field of `device_info`. Others may have used the same device."""
    mpids: tuple[str, ...] = field(default=(), repr=False)
    device_stamps: tuple[str, ...] = field(default=(), repr=False)
    """`mp_deviceid` of batches in which the person was named."""
    integration_attributes: Mapping[int, Mapping[str, tuple[str, ...]]] = field(default_factory=dict, repr=False)
    """Partners' ids by mParticle's module id and key, as kits left them in such batches."""


@dataclass(frozen=True)
class Forgotten:
    """How a partner took an erasure, and what the operator should know of it."""

    acknowledged: bool
    """False if no id of the person means anything to the partner."""
    detail: str = ""
    """Shown with the erasure; without any id of the person."""


# --- components -------------------------------------------------------------------------------------------------------


class Destination(ABC):
    """One connection's way to a partner."""

    async def open(self) -> None:
        """Called once before the first `deliver`. An error stops the start."""

    @abstractmethod
    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Send 1 to `limits.records` records and tell how each ended, by record id.

        Called in parallel, up to `limits.calls_in_flight`; the records of one user are never in two calls at once and
        come in their order. A record without an outcome is retried. Raise `Throttled`, `Unavailable`,
        `InvalidCredentials` or `CallRefused` for the whole call. Any other exception counts as a record that this
        plugin cannot handle: the call is halved until it is found, and it becomes a dead letter.
        """

    def preview(self, records: Sequence[Record]) -> Sequence[Mapping[str, Any]]:
        """The requests that `deliver` would send, as plain data with secrets masked; for `router explain`."""
        return ()

    async def erase(self, subject: Subject) -> bool | Forgotten:
        """Have the partner forget a person: True when it has acknowledged, False if no id means anything to it.

        A `Forgotten` says the same with a text for the operator.

        Called only if the type says `erases`, within `limits.timeout`, one person at a time for each output, with an
        account slot held, and when nothing of the person is under way in `deliver` any more. The same person may come
        again, after a crash too. `Throttled` and `Unavailable` are retried after a back-off; other errors show as
        failed and are retried at long intervals, or when the settings change. Put no id of the person into an error.
        """
        raise NotImplementedError

    async def check(self) -> None:
        """Prove the settings against the partner without changing anything there (`router check --connect`).

        Raises `InvalidCredentials` or `Unavailable` with a text that says which setting to mend.
        """

    async def close(self) -> None:
        """Called once at the end, also after a failed `open`."""


@dataclass(frozen=True, kw_only=True)
class Transformed:
    """What a transform made of its records."""

    records: Sequence[Record]
    """Those that go on, in order. Changed ones keep their id."""
    outcomes: Sequence[Outcome] = ()
    """For each record that does not go on: skipped with a code, or rejected."""


class Transform(ABC):
    """Changes, adds to or drops records of one connection."""

    async def open(self) -> None:
        """Called once before the first `apply`. An error stops the start."""

    @abstractmethod
    async def apply(self, records: Sequence[Record]) -> Transformed:
        """Called with the records of one delivery group in order; never in parallel for one user.

        Records are frozen: make new ones with `msgspec.structs.replace`. An exception is found by halving; the record
        at fault becomes a dead letter.
        """

    async def close(self) -> None:
        """Called once at the end."""


class Intake(Protocol):
    """Where a source hands over what came in."""

    async def accept(
        self,
        input: SourceInput,
        bodies: Sequence[bytes],
        *,
        headers: Mapping[str, str] | None = None,
        request_ids: Sequence[str] | None = None,
    ) -> Sequence[Accepted]:
        """Check, take out duplicates, store. Returns when all valid batches are durable, one result for each body.

        A batch is a duplicate if its request id was accepted at this input before: the one in `request_ids`, or its
        own `source_request_id`. Raises `LogFull` when there is no room; then nothing was kept and the sender should
        come again.
        """


@dataclass(frozen=True)
class Accepted:
    """What became of one body: durable (`error` None), perhaps a `duplicate`, or refused with an `InvalidBatch`.

    One that is `suppressed` was not kept, because somebody asked for its user's erasure; tell its sender as little.
    """

    duplicate: bool = False
    error: Exception | None = None
    suppressed: bool = False


@dataclass(frozen=True, kw_only=True)
class Route:
    """One path of core's listener. Broken HTTP, 408, 413 and 415 are answered before `handle` is called."""

    path: str
    """Exact path, or a prefix when `prefix` is true."""
    handle: Handler
    prefix: bool = False
    largest_body: int = LARGEST_BODY
    """Bytes, before and after inflation."""


class Source(ABC):
    """A way in. HTTP sources give routes to core's one listener; others read something in `run`."""

    def routes(self, intake: Intake) -> Sequence[Route]:
        """Called once at the start."""
        return ()

    async def run(self, intake: Intake) -> None:
        """Runs for the life of the router; cancelled at the end. Returning means that the source is done."""

    async def close(self) -> None:
        """Called once at the end."""


# --- component types --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Accepts:
    """What a destination takes; everything else is skipped by core with a counted code."""

    platforms: Collection[Platform] = frozenset(Platform)
    event_types: Collection[EventType] = frozenset(EventType)
    profile_updates: bool = True
    """Whether it takes a record for the batch's user attributes and identities."""
    user_identities: Collection[UserIdentity] = frozenset(UserIdentity)
    device_identities: Collection[DeviceIdentity] = frozenset(DeviceIdentity)

    def takes(self, platform: Platform, *, is_feed: bool = False) -> bool:
        """Whether it takes data of this platform. One that takes Data Feeds takes feeds that act as a platform too."""
        return platform in self.platforms or (is_feed and Platform.DATA_FEEDS in self.platforms)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much goes to a destination at once."""

    records: int = 1000
    """Records in one `deliver`."""
    calls_in_flight: int = 1
    """Calls at once per account; also the number of lanes that a connection is cut into."""
    timeout: timedelta = timedelta(seconds=30)
    """For one `deliver`; a call that takes longer is cancelled and retried."""


KitSettings = Callable[[Any, Any], Mapping[str, str]]
"""Configuration and connection settings to those that a client SDK gets. They are public: they must hold no secret."""


@dataclass(frozen=True, kw_only=True)
class Kit:
    """Partner code that runs in the app or page and sends for itself."""

    module_id: int
    """mParticle's number for the partner, as it stands in `x-mp-kits`."""
    name: str
    """The name under which the web kit registers itself; it must be the same to the letter."""
    event_types: Collection[EventType]
    """Types that only the kit forwards; server-side they are skipped with `kit_only`."""
    also_from_here: Callable[[Any], Collection[EventType]] | None = None
    """Connection settings to those of `event_types` that are sent server-side after all."""
    web_settings: KitSettings | None = None
    """What the web kit gets; None if there is no web kit."""
    mobile_settings: KitSettings | None = None
    """What the kits of mobile apps get; None if there are none."""


@dataclass(frozen=True, kw_only=True)
class ComponentType:
    """What all component types say of themselves."""

    name: str
    """Lower-case, unique among its kind; what the configuration says."""
    title: str
    summary: str
    contract: int = CONTRACT
    stability: str = "beta"


@dataclass(frozen=True, kw_only=True)
class DestinationType(ComponentType):
    """A kind of destination."""

    create: Callable[[DestinationContext], Destination]
    configuration_settings: type[ConfigurationSettings] = ConfigurationSettings
    connection_settings: type[ConnectionSettings] = ConnectionSettings
    accepts: Accepts = field(default_factory=Accepts)
    limits: Limits = field(default_factory=Limits)
    limits_for: Callable[[Any], Limits] | None = None
    """Limits that depend on the configuration settings; overrides `limits`."""
    kit: Kit | None = None
    erases: bool = False
    """Whether its destinations have `erase`."""

    def limits_of(self, settings: Any) -> Limits:
        """The limits that hold for an output with these configuration settings."""
        return self.limits if self.limits_for is None else self.limits_for(settings)


@dataclass(frozen=True, kw_only=True)
class TransformType(ComponentType):
    """A kind of transform."""

    create: Callable[[TransformContext], Transform]
    settings: type[ConfigurationSettings] = ConfigurationSettings
    problems: Callable[[Any], Iterable[tuple[str, str, str]]] | None = None
    """What is wrong with settings that the model cannot see, as setting, what, and mend; for `router check`."""


@dataclass(frozen=True, kw_only=True)
class SourceType(ComponentType):
    """A kind of source."""

    create: Callable[[SourceContext], Source]
    input_settings: type[ConfigurationSettings] = ConfigurationSettings
    needs_key: bool = False
    needs_secret: bool = False
    channel: str = "server_to_server"
    """mParticle's channel of what comes in this way."""


@dataclass(frozen=True, kw_only=True)
class CommandType(ComponentType):
    """Commands of a plugin, mounted as `router <name> …`. `load` is called only when one of them is used."""

    load: Callable[[], typer.Typer]
