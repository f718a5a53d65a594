"""The configuration as the router uses it: checked, resolved, with component types and their parsed settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from router_core.components import DestinationType, SourceType, TransformType
from router_core.errors import Problem
from router_core.events import Platform
from router_core.plangate import PlanGate
from router_core.plugins import Plugins
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
    key: str | None = field(repr=False)
    secret: SecretStr | None
    max_batches_per_second: int | None
    partner_feed: str | None
    """Name of the partner whose data comes in here."""
    settings: Any = field(repr=False)
    data_plan: PlanGate | None = field(default=None, compare=False)

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
    data_plan: PlanGate | None = field(default=None, compare=False)

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
    """Enabled ones only."""
    findings: tuple[Finding, ...] = ()


def assemble(
    settings: RouterSettings,
    plugins: Plugins,
    parsed: Mapping[tuple[str, str], BaseModel],
    folder: Path,
    plans: Mapping[tuple[str, str], PlanGate],
) -> Configuration:
    """The whole from parts without problems.

    `parsed` holds the plugins' settings by section and entry name, `plans` the data plans of inputs and connections; a
    relative `log.path` starts at `folder`.
    """
    log = settings.log.model_copy(update={"path": folder / settings.log.path})
    inputs = {
        name: ConfiguredInput(
            name=name,
            type=plugins.source(entry.source),
            platform=entry.platform,
            key=entry.key,
            secret=entry.secret,
            max_batches_per_second=entry.max_batches_per_second,
            partner_feed=entry.partner_feed,
            settings=parsed["inputs", name],
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
    connections = {
        name: ConfiguredConnection(
            name=name,
            input=inputs[entry.input],
            output=outputs[entry.output],
            transforms=tuple(transforms[transform] for transform in entry.transforms),
            return_to_partner=entry.return_to_partner,
            settings=parsed["connections", name],
            data_plan=plans.get(("connections", name)),
        )
        for name, entry in settings.connections.items()
        if entry.enabled
    }
    return Configuration(
        settings=settings.model_copy(update={"log": log}),
        plugins=plugins,
        inputs=inputs,
        outputs=outputs,
        transforms=transforms,
        connections=connections,
    )
