"""Finds plugins through entry points, one by one, so that a broken one harms nobody who does not use it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import pluggy

from router_core import hookspecs
from router_core.components import CONTRACT, CommandType, ComponentType, DestinationType, SourceType, TransformType
from router_core.errors import PluginError

T = TypeVar("T", bound=ComponentType)


@dataclass(kw_only=True)
class PluginInfo:
    """One plugin found: its entry point, where it comes from, what it brings, or why it does not load."""

    name: str
    distribution: str
    version: str
    error: str | None = None
    sources: list[SourceType] = field(default_factory=list)
    transforms: list[TransformType] = field(default_factory=list)
    destinations: list[DestinationType] = field(default_factory=list)
    commands: list[CommandType] = field(default_factory=list)

    @property
    def origin(self) -> str:
        """`distribution version`, for messages."""
        return f"{self.distribution} {self.version}".strip()


class Plugins:
    """All plugins of this installation. Build it with `load_plugins`; there is no module-level instance."""

    def __init__(self, manager: pluggy.PluginManager, found: Sequence[PluginInfo]) -> None:
        self.manager = manager
        self.found = found

    def source(self, name: str) -> SourceType:
        """The source type of this name. Raises `PluginError` with the nearest name, or the plugin's own error."""
        return self._named("source", name, lambda plugin: plugin.sources)

    def transform(self, name: str) -> TransformType:
        """The transform type of this name; errors as `source`."""
        return self._named("transform", name, lambda plugin: plugin.transforms)

    def destination(self, name: str) -> DestinationType:
        """The destination type of this name; errors as `source`."""
        return self._named("destination", name, lambda plugin: plugin.destinations)

    def command(self, name: str) -> CommandType:
        """The commands of this name; errors as `source`."""
        return self._named("command", name, lambda plugin: plugin.commands)

    def commands(self) -> list[CommandType]:
        """The commands of all plugins that load."""
        return [command for plugin in self.found if plugin.error is None for command in plugin.commands]

    def _named(self, kind: str, name: str, of: Callable[[PluginInfo], Sequence[T]]) -> T:
        owners = [(plugin, item) for plugin in self.found for item in of(plugin) if item.name == name]
        if len(owners) > 1:
            who = " and ".join(plugin.origin for plugin, _ in owners)
            raise PluginError(f"two plugins bring a {kind} named {name!r}: {who}. Uninstall one of them.")
        if owners:
            plugin, item = owners[0]
            if plugin.error:
                raise PluginError(f"the plugin of {kind} {name!r} ({plugin.origin}) is broken: {plugin.error}")
            if item.contract != CONTRACT:
                raise PluginError(
                    f"{kind} {name!r} of {plugin.origin} is made for plugin contract {item.contract}; this core speaks "
                    f"{CONTRACT}. Install a version of {plugin.distribution} for contract {CONTRACT}."
                )
            return item
        known = sorted({item.name for plugin in self.found for item in of(plugin)})
        raise PluginError(self._unknown(kind, name, known))

    def _unknown(self, kind: str, name: str, known: list[str]) -> str:
        text = f"no {kind} is named {name!r}."
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        text += f" Did you mean {near[0]!r}?" if near else f" Installed: {', '.join(known) or 'none'}."
        broken = [f"{plugin.origin} ({plugin.error})" for plugin in self.found if plugin.error]
        return f"{text} These plugins do not load: {'; '.join(broken)}." if broken else text


def load_plugins(candidates: Iterable[EntryPoint] | None = None) -> Plugins:
    """Load every plugin of the entry-point group, or just `candidates`. Never raises for a plugin's fault."""
    found: list[PluginInfo] = []
    manager = pluggy.PluginManager(hookspecs.NAMESPACE)
    manager.add_hookspecs(hookspecs)
    points = entry_points(group=hookspecs.ENTRY_POINT_GROUP) if candidates is None else candidates
    for point in sorted(points, key=lambda p: (p.dist.name if p.dist else "", p.name)):
        dist = point.dist
        info = PluginInfo(
            name=point.name, distribution=dist.name if dist else "unknown", version=dist.version if dist else ""
        )
        found.append(info)
        try:
            _register(manager, info, point.load())
        except BaseException as error:  # a plugin may raise anything while it is imported, SystemExit included
            if isinstance(error, KeyboardInterrupt):
                raise
            info.error = f"{type(error).__name__}: {error}".splitlines()[0]
    return Plugins(manager, found)


def _register(manager: pluggy.PluginManager, info: PluginInfo, module: Any) -> None:
    """Check one plugin in a manager of its own, so that its hook errors name it, then admit it."""
    trial = pluggy.PluginManager(hookspecs.NAMESPACE)
    trial.add_hookspecs(hookspecs)
    trial.register(module, name=info.name)
    trial.check_pending()
    for kind, into, expected in _KINDS:
        for items in getattr(trial.hook, f"router_{kind}")():
            for item in items:
                if not isinstance(item, expected):
                    raise TypeError(f"router_{kind} gave {item!r}, which is no {expected.__name__}")
                into(info).append(item)
    manager.register(module, name=f"{info.distribution}:{info.name}")


_KINDS: Sequence[tuple[str, Callable[[PluginInfo], list[Any]], type[ComponentType]]] = (
    ("sources", lambda info: info.sources, SourceType),
    ("transforms", lambda info: info.transforms, TransformType),
    ("destinations", lambda info: info.destinations, DestinationType),
    ("commands", lambda info: info.commands, CommandType),
)


def observers_call(manager: pluggy.PluginManager, hook: str, **arguments: Any) -> Mapping[str, Exception]:
    """Call an observing hook of each plugin alone; returns the errors by plugin, so that the caller can log them."""
    errors: dict[str, Exception] = {}
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        try:
            implementation.function(*(arguments[name] for name in implementation.argnames))
        except Exception as error:  # an observer's fault must not stop a delivery
            errors[implementation.plugin_name] = error
    return errors
