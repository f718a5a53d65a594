"""The configuration as a tree of nodes, each of which knows where it was written and what may be said of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

Scalar: TypeAlias = str | int | float | bool | None
KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys and list positions from the root: `("outputs", "clevertap_eu", "settings", "region")`."""


class Origin(Enum):
    """Where a value came from, which decides what may be said of it."""

    FILE = "file"
    REFERENCE = "reference"
    """From `${env:…}` or `${file:…}`: never printed."""
    ENVIRONMENT = "environment"
    BROKEN = "broken"
    """A reference without a value; that is reported once, so later checks pass over it."""


@dataclass(frozen=True)
class Place:
    """`file:line`, or the name of an environment variable (line None)."""

    name: str
    line: int | None = None

    def __str__(self) -> str:
        return self.name if self.line is None else f"{self.name}:{self.line}"


@dataclass
class Node:
    """One value of the configuration. The place of a mapping's child is that of its key."""

    value: Scalar | dict[str, Node] | list[Node] = field(repr=False)
    place: Place
    origin: Origin = Origin.FILE

    @property
    def mapping(self) -> dict[str, Node]:
        """The children by name; empty when this is no mapping."""
        return self.value if isinstance(self.value, dict) else {}

    def child(self, segment: str | int) -> Node | None:
        """The child of this name or position."""
        if isinstance(self.value, dict):
            return self.value.get(str(segment))
        if isinstance(self.value, list) and isinstance(segment, int) and segment < len(self.value):
            return self.value[segment]
        return None

    def at(self, path: Sequence[str | int]) -> Node | None:
        """The node at a path below this one."""
        node: Node | None = self
        for segment in path:
            node = node.child(segment) if node is not None else None
        return node

    def nearest(self, path: Sequence[str | int]) -> Node:
        """The node at a path, or the deepest one on the way there."""
        node = self
        for segment in path:
            below = node.child(segment)
            if below is None:
                break
            node = below
        return node

    def text(self, *path: str | int) -> str | None:
        """The text at a path; None when there is none, or when it is a reference without a value."""
        node = self.at(path)
        return node.value if node and isinstance(node.value, str) and node.origin is not Origin.BROKEN else None

    def plain(self) -> Any:
        """The value as dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def walk(self, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Node]]:
        """This node and all below, each with its path."""
        yield path, self
        if isinstance(self.value, dict):
            for key, node in self.value.items():
                yield from node.walk((*path, key))
        elif isinstance(self.value, list):
            for position, node in enumerate(self.value):
                yield from node.walk((*path, position))


_PRINTABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


def is_printable(name: str) -> bool:
    """Whether a key looks like a name; what does not (`passcode:S3CR3T` in braces) is not shown."""
    return _PRINTABLE.fullmatch(name) is not None
