"""The configuration as the router uses it: checked, resolved, with component types and their parsed settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from router_core.adtracking import AttStatus
from router_core.components import DestinationType, SourceType, TransformType
from router_core.errors import Problem
from router_core.events import Platform
from router_core.filters import Filters
from router_core.plangate import PlanGate
from router_core.plugins import Plugins
from router_core.rules import ForwardingRules
from router_core.settings import RouterSettings


class Severity(StrEnum):
    """How much a finding matters."""

    WARNING = "warning"
    """Works, but probably not as meant, or not safely."""
    NOTE = "note"
    """Harmless; worth tidying up."""


@dataclass(frozen=True, kw_only=True)
class Finding(Problem):
    """Something that does not stop the start: same words as a problem, with a severity."""

    severity: Severity = Severity.WARNING


@dataclass(frozen=True, kw_only=True)
class ConfiguredInput:
    """One input. `settings` is an instance of the source's input settings."""

    name: str
    type: SourceType
    platform: Platform
    """For a feed that acts as another platform, that one."""
    key: str | None = field(repr=False)
    secret: SecretStr | None
    max_batches_per_second: int | None
    partner_feed: str | None
    """Name of the partner whose data comes in here."""
    settings: Any = field(repr=False)
    custom_feed: str | None = None
    is_feed: bool = False
    """Whether no app or page sends it."""
    att_status: AttStatus | None = None
    """For devices without one."""
    data_plan: PlanGate | None = field(default=None, compare=False)

    @property
    def feed(self) -> str | None:
        """The name that its events carry, if it is a custom or partner feed."""
        return self.custom_feed or self.partner_feed

    @property
    def channel(self) -> str:
        """mParticle's channel of what comes in here."""
        return self.type.channel if self.partner_feed is None else "partner"


@dataclass(frozen=True, kw_only=True)
class ConfiguredOutput:
    """One output. `settings` is an instance of the destination's configuration settings."""

    name: str
    type: DestinationType
    settings: Any = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class ConfiguredTransform:
    """One transform. `settings` is an instance of the transform's settings."""

    name: str
    type: TransformType
    settings: Any = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class ConfiguredConnection:
    """One connection that is enabled. `settings` is an instance of the destination's connection settings."""

    name: str
    input: ConfiguredInput
    output: ConfiguredOutput
    transforms: tuple[ConfiguredTransform, ...]
    return_to_partner: bool
    settings: Any = field(repr=False)
    rules: ForwardingRules = field(default_factory=ForwardingRules)
    filters: Filters | None = None
    data_plan: PlanGate | None = field(default=None, compare=False)
    is_part: bool = False
    """Whether it is for one environment, because the output has settings for development."""

    @property
    def path(self) -> str:
        """Where it stands in the file; the two parts of a connection with development settings share one place."""
        return f"connections.{self.name.partition('.')[0]}"

    @property
    def is_loop(self) -> bool:
        """Whether a partner would get back what came from its own feed, and nobody asked for that."""
        feed, kind = self.input.partner_feed, self.output.type
        return feed is not None and feed.lower() in (kind.name, kind.title.lower()) and not self.return_to_partner


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """The checked whole. Its repr shows no value that a plugin's settings hold."""

    settings: RouterSettings
    plugins: Plugins
    inputs: Mapping[str, ConfiguredInput]
    outputs: Mapping[str, ConfiguredOutput]
    transforms: Mapping[str, ConfiguredTransform]
    connections: Mapping[str, ConfiguredConnection]
    """Enabled ones only, by name; of one with development settings each part."""
    findings: tuple[Finding, ...] = ()

    def parts_of(self, name: str) -> Sequence[ConfiguredConnection]:
        """What a connection as the file names it consists of: itself, or a part for each environment."""
        return [one for one in self.connections.values() if one.name.partition(".")[0] == name]


DEVELOPMENT = "development"


def _parts(whole: ConfiguredConnection, development: Any) -> Iterator[ConfiguredConnection]:
    """A connection for each environment, if the output has settings for development.

    Each has its own place in the log, its own state and its own dead letters, so wrong credentials of one environment
    do not hold up the other.
    """
    if development is None:
        yield whole
        return
    output = replace(whole.output, name=f"{whole.output.name}.{DEVELOPMENT}", settings=development)
    if "production" in whole.rules.environments:
        yield replace(whole, is_part=True, rules=whole.rules.model_copy(update={"environments": ("production",)}))
    if DEVELOPMENT in whole.rules.environments:
        rules = whole.rules.model_copy(update={"environments": (DEVELOPMENT,)})
        yield replace(whole, name=f"{whole.name}.{DEVELOPMENT}", output=output, is_part=True, rules=rules)


def assemble(
    settings: RouterSettings,
    plugins: Plugins,
    parsed: Mapping[tuple[str, str], BaseModel],
    folder: Path,
    plans: Mapping[tuple[str, str], PlanGate],
) -> Configuration:
    """The whole from parts without problems.

    `parsed` holds the plugins' settings by section and entry name, those for development under `development`; `plans`
    the data plans of inputs and connections, which both parts of a connection share. A relative `log.path` starts at
    `folder`.
    """
    log = settings.log.model_copy(update={"path": folder / settings.log.path})
    inputs = {
        name: ConfiguredInput(
            name=name,
            type=plugins.source(entry.source),
            platform=entry.act_as or entry.platform,
            key=entry.key,
            secret=entry.secret,
            max_batches_per_second=entry.max_batches_per_second,
            partner_feed=entry.partner_feed,
            settings=parsed["inputs", name],
            custom_feed=entry.custom_feed,
            is_feed=entry.platform is Platform.DATA_FEEDS,
            att_status=entry.att_status,
            data_plan=plans.get(("inputs", name)),
        )
        for name, entry in settings.inputs.items()
    }
    outputs = {
        name: ConfiguredOutput(name=name, type=plugins.destination(entry.destination), settings=parsed["outputs", name])
        for name, entry in settings.outputs.items()
    }
    transforms = {
        name: ConfiguredTransform(
            name=name, type=plugins.transform(entry.transform), settings=parsed["transforms", name]
        )
        for name, entry in settings.transforms.items()
    }
    connections: dict[str, ConfiguredConnection] = {}
    for name, entry in settings.connections.items():
        whole = ConfiguredConnection(
            name=name,
            input=inputs[entry.input],
            output=outputs[entry.output],
            transforms=tuple(transforms[transform] for transform in entry.transforms),
            return_to_partner=entry.return_to_partner,
            settings=parsed["connections", name],
            rules=entry.rules,
            filters=entry.filters,
            data_plan=plans.get(("connections", name)),
        )
        if entry.enabled:
            connections |= {part.name: part for part in _parts(whole, parsed.get((DEVELOPMENT, entry.output)))}
    return Configuration(
        settings=settings.model_copy(update={"log": log}),
        plugins=plugins,
        inputs=inputs,
        outputs=outputs,
        transforms=transforms,
        connections=connections,
    )
