"""The settings of the router itself: one YAML file, whose leaves the environment can override.

`RouterSettings` is the root and the only pydantic-settings model; everything below is a plain frozen model. Reading,
references and checks are in `check.py`. Titles, help, defaults and examples sit on the fields, because the docs and
the JSON Schema are made from them. `Duration` and `Size` are open to plugins' settings too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, Secret, SecretStr, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from router_core.components import Settings, setting
from router_core.events import Platform

# --- values with a unit -----------------------------------------------------------------------------------------------

_SECONDS: Final = {
    "ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600), "d": Decimal(86400),
}  # fmt: skip
_BYTES: Final = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?b|)", re.IGNORECASE)


def _duration(value: Any) -> Any:
    """`1h 30m` to a timedelta. ISO 8601 goes on to pydantic; a bare number is refused: nobody can tell its unit."""
    if isinstance(value, timedelta) or (isinstance(value, str) and value.lstrip("+-").startswith("P")):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if not re.fullmatch(f"(?:{_DURATION_PART.pattern})+", text):
        raise PydanticCustomError("router_duration", "is not a duration with a unit, such as 200ms, 30s or 24h")
    try:
        seconds = sum(Decimal(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
        return timedelta(seconds=float(seconds))
    except OverflowError:
        raise PydanticCustomError("router_duration", "is longer than a duration can be") from None


def _size(value: Any) -> Any:
    """`10GiB` (1024-based) or `10GB` (1000-based) or a number of bytes to bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2].lower() not in _BYTES:
        raise PydanticCustomError("router_size", "is not a size, such as 10GiB, 512MiB or a number of bytes")
    return int(Decimal(match[1]) * _BYTES[match[2].lower()])


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _not_empty(value: SecretStr) -> SecretStr:
    # A token that is empty by an empty variable would be one that everybody knows.
    if not value.get_secret_value():
        raise PydanticCustomError("router_empty", "must not be empty")
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+(\.\d+)?\s*(ms|s|m|h|d)\s*)+$|^P"}),
]
"""A timedelta written `200ms`, `30s`, `1h 30m`, `7d` or in ISO 8601."""

Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^\d+(\.\d+)?\s*([kKmMgGtT]?[iI]?[bB])?$"},
            ]
        }
    ),
]
"""Bytes, written as a number or as `64MiB`, `10GB`."""

NAME_PATTERN: Final = r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""What inputs, outputs, transforms and connections may be called; `__` is left to the environment."""

Credential = Annotated[SecretStr, AfterValidator(_not_empty)]
Port = Annotated[int, Field(ge=0, le=65535)]
PluginSettings = Annotated[Secret[dict[str, Any]], WithJsonSchema({"type": "object"})]
"""What stands under `settings`, unchecked and therefore masked: a passcode may be among it, at any place."""


# --- sections ---------------------------------------------------------------------------------------------------------


class Section(Settings):
    """A part of the router's own settings. Its repr shows names only, as a secret may stand at a wrong place."""

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        return ((None, name) for name in type(self).model_fields)


class ListenSettings(Section):
    """Where clients send to."""

    host: str = setting(
        "127.0.0.1", title="Host", help="Address to listen on; 0.0.0.0 for all.", example="0.0.0.0", min_length=1  # noqa: S104  # an example, not a default
    )  # fmt: skip
    port: Port = setting(8080, title="Port", help="TCP port; 0 lets the system choose.")


class AdminSettings(Section):
    """Where operators look: health, metrics, pause and replay."""

    host: str = setting("127.0.0.1", title="Host", help="Address of the admin listener.", min_length=1)
    port: Port = setting(8081, title="Port", help="TCP port; 0 lets the system choose.")
    token: Credential | None = setting(
        None, title="Token", help="Bearer token for everything but the two probes. Without it, loopback only.",
        example="${file:/run/secrets/admin_token}",
    )  # fmt: skip


