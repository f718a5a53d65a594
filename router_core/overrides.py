"""`ROUTER__OUTPUTS__CLEVERTAP_EU__SETTINGS__REGION=sg1`: the environment overrides any leaf, or creates it.

Names are compared without regard to case, `__` goes one level down. Values are text, taken as they are (no references),
which the models turn into numbers and the like; lists and mappings are JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from router_core.configtree import KeyPath, Node, Origin, Place
from router_core.draft import PLUGIN_SETTINGS, SECTIONS, SETTINGS_DEPTH, Draft, Slot, UnknownPlace, nearest_name
from router_core.errors import Problem

PREFIX: Final = "ROUTER__"


@dataclass(frozen=True)
class _Override:
    variable: str
    path: tuple[str, ...]
    text: str

    @property
    def entry(self) -> tuple[str, ...] | None:
        """`(section, name)` when the variable reaches into a named entry."""
        return self.path[:2] if len(self.path) > 1 and self.path[0] in SECTIONS else None

    @property
    def order(self) -> tuple[bool, int, str]:
        """Settings of plugins after the names that decide which plugin it is; outer values before inner ones."""
        return len(self.path) >= SETTINGS_DEPTH and self.path[2] in PLUGIN_SETTINGS, len(self.path), self.variable

    def problem(self, what: str, mend: str) -> Problem:
        return Problem(where=self.variable, path=".".join(self.path), what=what, mend=mend)


def apply_overrides(draft: Draft, environ: Mapping[str, str]) -> list[Problem]:
    """Write the variables into the tree, in place, and tell which of them lead nowhere."""
    overrides = sorted(_overrides(environ), key=lambda override: override.order)
    in_file = {(section, name) for section in SECTIONS for name in _names(draft, section)}
    created = {
        override.entry
        for override in overrides
        if override.entry and (len(override.path) == 2 or override.path[2] == SECTIONS[override.path[0]])
    }
    problems = []
    taken: dict[KeyPath, _Override] = {}
    for override in overrides:
        if override.entry and override.entry not in in_file and override.entry not in created:
            problems.append(_unknown_entry(draft, override))
            continue
        other = taken.setdefault(override.path, override)
        if other.text != override.text:
            problems.append(override.problem(f"is also set by {other.variable}.", "Unset one of the two."))
            continue
        problem = _apply(draft, override)
        problems.extend([problem] if problem else [])
    return problems


def _overrides(environ: Mapping[str, str]) -> list[_Override]:
    return [
        _Override(name, tuple(name[len(PREFIX) :].lower().split("__")), text)
        for name, text in environ.items()
        if name.upper().startswith(PREFIX)
    ]


def _names(draft: Draft, section: str) -> Sequence[str]:
    node = draft.root.child(section)
    return list(node.mapping) if node else []


def _apply(draft: Draft, override: _Override) -> Problem | None:
    try:
        path, slot = draft.slot(override.path, fold=True)
    except UnknownPlace as error:
        return _unknown(override, error)
    place = Place(override.variable)
    node = Node(override.text, place, Origin.ENVIRONMENT)
    if slot.takes_json or (override.text.lstrip()[:1] in ("[", "{") and _may_be_json(slot)):
        try:
            node = _tree(json.loads(override.text), place)
        except (ValueError, RecursionError):
            return override.problem("is not JSON.", 'Lists are written ["a", "b"], mappings {"a": "b"}.')
    _put(draft.root, path, node, place)
    return None


def _may_be_json(slot: Slot) -> bool:
    return any(Slot(variant).takes_json for variant in slot.variants)


def _tree(value: Any, place: Place) -> Node:
    if isinstance(value, dict):
        return Node({key: _tree(item, place) for key, item in value.items()}, place, Origin.ENVIRONMENT)
    if isinstance(value, list):
        return Node([_tree(item, place) for item in value], place, Origin.ENVIRONMENT)
    return Node(value, place, Origin.ENVIRONMENT)


def _put(root: Node, path: KeyPath, node: Node, place: Place) -> None:
    parent = root
    for segment in path[:-1]:
        below = parent.mapping.get(str(segment))
        if below is None or below.value is None:
            below = Node({}, place, Origin.ENVIRONMENT)
            parent.mapping[str(segment)] = below
        if not isinstance(below.value, dict):
            return  # the file has a plain value where a mapping belongs, which the models report
        parent = below
    parent.mapping[str(path[-1])] = node


def _unknown_entry(draft: Draft, override: _Override) -> Problem:
    section, name = override.path[0], override.path[1]
    near = nearest_name(name, _names(draft, section))
    meant = _variable((section, near, *override.path[2:])) if near else ""
    decides = _variable((section, name, SECTIONS[section]))
    mend = f"Did you mean {meant}?" if near else f"Set {decides} too if it is a new one."
    return override.problem(f"no {section[:-1]} is named {name!r}.", mend)


def _unknown(override: _Override, error: UnknownPlace) -> Problem:
    if not error.known:
        return override.problem("nothing is below this setting.", f"Set {_variable(error.parent)} as a whole, in JSON.")
    segment = override.path[len(error.parent)]
    near = nearest_name(segment, error.known)
    if near:
        rest = override.path[len(error.parent) + 1 :]
        return override.problem("no such setting.", f"Did you mean {_variable((*error.parent, near, *rest))}?")
    return override.problem("no such setting.", f"Known here: {', '.join(sorted(error.known))}.")


def _variable(path: Sequence[str | int]) -> str:
    return PREFIX + "__".join(str(segment) for segment in path).upper()
