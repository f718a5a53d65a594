"""The components that core ships; they come in through the same entry-point door as a stranger's."""

from __future__ import annotations

from collections.abc import Iterable

from router_core.components import DestinationType, SourceType, TransformType
from router_core.hookspecs import hookimpl


@hookimpl
def router_sources() -> Iterable[SourceType]:
    from router_core.sources.events_api import EVENTS_API
    from router_core.sources.file import FILE_SOURCE

    return [EVENTS_API, FILE_SOURCE]


@hookimpl
def router_transforms() -> Iterable[TransformType]:
    from router_core.transforms.python import PYTHON

    return [PYTHON]


@hookimpl
def router_destinations() -> Iterable[DestinationType]:
    from router_core.destinations.console import CONSOLE
    from router_core.destinations.file import FILE_DESTINATION

    return [FILE_DESTINATION, CONSOLE]