class LogSettings(Section):
    """The event log: where accepted events are kept until they are delivered, and a while longer."""

    engine: Literal["embedded", "memory"] = setting(
        "embedded", title="Engine", help="`embedded` keeps events on disk. `memory` keeps nothing and is for tests."
    )
    path: Path = setting(
        Path("./data"), title="Path", help="Data folder; a relative path starts at the YAML file's folder.",
        example="/var/lib/router",
    )  # fmt: skip
    max_bytes: Size = setting(
        10 * 2**30, title="Maximum size", help="When the log is this large, senders get a 503; 1MiB at least.",
        example="10GiB", ge=2**20,
    )  # fmt: skip
    retention: Duration = setting(
        timedelta(hours=24), title="Retention", help="How long delivered events are kept for replay.", example="7d",
        ge=timedelta(0),
    )  # fmt: skip
    deduplicate_for: Duration = setting(
        timedelta(hours=24), title="Deduplicate for", help="How long a batch sent twice is recognised.", example="24h",
        ge=timedelta(0),
    )  # fmt: skip
    segment_bytes: Size = setting(
        16 * 2**20, title="Segment size", help="Room is given back in pieces of this size; 64KiB at least.",
        example="16MiB", ge=64 * 2**10,
    )  # fmt: skip


class DeliverySettings(Section):
    """How deliveries are grouped, retried and ended."""

    linger: Duration = setting(
        timedelta(milliseconds=200), title="Linger", help="How long a delivery waits for more records to go with it.",
        example="200ms", ge=timedelta(0),
    )  # fmt: skip
    give_up_after: Duration = setting(
        timedelta(hours=72), title="Give up after", help="A record not delivered by then becomes a dead letter.",
        example="72h", gt=timedelta(0),
    )  # fmt: skip
    back_off_initial: Duration = setting(
        timedelta(seconds=1), title="First back-off", help="Wait before the first retry; doubles from there.",
        example="1s", gt=timedelta(0),
    )  # fmt: skip
    back_off_maximum: Duration = setting(
        timedelta(seconds=300), title="Longest back-off", help="No wait between retries is longer.", example="5m",
        gt=timedelta(0),
    )  # fmt: skip
    stop_within: Duration = setting(
        timedelta(seconds=10), title="Stop within", help="On a stop, calls in flight have this long to end.",
        example="10s", ge=timedelta(0),
    )  # fmt: skip


class TelemetrySettings(Section):
    """What the router says of itself."""

    log_format: Literal["auto", "json", "pretty"] = setting(
        "auto", title="Log format", help="`auto` is pretty on a terminal and JSON elsewhere."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_lower)] = setting(
        "info", title="Log level", help="The least severe log line that is written."
    )
    otlp_endpoint: str | None = setting(
        None, title="OTLP endpoint", help="Where traces and metrics go by OTLP over HTTP; needs the `otel` extra.",
        example="http://localhost:4318",
    )  # fmt: skip


class DataPlanSettings(Section):
    """A data plan, and what becomes of what breaks it, at a connection."""

    path: Path = setting(title="Path", help="The plan's file, YAML or JSON.", example="plan.yaml")
    unknown_events: Literal["allow", "strip", "park"] = setting(
        "allow", title="Unknown events", help="Events that the plan does not list. `strip`: they are skipped."
    )
    unknown_attributes: Literal["allow", "strip", "park"] = setting(
        "allow", title="Unknown attributes", help="Attributes that the plan does not list. `strip`: they are taken out."
    )
    wrong_values: Literal["allow", "strip", "park"] = setting(
        "allow", title="Wrong values", help="Values of a wrong type, or that the plan does not allow."
    )
    missing_attributes: Literal["allow", "park"] = setting(
        "allow", title="Missing attributes", help="Attributes that the plan requires and an event does not have."
    )


class InputDataPlanSettings(DataPlanSettings):
    """A data plan at an input, which can also refuse a batch: then the sender gets a 400 with the place."""

    unknown_events: Literal["allow", "strip", "park", "refuse"] = setting(  # type: ignore[assignment]  # more choices
        "allow", title="Unknown events", help="Events that the plan does not list. `strip`: they are skipped."
    )
    unknown_attributes: Literal["allow", "strip", "park", "refuse"] = setting(  # type: ignore[assignment]
        "allow", title="Unknown attributes", help="Attributes that the plan does not list. `strip`: they are taken out."
    )
    wrong_values: Literal["allow", "strip", "park", "refuse"] = setting(  # type: ignore[assignment]
        "allow", title="Wrong values", help="Values of a wrong type, or that the plan does not allow."
    )
    missing_attributes: Literal["allow", "park", "refuse"] = setting(  # type: ignore[assignment]
        "allow", title="Missing attributes", help="Attributes that the plan requires and an event does not have."
    )


