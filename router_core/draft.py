"""The configuration while it is being checked: the tree as written, beside what the models say of each place in it."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from router_core.components import DestinationType, SourceType, TransformType
from router_core.configtree import KeyPath, Node, Origin, is_printable
from router_core.errors import PluginError, Problem
from router_core.plugins import Plugins
from router_core.settings import RouterSettings

SECTIONS: Final = {"inputs": "source", "transforms": "transform", "outputs": "destination", "connections": "output"}
"""The sections of named entries, each with the setting that decides which model its `settings` have."""
SETTINGS_DEPTH: Final = 3
"""Length of `(section, name, "settings")`, where core's models end and a plugin's begin."""
PLUGIN_SETTINGS: Final = ("settings", "development_settings")
"""Names of the places that a plugin's model describes; only outputs have the second."""


@dataclass(frozen=True)
class Slot:
    """What a model says of one place: the type, and the field if it is one."""

    annotation: Any
    field: FieldInfo | None = None

    @property
    def variants(self) -> list[Any]:
        """The types that may stand here: unions and Annotated opened."""
        return list(_variants(self.annotation))

    @property
    def is_secret(self) -> bool:
        """Whether a secret stands here."""
        return any(
            get_origin(variant) is Secret
            or (isinstance(variant, type) and issubclass(variant, (SecretStr, SecretBytes, Secret)))
            for variant in self.variants
        )

    @property
    def takes_json(self) -> bool:
        """Whether only lists, mappings and models may stand here, so that text for it must be JSON."""
        solid = [variant for variant in self.variants if variant is not type(None)]
        return bool(solid) and all(is_container(variant) for variant in solid)

    @property
    def names(self) -> list[str]:
        """The settings below this place, as they are written."""
        return [name for model in self.variants if _is_model(model) for name in fields_of(model)]

    def below(self, segment: str | int, *, fold: bool = False) -> tuple[str | int, Slot] | None:
        """The place one step down, with its name as the model spells it; None when the models know no such place.

        `fold` compares without regard to case, for environment variables.
        """
        for variant in self.variants:
            if variant is Any:
                return segment, ANYTHING
            if _is_model(variant):
                for name, field in fields_of(variant).items():
                    if name == segment or (fold and name.lower() == str(segment).lower()):
                        return name, Slot(field.annotation, field)
            elif _origin(variant) in _MAPPINGS:
                return segment, Slot((*get_args(variant), Any, Any)[1])
            elif is_container(variant) and isinstance(segment, int):
                return segment, Slot((*get_args(variant), Any)[0])
        return None


ANYTHING: Final = Slot(Any)
_MAPPINGS: Final = (dict, Mapping)


