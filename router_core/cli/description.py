"""What a component type says of itself, as plain data: what it takes, its limits, a row for each of its settings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from router_core.cli.plugins import components_of, error_of
from router_core.components import ComponentType, DestinationType, Limits, SourceType, TransformType
from router_core.draft import Slot, fields_of
from router_core.events import DeviceIdentity, EventType, Platform, UserIdentity
from router_core.plugins import PluginInfo, Plugins
from router_core.values import Size

_DEEPEST: Final = 4
_SIZE: Final = Size.__metadata__[0]  # type: ignore[attr-defined]  # Annotated has it
_MASK: Final = "***"
_PLAIN: Final[Mapping[Any, str]] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    bytes: "bytes",
    timedelta: "duration",
    Any: "anything",
}


def descriptions_of(installed: Plugins, name: str, kind: str | None) -> list[dict[str, Any]]:
    """All sources, transforms and destinations of this name; most often one."""
    return [
        _description(installed, plugin, found, component)
        for plugin in installed.found
        for found, component in components_of(plugin)
        if component.name == name and found != "command" and kind in (None, found)
    ]


def known_names(installed: Plugins, kind: str | None) -> list[str]:
    """What can be described."""
    return sorted({
        component.name
        for plugin in installed.found
        for found, component in components_of(plugin)
        if found != "command" and kind in (None, found)
    })  # fmt: skip


def _description(installed: Plugins, plugin: PluginInfo, kind: str, component: ComponentType) -> dict[str, Any]:
    about: dict[str, Any] = {
        "kind": kind,
        "name": component.name,
        "title": component.title,
        "summary": component.summary,
        "contract": component.contract,
        "stability": component.stability,
        "plugin": {"name": plugin.name, "distribution": plugin.distribution, "version": plugin.version},
        "error": error_of(installed, kind, component),
    }
    if isinstance(component, DestinationType):
        return about | _of_destination(component)
    if isinstance(component, SourceType):
        return about | {
            "needs_key": component.needs_key,
            "needs_secret": component.needs_secret,
            "channel": component.channel,
            "settings": {"input": settings_of(component.input_settings)},
        }
    assert isinstance(component, TransformType)
    return about | {"settings": {"transform": settings_of(component.settings)}}


def _of_destination(component: DestinationType) -> dict[str, Any]:
    accepts, kit, limits = component.accepts, component.kit, _limits(component)
    by_kit = kit.event_types if kit is not None else ()
    return {
        "accepts": {
            "platforms": _in_order(Platform, accepts.platforms),
            "event_types": _in_order(EventType, [one for one in accepts.event_types if one not in by_kit]),
            "profile_updates": accepts.profile_updates,
            "user_identities": _in_order(UserIdentity, accepts.user_identities),
            "device_identities": _in_order(DeviceIdentity, accepts.device_identities),
        },
        "erases": component.erases,
        "kit": None if kit is None else {"module_id": kit.module_id, "event_types": _in_order(EventType, by_kit)},
        "limits": {
            "records": limits.records,
            "calls_in_flight": limits.calls_in_flight,
            "timeout_seconds": limits.timeout.total_seconds(),
            "depend_on_settings": component.limits_for is not None,
        },
        "settings": {
            "configuration": settings_of(component.configuration_settings),
            "connection": settings_of(component.connection_settings),
        },
    }


def _in_order(members: type[Enum], chosen: Collection[Any]) -> list[str]:
    return [str(member.value) for member in members if member in chosen]


def _limits(component: DestinationType) -> Limits:
    """Those of an account with default settings, as far as they can be had without the required ones."""
    try:
        return component.limits_of(component.configuration_settings.model_construct())
    except Exception:  # a plugin's function may want a setting that has no default
        return component.limits


# --- settings ---------------------------------------------------------------------------------------------------------


def settings_of(model: type[BaseModel]) -> list[dict[str, Any]]:
    """A row for each setting, those of nested models with a dotted name. No secret's default is shown."""
    return list(_rows(model, "", 1))


def _rows(model: type[BaseModel], prefix: str, depth: int) -> Iterator[dict[str, Any]]:
    for name, field in fields_of(model).items():
        slot = Slot(field.annotation, field)
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        yield {
            "name": prefix + name,
            "title": field.title or "",
            "type": type_text(field),
            "required": field.is_required(),
            "default": None if field.is_required() else _default(field, slot.is_secret),
            "secret": slot.is_secret,
            "platforms": extra.get("platforms"),
            "help": field.description or "",
            "example": _example(field, slot.is_secret),
        }
        for way, inner in _models_below(field.annotation):
            if depth < _DEEPEST:
                yield from _rows(inner, f"{prefix}{name}{way}.", depth + 1)