class InputSettings(Section):
    """A credentialed way in."""

    source: str = setting(title="Source", help="The source type, from core or a plugin.", example="events_api")
    platform: Platform = setting(
        title="Platform", help="What the input speaks for, whatever a device says of itself.", example="web"
    )
    key: Annotated[str, Field(min_length=1)] | None = setting(
        None, title="Key", help="API key that clients send.", example="us1-demo"
    )
    secret: Credential | None = setting(
        None, title="Secret", help="API secret that clients send.", example="${env:SHOP_SECRET}"
    )
    partner_feed: Annotated[str, Field(min_length=1)] | None = setting(
        None, title="Partner feed", help="Name of the partner whose own data comes in here. Data from a destination "
        "type of this name is not sent back to it, unless a connection says `return_to_partner`.", example="CleverTap",
    )  # fmt: skip
    max_batches_per_second: int | None = setting(
        None, title="Batches per second", help="Above this rate senders get a 429. Empty: no limit.", example=500, ge=1
    )
    data_plan: InputDataPlanSettings | None = setting(
        None, title="Data plan", help="What is expected of the events that come in here, for all connections."
    )
    settings: PluginSettings = setting(
        default_factory=lambda: Secret({}), title="Settings", help="The source's own settings.", repr=False
    )


class TransformSettings(Section):
    """A transform that connections can name."""

    transform: str = setting(title="Transform", help="The transform type, from core or a plugin.", example="device_ids")
    settings: PluginSettings = setting(
        default_factory=lambda: Secret({}), title="Settings", help="The transform's own settings.", repr=False
    )


class OutputSettings(Section):
    """One account at a partner."""

    destination: str = setting(title="Destination", help="The destination type, from core or a plugin.", example="file")
    settings: PluginSettings = setting(
        default_factory=lambda: Secret({}), title="Settings", help="The destination's configuration settings.",
        repr=False,
    )  # fmt: skip


class ConnectionEntry(Section):
    """One input to one output."""

    input: str = setting(title="Input", help="Name of an input.", example="shop_web")
    output: str = setting(title="Output", help="Name of an output.", example="clevertap_eu")
    transforms: tuple[str, ...] = setting(
        (), title="Transforms", help="Names of transforms, in the order in which they are applied.",
        example=["device_ids"],
    )  # fmt: skip
    settings: PluginSettings = setting(
        default_factory=lambda: Secret({}), title="Settings", help="The destination's connection settings.", repr=False
    )
    data_plan: DataPlanSettings | None = setting(
        None, title="Data plan", help="What is expected of the records that go out here, after transforms and filters."
    )
    return_to_partner: bool = setting(
        False, title="Return to partner", help="Also send what came from this partner's own feed. Off: it is skipped, "
        "as the two would feed each other."
    )  # fmt: skip
    enabled: bool = setting(True, title="Enabled", help="A connection that is off is checked, but gets no events.")


# --- the root ---------------------------------------------------------------------------------------------------------


class RouterSettings(BaseSettings):
    """The whole file. Build it with `load_configuration`, which also reads the environment and checks the plugins."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    listen: ListenSettings = setting(default_factory=ListenSettings, title="Listen", help="Where clients send to.")
    admin: AdminSettings = setting(default_factory=AdminSettings, title="Admin", help="Where operators look.")
    log: LogSettings = setting(default_factory=LogSettings, title="Log", help="The event log.")
    delivery: DeliverySettings = setting(
        default_factory=DeliverySettings, title="Delivery", help="Grouping, retries and the end."
    )
    telemetry: TelemetrySettings = setting(
        default_factory=TelemetrySettings, title="Telemetry", help="Logs, traces and metrics."
    )
    inputs: dict[Name, InputSettings] = setting(default_factory=dict, title="Inputs", help="Ways in, by name.")
    transforms: dict[Name, TransformSettings] = setting(
        default_factory=dict, title="Transforms", help="Transforms, by name."
    )
    outputs: dict[Name, OutputSettings] = setting(
        default_factory=dict, title="Outputs", help="Accounts at partners, by name."
    )
    connections: dict[Name, ConnectionEntry] = setting(
        default_factory=dict, title="Connections", help="Which input goes to which output, by name."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given; `overrides.py` reads the environment.

        pydantic-settings' own source stops at the first fault, forgets which variable set what, and cannot see a
        plugin's models.
        """
        return (init_settings,)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        return ((None, name) for name in type(self).model_fields)
