"""The JSON Schema of the configuration file, for editors: core's models and those of the installed plugins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError
from pydantic.json_schema import models_json_schema

from router_core.components import DestinationType, SourceType, TransformType
from router_core.draft import PLUGIN_SETTINGS, SECTIONS
from router_core.plugins import PluginInfo, Plugins
from router_core.settings import RouterSettings

Schema = dict[str, Any]

REFERENCE: Final[Schema] = {
    "type": "string",
    "pattern": r"\$\{(env:[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?|file:[^}]+)\}",
    "description": "A reference: ${env:NAME}, ${env:NAME:-default} or ${file:/path}.",
}
_ABOUT: Final = ("title", "description", "default", "examples", "writeOnly", "platforms", "deprecated")
_ENTRIES: Final = {
    "inputs": "InputSettings", "transforms": "TransformSettings", "outputs": "OutputSettings",
    "connections": "ConnectionEntry",
}  # fmt: skip


def configuration_schema(plugins: Plugins) -> Schema:
    """JSON Schema (2020-12) of the file. Every scalar may also be a reference.

    The `settings` of an entry follow its plugin's name by if/then. Those of a connection follow the name of its output,
    which a schema cannot look up, so any installed destination's connection settings will do. Plugins that do not load
    are left out; so is a settings model that pydantic cannot describe, and then `settings` may be any mapping.
    """
    models = _models(plugins)
    described = [model for model in dict.fromkeys(model for named in models.values() for _, model in named)
                 if _can_describe(model)]  # fmt: skip
    places, schema = models_json_schema(
        [(RouterSettings, "validation"), *((model, "validation") for model in described)]
    )
    definitions: Schema = schema["$defs"]
    references = {model: places[model, "validation"] for model in described}
    root = definitions.pop(places[RouterSettings, "validation"]["$ref"].rpartition("/")[2])
    for name in list(definitions):
        definitions[name] = _with_references(definitions[name])
    for section, definition in _ENTRIES.items():
        _plug_in(definitions[definition], section, models[section], references)
    for section in SECTIONS:
        root["properties"][section]["additionalProperties"] = False  # names that the pattern does not match
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **root,
        "title": "Router Core configuration",
        "$defs": definitions,
    }


def _models(plugins: Plugins) -> dict[str, list[tuple[str, type[BaseModel]]]]:
    """By section: plugin name and model of `settings`."""
    sources: list[SourceType] = _all(plugins, lambda plugin: plugin.sources)
    transforms: list[TransformType] = _all(plugins, lambda plugin: plugin.transforms)
    destinations: list[DestinationType] = _all(plugins, lambda plugin: plugin.destinations)
    return {
        "inputs": [(item.name, item.input_settings) for item in sources],
        "transforms": [(item.name, item.settings) for item in transforms],
        "outputs": [(item.name, item.configuration_settings) for item in destinations],
        "connections": [(item.name, item.connection_settings) for item in destinations],
    }


def _all(plugins: Plugins, of: Callable[[PluginInfo], Sequence[Any]]) -> list[Any]:
    found = [item for plugin in plugins.found if plugin.error is None for item in of(plugin)]
    return sorted({item.name: item for item in found}.values(), key=lambda item: str(item.name))


def _can_describe(model: type[BaseModel]) -> bool:
    try:
        model.model_json_schema()
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError):
        return False
    return True


def _plug_in(
    entry: Schema, section: str, models: list[tuple[str, type[BaseModel]]], references: dict[type[BaseModel], Any]
) -> None:
    """Bind `settings` of an entry to the plugin that it names, and list the plugins for completion."""
    decides = SECTIONS[section]
    if section == "connections":
        choices = list(dict.fromkeys(model for _, model in models))
        if choices and all(model in references for model in choices):
            entry["properties"]["settings"]["anyOf"] = [references[model] for model in choices]
        return
    kind = entry["properties"][decides]
    entry["properties"][decides] = _or_reference({**kind, "enum": [name for name, _ in models]})
    entry["allOf"] = [
        {
            "if": {"properties": {decides: {"const": name}}, "required": [decides]},
            "then": {"properties": dict.fromkeys(_places(section), references[model])} | _needs_settings(model),
        }
        for name, model in models
        if model in references
    ]


def _places(section: str) -> Sequence[str]:
    return PLUGIN_SETTINGS if section == "outputs" else PLUGIN_SETTINGS[:1]


def _needs_settings(model: type[BaseModel]) -> Schema:
    return {"required": ["settings"]} if any(field.is_required() for field in model.model_fields.values()) else {}


def _with_references(schema: Any) -> Any:
    """The schema with `${…}` allowed wherever a scalar stands that would not take every text anyway."""
    if isinstance(schema, list):
        return [_with_references(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if _is_strict_scalar(schema):
        return _or_reference(schema)
    inner = {}
    for key, value in schema.items():
        if key in ("properties", "patternProperties", "$defs"):
            inner[key] = {name: _with_references(item) for name, item in value.items()}
        elif key in ("items", "prefixItems", "additionalProperties", "anyOf", "oneOf", "allOf"):
            inner[key] = _with_references(value)
        else:
            inner[key] = value
    return inner


def _is_strict_scalar(schema: Schema) -> bool:
    kind = schema.get("type")
    if kind in ("integer", "number", "boolean") or "enum" in schema or "const" in schema:
        return True
    return kind == "string" and any(key in schema for key in ("pattern", "maxLength"))


def _or_reference(schema: Schema) -> Schema:
    about = {key: value for key, value in schema.items() if key in _ABOUT}
    strict = {key: value for key, value in schema.items() if key not in _ABOUT}
    return {**about, "anyOf": [strict, REFERENCE]}
