"""Reads the configuration and checks it as a whole: `load_configuration` gives all problems at once, or none.

Steps: file to tree (`configfile`), references, overrides from the environment, core's models, the plugins' models, and
what no single model can see: names that lead nowhere, doubles, missing credentials. Then the lint (`lint`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from router_core.components import ComponentType, TransformType
from router_core.configfile import read_config_file
from router_core.configtree import KeyPath, Node
from router_core.configuration import (
    DEVELOPMENT,
    Configuration,
    ConfiguredConnection,
    ConfiguredInput,
    ConfiguredOutput,
    ConfiguredTransform,
    Finding,
    Severity,
    assemble,
)
from router_core.dataplan import DataPlan, read_data_plan
from router_core.draft import SECTIONS, Draft, name_shown, nearest_name, suggestion
from router_core.errors import ConfigurationError, PluginError, Problem
from router_core.events import Platform
from router_core.lint import findings_of
from router_core.overrides import apply_overrides
from router_core.plangate import PlanGate, gate_of
from router_core.plugins import PluginInfo, Plugins, load_plugins
from router_core.references import resolve_references
from router_core.schema import configuration_schema
from router_core.settings import RouterSettings
from router_core.wording import problems_of

__all__ = [
    "Configuration",
    "ConfiguredConnection",
    "ConfiguredInput",
    "ConfiguredOutput",
    "ConfiguredTransform",
    "Finding",
    "Severity",
    "configuration_schema",
    "load_configuration",
]

INSTALLED: Final[Mapping[str, Callable[[PluginInfo], Sequence[ComponentType]]]] = {
    "inputs": lambda plugin: plugin.sources,
    "transforms": lambda plugin: plugin.transforms,
    "outputs": lambda plugin: plugin.destinations,
}
"""Sections whose entries name a component type, and what a plugin brings for them."""


def load_configuration(
    path: Path,
    *,
    plugins: Plugins | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Configuration:
    """Read, resolve and check one YAML file. Without `plugins` the installed ones, without `environ` the process's.

    Raises `ConfigurationError` with every problem found. Two loads of one file compare by their parts' equality, so a
    caller that wants to know what changed loads again. Relative paths start at `folder`, by default the file's own.
    """
    environ = os.environ if environ is None else environ
    root, problems = read_config_file(path)
    draft = Draft(root, load_plugins() if plugins is None else plugins)
    folder = path.absolute().parent if folder is None else folder
    problems += resolve_references(draft, folder, environ)
    problems += apply_overrides(draft, environ)
    _drop_empty(root)
    settings, found = _core_settings(draft)
    parsed, wrong = _plugin_settings(draft)
    problems += [
        *found,
        *wrong,
        *_wrong_types(draft),
        *_wrong_names(draft),
        *_wrong_inputs(draft),
        *_wrong_feeds(draft),
        *_one_port(draft),
    ]
    parsed = {place: _anchored(model, folder) for place, model in parsed.items()}
    plans, unusable = _data_plans(settings, folder, draft) if settings is not None else ({}, [])
    problems += [*unusable, *_unusable_settings(draft, parsed)]
    if problems or settings is None:
        raise ConfigurationError(_in_order(problems))
    configuration = assemble(settings, draft.plugins, parsed, folder, plans)
    return replace(configuration, findings=tuple(findings_of(configuration, draft)))


def _in_order(problems: list[Problem]) -> list[Problem]:
    """By line, as one mends a file; what the environment set comes last."""

    def place(problem: Problem) -> tuple[bool, int]:
        line = problem.where.rpartition(":")[2]
        return (False, int(line)) if line.isdecimal() else (True, 0)

    return sorted(dict.fromkeys(problems), key=place)


def _drop_empty(root: Node) -> None:
    """A section or `settings:` with nothing below it means the defaults."""
    for name in RouterSettings.model_fields:
        _drop(root, name)
    for section in SECTIONS:
        node = root.child(section)
        for entry in node.mapping.values() if node else ():
            for place in ("settings", "transforms", "rules", "filters"):
                _drop(entry, place)


def _drop(node: Node, name: str) -> None:
    if name in node.mapping and node.mapping[name].value is None:
        del node.mapping[name]


# --- models -----------------------------------------------------------------------------------------------------------


def _core_settings(draft: Draft) -> tuple[RouterSettings | None, list[Problem]]:
    values = draft.root.plain()
    # pydantic-settings takes arguments of its own (`_env_file`, `_secrets_dir`) by the same door; a file must not.
    unknown = [name for name in values if name not in RouterSettings.model_fields]
    problems = [_unknown_section(draft, name) for name in unknown]
    try:
        return RouterSettings(**{name: value for name, value in values.items() if name not in unknown}), problems
    except ValidationError as error:
        return None, problems + list(problems_of(error, draft))


def _unknown_section(draft: Draft, name: str) -> Problem:
    error = ValidationError.from_exception_data("", [{"type": "extra_forbidden", "loc": (name,), "input": None}])
    return next(problems_of(error, draft))


def _wrong_types(draft: Draft) -> Iterator[Problem]:
    """Entries whose component type is not installed, is broken, or speaks another contract."""
    for section in INSTALLED:
        for name in _entries(draft, section):
            path = (section, name, SECTIONS[section])
            wanted = draft.root.text(*path)
            if wanted is None:
                continue
            try:
                draft.component_type(section, name)
            except PluginError as error:
                yield _wrong_type(draft, path, wanted, str(error))


def _wrong_type(draft: Draft, path: KeyPath, wanted: str, text: str) -> Problem:
    known = sorted({item.name for plugin in draft.plugins.found for item in INSTALLED[str(path[0])](plugin)})
    # `Plugins` quotes the name, which must not be if it is a secret at the wrong place.
    if wanted in known or name_shown(draft.root.nearest(path)):
        return draft.problem(path, text)
    return draft.problem(path, f"no {path[-1]} has this name.", suggestion(wanted, known))


def _plugin_settings(draft: Draft) -> tuple[dict[tuple[str, str], BaseModel], list[Problem]]:
    """The parsed settings by section and entry, as far as they can be had, and what is wrong with the others."""
    parsed: dict[tuple[str, str], BaseModel] = {}
    problems: list[Problem] = []
    for section in SECTIONS:
        for name in _entries(draft, section):
            model = draft.settings_model(section, name)
            if model is None:
                continue  # reported already, by the plugin's name
            places = {"settings": section}
            if section == "outputs" and draft.root.at((section, name, "development_settings")) is not None:
                places["development_settings"] = DEVELOPMENT
            for setting, kept_as in places.items():
                path = (section, name, setting)
                node = draft.root.at(path)
                if node is not None and not isinstance(node.value, dict):
                    continue  # reported already, by core's models
                try:
                    parsed[kept_as, name] = model.model_validate(node.plain() if node else {})
                except ValidationError as error:
                    problems.extend(problems_of(error, draft, path))
                except Exception as error:  # a plugin's own validator may raise anything; its text may hold a value
                    what = f"the plugin's settings model failed with {type(error).__name__}."
                    problems.append(draft.problem(path, what, "Tell the plugin's author."))
    return parsed, problems


def _unusable_settings(draft: Draft, parsed: Mapping[tuple[str, str], BaseModel]) -> Iterator[Problem]:
    """What a transform finds wrong with settings that its model takes: a function that is not there, say."""
    for (section, name), settings in parsed.items():
        kind = draft.component_type(section, name) if section == "transforms" else None
        if isinstance(kind, TransformType) and kind.problems is not None:
            for setting, what, mend in kind.problems(settings):
                yield draft.problem((section, name, "settings", setting), what, mend)


def _data_plans(
    settings: RouterSettings, folder: Path, draft: Draft
) -> tuple[dict[tuple[str, str], PlanGate], list[Problem]]:
    """The data plans by section and entry, each file read once."""
    plans: dict[Path, DataPlan] = {}
    gates: dict[tuple[str, str], PlanGate] = {}
    problems: list[Problem] = []
    wanted = chain(
        ((("inputs", name), entry.data_plan) for name, entry in settings.inputs.items()),
        ((("connections", name), connection.data_plan) for name, connection in settings.connections.items()),
    )
    for place, plan in wanted:
        if plan is None:
            continue
        path = folder / plan.path
        if not path.is_file():
            what = f"there is no file {plan.path}."
            problems.append(draft.problem((*place, "data_plan", "path"), what, "Check the path."))
            continue
        try:
            plans[path] = plans.get(path) or read_data_plan(path)
        except ConfigurationError as error:
            problems += error.problems
        else:
            gates[place] = gate_of(plans[path], plan)
    return gates, problems


def _anchored(value: Any, folder: Path) -> Any:
    """The value with its relative paths starting at the folder; itself if it holds none."""
    if isinstance(value, Path):
        return folder / value  # an absolute path stays
    if isinstance(value, BaseModel):
        fields = {name: getattr(value, name) for name in type(value).model_fields}
        moved = {name: _anchored(item, folder) for name, item in fields.items()}
        changed = {name: item for name, item in moved.items() if item is not fields[name]}
        return value.model_copy(update=changed) if changed else value
    if type(value) in (list, tuple):
        items = [_anchored(item, folder) for item in value]
        return type(value)(items) if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if type(value) is dict:
        return {key: _anchored(item, folder) for key, item in value.items()}
    return value


def _entries(draft: Draft, section: str) -> Iterator[str]:
    node = draft.root.child(section)
    yield from (name for name, entry in (node.mapping if node else {}).items() if isinstance(entry.value, dict))


# --- what no single model sees ----------------------------------------------------------------------------------------


def _wrong_names(draft: Draft) -> Iterator[Problem]:
    sections = RouterSettings.model_fields
    # `output:` for `outputs:` is reported itself; that then nothing is found there says nothing new.
    mistyped = {nearest_name(name, sections) for name in draft.root.mapping if name not in sections}
    missing = {section for section in SECTIONS if section in mistyped and draft.root.child(section) is None}
    yield from (problem for section, problem in _leading_nowhere(draft) if section not in missing)


def _leading_nowhere(draft: Draft) -> Iterator[tuple[str, Problem]]:
    for name in _entries(draft, "connections"):
        path = ("connections", name)
        yield from _wrong_name(draft, (*path, "input"), "inputs")
        yield from _wrong_name(draft, (*path, "output"), "outputs")
        transforms = draft.root.at((*path, "transforms"))
        if transforms is not None and isinstance(transforms.value, list):
            for position in range(len(transforms.value)):
                yield from _wrong_name(draft, (*path, "transforms", position), "transforms")


def _wrong_name(draft: Draft, path: KeyPath, section: str) -> Iterator[tuple[str, Problem]]:
    wanted = draft.root.text(*path)
    node = draft.root.child(section)
    known = [name for name in node.mapping if not _is_odd(draft, section, name)] if node else []
    if wanted is None or (node and wanted in node.mapping):
        return
    shown = name_shown(draft.root.nearest(path))
    what = f"no {section[:-1]} is named {shown!r}." if shown else f"no {section[:-1]} has this name."
    yield section, draft.problem(path, what, suggestion(wanted, known))


def _is_odd(draft: Draft, section: str, name: str) -> bool:
    return draft.dotted((section, name)) != f"{section}.{name}"


def _wrong_inputs(draft: Draft) -> Iterator[Problem]:
    owners: dict[tuple[str, str], str] = {}
    for name in _entries(draft, "inputs"):
        text, path = draft.root.text, ("inputs", name)
        try:
            source = draft.plugins.source(text(*path, "source") or "")
        except PluginError:
            continue
        for setting, needed in (("key", source.needs_key), ("secret", source.needs_secret)):
            node = draft.root.at((*path, setting))
            if needed and (node is None or node.value is None):
                mend = f"Add `{setting}:`" + (" by ${env:NAME} or ${file:/path}." if setting == "secret" else ".")
                yield draft.problem((*path, setting), f"is required by the source {source.name!r}.", mend)
        key = text(*path, "key")
        if key:
            first = owners.setdefault((source.name, key), name)
            if first != name:
                what = f"the input {first!r} of the same source has the same key."
                yield draft.problem((*path, "key"), what, "Give each input a key of its own.")


def _wrong_feeds(draft: Draft) -> Iterator[Problem]:
    for name in _entries(draft, "inputs"):
        text, path = draft.root.text, ("inputs", name)
        if text(*path, "custom_feed") and text(*path, "partner_feed"):
            what = "the input is also a partner's feed."
            yield draft.problem((*path, "custom_feed"), what, "Keep one of `custom_feed` and `partner_feed`.")
        if text(*path, "act_as") and text(*path, "platform") not in (None, Platform.DATA_FEEDS):
            what = "only a feed can act as another platform."
            yield draft.problem((*path, "act_as"), what, "Write `platform: data_feeds`, or remove this line.")


def _one_port(draft: Draft) -> Iterator[Problem]:
    listen, admin = _port(draft, "listen"), _port(draft, "admin")
    if listen == admin and listen:  # 0 lets the system choose, twice
        section = "admin" if draft.root.at(("admin", "port")) else "listen"
        what = f"is {listen}, which is also the port of {'listen' if section == 'admin' else 'admin'}."
        yield draft.problem((section, "port"), what, "Choose another one.")


def _port(draft: Draft, section: str) -> int | None:
    node = draft.root.at((section, "port"))
    if node is None:
        default: int = getattr(RouterSettings.model_fields[section].get_default(call_default_factory=True), "port", 0)
        return default
    try:
        return int(str(node.value))
    except ValueError:
        return None