def _default(field: FieldInfo, secret: bool) -> Any:
    try:
        value = field.get_default(call_default_factory=True)
    except Exception:  # a plugin's factory may want validated data, or fail
        return None
    if secret and value is not None:
        return _MASK
    return _plain(value)


def _plain(value: Any) -> Any:
    """Settings as one would write them into the file; secrets come out masked."""
    if isinstance(value, timedelta):
        return _duration(value)
    if isinstance(value, BaseModel):
        return None  # its settings have rows of their own
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if hasattr(value, "get_secret_value"):
        return _MASK
    return to_jsonable_python(value, fallback=lambda other: type(other).__name__)


def _duration(value: timedelta) -> str:
    milliseconds = round(value.total_seconds() * 1000)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0 and (unit != "d" or milliseconds > size):
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def _example(field: FieldInfo, secret: bool) -> Any:
    example = field.examples[0] if field.examples else None
    if secret and not str(example).startswith("${"):
        return None
    return _plain(example)


# --- types ------------------------------------------------------------------------------------------------------------


def type_text(field: FieldInfo) -> str:
    """The type in words, with its bounds: `whole number, 1 to 15`."""
    bounds = _bounds(field.metadata)
    if _SIZE in field.metadata:
        return f"size{bounds}"
    return f"{_words(field.annotation)}{bounds}"


def _words(annotation: Any) -> str:
    variants = [variant for variant in Slot(annotation).variants if variant is not type(None)]
    return " or ".join(dict.fromkeys(_word(variant) for variant in variants)) or "nothing"


def _word(variant: Any) -> str:
    origin, arguments = get_origin(variant) or variant, get_args(variant)
    if origin is Literal:
        return _choice(arguments)
    if variant in _PLAIN:
        return _PLAIN[variant]
    if not isinstance(origin, type):
        return str(variant)
    if issubclass(origin, Enum):
        return _choice([member.value for member in origin])
    return next((word(arguments) for kind, word in _WORDS if issubclass(origin, kind)), origin.__name__)


_WORDS: Final[Sequence[tuple[type, Callable[[Sequence[Any]], str]]]] = (
    (str, lambda _: "text"),
    (SecretStr, lambda _: "text"),
    (SecretBytes, lambda _: "text"),
    (Secret, lambda arguments: _words(arguments[0]) if arguments else "text"),
    (Path, lambda _: "path"),
    (BaseModel, lambda _: "settings"),
    (Mapping, lambda arguments: f"mapping of names to {_words(arguments[1])}" if len(arguments) == 2 else "mapping"),
    (Collection, lambda arguments: f"list of {_words(arguments[0])}" if arguments else "list"),
)


def _choice(values: Sequence[Any]) -> str:
    return ", ".join(str(value) for value in values)


def _bounds(metadata: Sequence[Any]) -> str:
    least = next((item.ge for item in metadata if isinstance(item, Ge)), None)
    most = next((item.le for item in metadata if isinstance(item, Le)), None)
    if least is not None and most is not None:
        return f", {least} to {most}"
    words = {Ge: "at least", Gt: "more than", Le: "at most", Lt: "less than"}
    said = [f"{words[type(item)]} {_bound(item)}" for item in metadata if type(item) in words]
    return "".join(f", {text}" for text in said)


def _bound(item: Any) -> Any:
    value = next(getattr(item, name) for name in ("ge", "gt", "le", "lt") if hasattr(item, name))
    return _duration(value) if isinstance(value, timedelta) else value


def _models_below(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """Models that a value of this type is or holds, with the way there: "", `[]`, `.<name>`."""
    for variant in Slot(annotation).variants:
        origin, arguments = get_origin(variant) or variant, get_args(variant)
        if isinstance(origin, type) and issubclass(origin, BaseModel):
            yield "", origin
        elif isinstance(origin, type) and issubclass(origin, Mapping) and len(arguments) == 2:
            yield from ((f".<name>{way}", model) for way, model in _models_below(arguments[1]))
        elif isinstance(origin, type) and issubclass(origin, Collection) and arguments:
            yield from ((f"[]{way}", model) for way, model in _models_below(arguments[0]))
