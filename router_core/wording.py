"""pydantic's complaints in plain words, with place and mend, and without any value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from router_core.configtree import KeyPath, Node, Origin, is_printable
from router_core.draft import Draft, UnknownPlace, name_shown, nearest_name, suggestion
from router_core.errors import Problem

Words = tuple[str, str]
"""What is wrong, and the mend."""

_LIST: Final = ("must be a list.", "Write [a, b], or one `- a` a line.")
_MAPPING: Final = ("must be a mapping of names to values.", "Write `name: value` lines below it.")
_NUMBER: Final = ("must be a number.", "Write digits, without a unit or quotes.")
_WHOLE: Final = ("must be a whole number.", "Write digits, without a unit or quotes.")
_BOOLEAN: Final = ("must be true or false.", "Write `true` or `false`.")
_DURATION: Final = ("is not a duration.", "Write it with a unit, such as 200ms, 30s, 15m, 24h or 7d.")

_FIXED: Final[Mapping[str, Words]] = {
    "list_type": _LIST, "tuple_type": _LIST, "set_type": _LIST, "frozen_set_type": _LIST, "iterable_type": _LIST,
    "dict_type": _MAPPING, "model_type": _MAPPING, "model_attributes_type": _MAPPING, "mapping_type": _MAPPING,
    "int_type": _WHOLE, "int_parsing": _WHOLE, "int_from_float": _WHOLE, "int_parsing_size": _WHOLE,
    "float_type": _NUMBER, "float_parsing": _NUMBER, "finite_number": _NUMBER,
    "decimal_type": _NUMBER, "decimal_parsing": _NUMBER,
    "bool_type": _BOOLEAN, "bool_parsing": _BOOLEAN,
    "string_type": ("must be text.", "Put the value in quotes."),
    "path_type": ("must be a path.", "Put the value in quotes."),
    "url_type": ("must be an address.", "Write it as https://host/path."),
    "url_parsing": ("is not a valid address.", "Write it as https://host/path."),
    "time_delta_type": _DURATION, "time_delta_parsing": _DURATION,
    "uuid_type": ("must be a UUID.", ""), "uuid_parsing": ("is not a UUID.", ""),
    "router_duration": _DURATION,
    "router_size": ("is not a size.", "Write 10GiB, 512MiB or a number of bytes."),
    "router_empty": ("must not be empty.", "Give it a value, or remove the line."),
}  # fmt: skip


_BOUNDS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "greater_than": lambda ctx: f"must be more than {ctx['gt']}.",
    "greater_than_equal": lambda ctx: f"must be at least {_bound(ctx['ge'])}.",
    "less_than": lambda ctx: f"must be less than {ctx['lt']}.",
    "less_than_equal": lambda ctx: f"must be at most {ctx['le']}.",
    "string_too_short": lambda ctx: _least(ctx, "characters"),
    "string_too_long": lambda ctx: f"must have at most {ctx['max_length']} characters.",
    "too_short": lambda ctx: _least(ctx, "items"),
    "too_long": lambda ctx: f"must have at most {ctx['max_length']} items.",
    "string_pattern_mismatch": lambda ctx: f"must match the pattern {ctx['pattern']}",
    "url_scheme": lambda ctx: f"must start with {ctx['expected_schemes']}.",
}


def _bound(value: Any) -> str:
    """A number, beside it the way in which a size is written."""
    for unit, size in (("MiB", 2**20), ("KiB", 2**10)):
        if isinstance(value, int) and value >= size and value % size == 0:
            return f"{value} ({value // size}{unit})"
    return str(value)


def _least(ctx: Mapping[str, Any], things: str) -> str:
    least = ctx["min_length"]
    return "must not be empty." if least == 1 else f"must have at least {least} {things}."


def problems_of(error: ValidationError, draft: Draft, base: KeyPath = ()) -> Iterator[Problem]:
    """Each complaint once. `base` is the path of what was validated.

    Complaints about references without a value are left out: those are reported where they are resolved.
    """
    words: dict[tuple[KeyPath, bool], list[Words]] = {}
    for detail in error.errors(include_url=False, include_input=False):
        path = _path(draft.root, base, detail)
        if detail["type"] in ("missing", "extra_forbidden") or not draft.is_broken(path):
            about_key = detail["loc"][-1:] == ("[key]",)
            words.setdefault((path, about_key), []).append(_words(detail, draft, path, base))
    for (path, _), said in words.items():
        # A union complains once for each of its types.
        what = ", or ".join(dict.fromkeys(what.removesuffix(".") for what, _ in said))
        yield draft.problem(path, f"{what}.", said[0][1])


def _path(root: Node, base: KeyPath, detail: ErrorDetails) -> KeyPath:
    """Where the complaint points in the tree. pydantic also puts labels of unions and validators in its locations."""
    path = base
    for position, segment in enumerate(detail["loc"], start=1):
        last = position == len(detail["loc"])
        if root.at((*path, segment)) is not None or (last and detail["type"] == "missing"):
            path = (*path, segment)
    return path


def _words(detail: ErrorDetails, draft: Draft, path: KeyPath, base: KeyPath) -> Words:
    kind, node = detail["type"], draft.root.at(path)
    if detail["loc"][-1:] == ("[key]",):
        return "this is no name.", "Use lower-case letters, digits and single underscores, with a letter first."
    if kind == "missing":
        return "is required.", _how_to_give(draft, path)
    if kind == "extra_forbidden":
        return _unknown_setting(draft, path)
    if node is not None and node.value is None:
        return "has no value.", "Give it one, or remove the line."
    if kind == "string_type" and node is not None and isinstance(node.value, (dict, list)):
        return "must be one text.", "Write one value, in quotes."
    shown = name_shown(node) if node is not None and not base else None
    return _words_of_type(detail, shown) or (_own_words(detail, draft, path, base), "")


def _wrong_choice(shown: str | None, expected: str) -> Words:
    mend = f"Choose {_choices(expected)}."
    if shown is None:
        return "is none of the choices.", mend
    near = nearest_name(shown, re.findall(r"'([^']*)'", expected))
    return f"{shown!r} is none of the choices.", f"Did you mean {near!r}? {mend}" if near else mend


def _words_of_type(detail: ErrorDetails, shown: str | None) -> Words | None:
    """`shown` is the value, where it may be shown: in core's own fields, if it reads like a name."""
    kind, ctx = detail["type"], detail.get("ctx", {})
    if kind in ("enum", "literal_error"):
        return _wrong_choice(shown, str(ctx["expected"]))
    if kind == "union_tag_invalid":
        what = f"has a {_choices(ctx['discriminator'])} that is none of the choices."
        return what, f"Choose {_choices(ctx['expected_tags'])}."
    if kind in _BOUNDS:
        return _BOUNDS[kind](ctx), ""
    return _FIXED.get(kind)


