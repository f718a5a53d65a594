"""The settings of the router itself: one YAML file, whose leaves the environment can override.

`RouterSettings` is the root and the only pydantic-settings model; everything below is a plain frozen model. Reading,
references and checks are in `check.py`. Titles, help, defaults and examples sit on the fields, because the docs and
the JSON Schema are made from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, Secret, SecretStr, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from router_core.adtracking import AttStatus
from router_core.components import setting
from router_core.events import Platform
from router_core.filters import Filters
from router_core.rules import ForwardingRules
from router_core.values import Duration, Section, Size

# --- values -----------------------------------------------------------------------------------------------------------


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _not_empty(value: SecretStr) -> SecretStr:
    # A token that is empty by an empty variable would be one that everybody knows.
    if not value.get_secret_value():
        raise PydanticCustomError("router_empty", "must not be empty")
    return value


NAME_PATTERN: Final = r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""What inputs, outputs, transforms and connections may be called; `__` is left to the environment."""

Credential = Annotated[SecretStr, AfterValidator(_not_empty)]
Port = Annotated[int, Field(ge=0, le=65535)]
PluginSettings = Annotated[Secret[dict[str, Any]], WithJsonSchema({"type": "object"})]
"""What stands under `settings`, unchecked and therefore masked: a passcode may be among it, at any place."""


# --- sections ---------------------------------------------------------------------------------------------------------


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
    custom_feed: Annotated[str, Field(min_length=1)] | None = setting(
        None, title="Custom feed", help="Name of the feed, if it is one of your own. Each event of a custom or "
        "partner feed gets the name as the attribute `mParticle Source Feed`.", example="Email Results",
    )  # fmt: skip
    act_as: Platform | None = setting(
        None, title="Act as", help="Treat this feed as data of another platform. Destinations that take feeds or that "
        "platform get it.", example="ios", platforms={Platform.DATA_FEEDS},
    )  # fmt: skip
    att_status: AttStatus | None = setting(
        None, title="ATT status", help="App Tracking Transparency status of devices that name none.",
        example="not_determined", platforms={Platform.IOS, Platform.TVOS, Platform.DATA_FEEDS},
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
    development_settings: PluginSettings | None = setting(
        None, title="Development settings", help="Configuration settings for batches of the environment `development`, "
        "complete. Each connection then has a second part, `NAME.development`. Without them, `settings` serve both.",
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
    rules: ForwardingRules = setting(
        default_factory=ForwardingRules, title="Rules", help="Which users, batches and events are sent."
    )
    filters: Filters | None = setting(None, title="Filters", help="Which names, attributes and identities are sent.")
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