def _variants(annotation: Any) -> Iterator[Any]:
    if hasattr(annotation, "__value__"):  # `type X = …`
        yield from _variants(annotation.__value__)
    elif get_origin(annotation) is Annotated:
        yield from _variants(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for argument in get_args(annotation):
            yield from _variants(argument)
    else:
        yield annotation


def _origin(variant: Any) -> Any:
    return get_origin(variant) or variant


def is_container(variant: Any) -> bool:
    """Whether a type holds other values: list, tuple, set, mapping or model."""
    origin = _origin(variant)
    return isinstance(origin, type) and issubclass(origin, (Collection, BaseModel)) and not issubclass(
        origin, (str, bytes)
    )  # fmt: skip


def _is_model(variant: Any) -> bool:
    return isinstance(variant, type) and issubclass(variant, BaseModel)


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The model's fields by the name that the file uses for them."""
    return {
        alias if isinstance(alias := field.validation_alias, str) else name: field
        for name, field in model.model_fields.items()
    }


class UnknownPlace(Exception):
    """The models know no such place. `parent` is the deepest known path, `known` the names below it."""

    def __init__(self, parent: KeyPath, slot: Slot) -> None:
        self.parent = parent
        self.slot = slot
        self.known = slot.names


@dataclass(frozen=True)
class Draft:
    """The tree and the plugins, with what all checks need: which model, which words, which place."""

    root: Node
    plugins: Plugins

    def component_type(self, section: str, name: str) -> SourceType | TransformType | DestinationType:
        """The type that the entry names; for a connection, that of its output. Raises `PluginError`."""
        match section:
            case "inputs":
                return self.plugins.source(self.root.text(section, name, "source") or "")
            case "transforms":
                return self.plugins.transform(self.root.text(section, name, "transform") or "")
            case "outputs":
                return self.plugins.destination(self.root.text(section, name, "destination") or "")
            case _:
                return self.plugins.destination(
                    self.root.text("outputs", self.root.text(section, name, "output") or "", "destination") or ""
                )

    def settings_model(self, section: str, name: str) -> type[BaseModel] | None:
        """The plugin's model for the entry's `settings`; None when the plugin is not known or does not load."""
        try:
            item = self.component_type(section, name)
        except PluginError:
            return None
        if isinstance(item, SourceType):
            return item.input_settings
        if isinstance(item, TransformType):
            return item.settings
        return item.connection_settings if section == "connections" else item.configuration_settings

    def slot(self, path: Sequence[str | int], *, fold: bool = False) -> tuple[KeyPath, Slot]:
        """What the models say of a path, with the path as they spell it. Raises `UnknownPlace`."""
        found: KeyPath = ()
        slot = Slot(RouterSettings)
        for segment in path:
            step = slot.below(segment, fold=fold)
            if step is None:
                raise UnknownPlace(found, slot)
            found, slot = (*found, step[0]), step[1]
            if len(found) == SETTINGS_DEPTH and found[0] in SECTIONS and found[2] in PLUGIN_SETTINGS:
                model = self.settings_model(str(found[0]), str(found[1]))
                slot = Slot(dict[str, Any] if model is None else model)
        return found, slot

    def is_secret(self, path: KeyPath) -> bool:
        """Whether the models want a secret at this path."""
        try:
            return self.slot(path)[1].is_secret
        except UnknownPlace:
            return False

    def dotted(self, path: KeyPath) -> str:
        """`connections.web.transforms[0]`. A key that may be a value in disguise is shown as `…`."""
        text = ""
        for depth, segment in enumerate(path, start=1):
            if isinstance(segment, int):
                text += f"[{segment}]"
            else:
                text += f".{segment}" if self._shows(path[:depth]) else ".…"
        return text.lstrip(".")

    def _shows(self, path: KeyPath) -> bool:
        name = str(path[-1])
        try:
            if name in self.slot(path[:-1])[1].names:
                return True
        except UnknownPlace:
            pass
        node = self.root.at(path)
        # In `{S3CR3T}` the secret is a key without a value.
        return is_printable(name) and (node is None or node.value is not None)

    def problem(self, path: KeyPath, what: str, mend: str = "") -> Problem:
        """A problem with the value at this path, or with the nearest one above it."""
        return Problem(where=str(self.root.nearest(path).place), path=self.dotted(path), what=what, mend=mend)

    def is_broken(self, path: KeyPath) -> bool:
        """Whether a reference at or below this path has no value."""
        node = self.root.at(path)
        return node is not None and any(below.origin is Origin.BROKEN for _, below in node.walk())


_NAME_SHOWN = re.compile(r"[a-z]+[0-9]{0,2}(_[a-z]+[0-9]{0,2}|_[0-9]{1,2})*")


def name_shown(node: Node) -> str | None:
    """The value, if it reads like a name and not like a token; None otherwise and for what came from a reference."""
    value = node.value
    plain = node.origin in (Origin.FILE, Origin.ENVIRONMENT)
    return value if plain and isinstance(value, str) and len(value) <= 40 and _NAME_SHOWN.fullmatch(value) else None


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    names = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    return names[near[0]] if near else None


def suggestion(name: str, known: Sequence[str]) -> str:
    """`Did you mean 'region'?`, or the known names."""
    near = nearest_name(name, known)
    return f"Did you mean {near!r}?" if near else f"Known: {', '.join(sorted(known)) or 'none'}."