def _choices(expected: object) -> str:
    return str(expected).replace("'", "")


def _how_to_give(draft: Draft, path: KeyPath) -> str:
    name = path[-1]
    if draft.is_secret(path):
        return f"Add `{name}: ${{env:NAME}}` or `{name}: ${{file:/path}}`."
    try:
        field = draft.slot(path)[1].field
    except UnknownPlace:
        field = None
    examples = field.examples if field else None
    return f"Add `{name}: {examples[0]}`." if examples else f"Add `{name}:` with a value."


def _unknown_setting(draft: Draft, path: KeyPath) -> Words:
    name = str(path[-1])
    try:
        known = draft.slot(path[:-1])[1].names
    except UnknownPlace:
        known = []
    node = draft.root.at(path)
    if not is_printable(name) or (node is not None and node.value is None):
        near = nearest_name(name, known)
        mend = f"Did you mean {near!r}?" if near else "Write `name: value`, with a space after the colon."
        return "unknown setting, not shown since it may be a value.", mend
    return f"unknown setting {name!r}.", suggestion(name, known)


def _own_words(detail: ErrorDetails, draft: Draft, path: KeyPath, base: KeyPath) -> str:
    """The text of a model's own validator, unless it could hold a value."""
    cause = detail.get("ctx", {}).get("error")
    text = str(cause) if isinstance(cause, Exception) else detail["msg"].replace("Input should", "must")
    top = draft.root.nearest(base)
    if draft.is_secret(path) or _quotes_a_value(text, top):
        return "is not valid; the reason is not shown, as it holds a value."
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _quotes_a_value(text: str, top: Node) -> bool:
    """Whether a value, or six characters in a row of one, stands in the text."""
    folded = text.casefold()
    for _, node in top.walk():
        if isinstance(node.value, (dict, list)) or node.value is None or isinstance(node.value, bool):
            continue
        value = str(node.value).casefold()
        shortest = 1 if node.origin is Origin.REFERENCE else 3
        pieces = [value] if len(value) < 6 else [value[start : start + 6] for start in range(len(value) - 5)]
        if len(value) >= shortest and any(piece in folded for piece in pieces):
            return True
    return False
