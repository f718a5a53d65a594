"""The YAML file as a tree of nodes.

YAML 1.2's core schema and no more: `no` is text, a key stands once, tags and merge keys are refused, aliases are copied
within a limit. Error texts never quote the file: a parser's snippet could hold a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from router_core.configtree import Node, Origin, Place, Scalar, is_printable
from router_core.errors import ConfigurationError, Problem

MAX_NODES: Final = 20_000
"""Values in a file after aliases are copied; a bomb of aliases stops here."""
MAX_DEPTH: Final = 40


def read_config_file(path: Path, *, most_values: int = MAX_NODES) -> tuple[Node, list[Problem]]:
    """The file's tree, and what is wrong with its keys and tags.

    Raises `ConfigurationError` when there is no tree to speak of: no file, no text, no YAML, no mapping.
    """
    text = _text(path)
    builder = _Builder(str(path), most_values)
    try:
        root = builder.document(_events(text))
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _refusal(path, "holds a control character.", "Remove it.", line) from None
    except MarkedYAMLError as error:
        raise _refusal(path, *_syntax(error)) from None
    except (YAMLError, ValueError, RecursionError):
        raise _refusal(path, "is not valid YAML.", "Check indentation, quotes and colons.") from None
    if root is None or root.value is None:
        raise _refusal(path, "is empty.", "It needs at least inputs, outputs and connections.")
    if not isinstance(root.value, dict):
        raise _refusal(path, "must be a mapping of names to values at the top level.", "Start with `inputs:`.", 1)
    return root, builder.problems


def _text(path: Path) -> str:
    if path.is_dir():
        raise _refusal(path, "is a folder.", "Name the YAML file in it.")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise _refusal(path, "there is no such file.", "Check the path, or write the file first.") from None
    except OSError as error:
        raise _refusal(path, f"cannot be read: {error.strerror}.", "Check its permissions.") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _refusal(path, "is not UTF-8 text.", "Save it as UTF-8.", line) from None


def _events(text: str) -> Iterator[Event]:
    events: Iterator[Event] = YAML(typ="safe", pure=True).parse(text)
    return events


def _refusal(path: Path, what: str, mend: str, line: int | None = None) -> ConfigurationError:
    return ConfigurationError([Problem(where=str(Place(str(path), line)), path="", what=what, mend=mend)])


_SYNTAX: Final = (
    (r"'\\t'", "a tab indents this line.", "Indent with spaces."),
    ("cannot start any token", "a value cannot start with this character.", "Put the value in quotes."),
    ("mapping values are not allowed", "there is a second `: ` where none can be.",
     "Put a value with `: ` in quotes, or mend the indentation."),
    ("escape character|hexdecimal", "a text in double quotes holds an unknown escape.",
     "Use single quotes, or write `\\\\` for a backslash."),
    ("stream end|end of stream", "a bracket, brace or quote that opens here is not closed.", "Close it."),
    ("tag|URI", "YAML tags are not supported.", "Put a value that starts with `!` in quotes."),
    ("alphabetic or numeric", "a value starts with `&` or `*`.", "Put it in quotes."),
)  # fmt: skip


def _syntax(error: MarkedYAMLError) -> tuple[str, str, int | None]:
    """What a parser's complaint means, in words that quote nothing of the file; and the line."""
    complaint = error.problem or ""
    at_end = "stream" in complaint
    mark = (error.context_mark if at_end else None) or error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else None
    for pattern, what, mend in _SYNTAX:
        if re.search(pattern, complaint):
            return what, mend, line
    return "is not valid YAML here.", "Check indentation, quotes and colons.", line


# --- from events to nodes ---------------------------------------------------------------------------------------------

_CORE_SCHEMA: Final[Sequence[tuple[re.Pattern[str], Callable[[str], Scalar]]]] = (
    (re.compile(r"null|Null|NULL|~|"), lambda _: None),
    (re.compile(r"true|True|TRUE"), lambda _: True),
    (re.compile(r"false|False|FALSE"), lambda _: False),
    (re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+"), lambda text: int(text, 0)),
    (re.compile(r"[-+]?[0-9]{1,100}"), int),  # Python refuses to read numbers of thousands of digits
    (re.compile(r"[-+]?((\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"), lambda text: float(text.replace(".", ""))),
)


def _scalar(text: str) -> Scalar:
    """A plain scalar by YAML 1.2's core schema (chapter 10.3.2 of the specification)."""
    return next((read(text) for pattern, read in _CORE_SCHEMA if pattern.fullmatch(text)), text)


class _Builder:
    """Builds the tree of one document and keeps the problems that do not stop it."""

    def __init__(self, file: str, most_values: int) -> None:
        self.file = file
        self.most_values = most_values
        self.problems: list[Problem] = []
        self.anchors: dict[str, Node] = {}
        self.count = 0

    def document(self, events: Iterator[Event]) -> Node | None:
        """The root of the first document; None when there is none."""
        root: Node | None = None
        documents = 0
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._problem(event, "a second document starts here.", "Keep one document in the file.")
                    break
                root = self._node(next(events), events, 0)
        return root

    def _node(self, event: Event, events: Iterator[Event], depth: int) -> Node:
        place = self._place(event)
        if isinstance(event, AliasEvent):
            return self._alias(event, place)
        self._spend(place)
        if depth > MAX_DEPTH:
            raise self._too_much(place, f"values are nested more than {MAX_DEPTH} deep.")
        if getattr(event, "tag", None) is not None:
            self._problem(event, "YAML tags are not supported.", "Put a value that starts with `!` in quotes.")
        node = Node(None, place)
        if isinstance(event, ScalarEvent):
            node.value = _scalar(event.value) if event.style is None else event.value
        elif isinstance(event, SequenceStartEvent):
            node.value = self._sequence(events, depth)
        elif isinstance(event, MappingStartEvent):
            node.value = self._mapping(events, depth)
        if isinstance(event, NodeEvent) and event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _sequence(self, events: Iterator[Event], depth: int) -> list[Node]:
        nodes = []
        while not isinstance(event := next(events), SequenceEndEvent):
            nodes.append(self._node(event, events, depth + 1))
        return nodes

    def _mapping(self, events: Iterator[Event], depth: int) -> dict[str, Node]:
        nodes: dict[str, Node] = {}
        while not isinstance(key := next(events), MappingEndEvent):
            if not isinstance(key, ScalarEvent):
                self._node(key, events, depth + 1)  # taken off the stream
                self._node(next(events), events, depth + 1)
                self._problem(key, "a name must be plain text.", "Put a value that starts with `{` or `[` in quotes.")
                continue
            node = self._node(next(events), events, depth + 1)
            node.place = self._place(key)
            name = key.value
            if name == "<<" and key.style is None:
                self._problem(key, "merge keys (`<<`) are not part of YAML 1.2.", "Write the settings out.")
            elif name in nodes:
                shown = f" {name!r}" if is_printable(name) and node.value is not None else ""
                first = nodes[name].place
                self._problem(key, f"the name{shown} stands twice; first at {first}.", "Remove one of the two.")
            else:
                nodes[name] = node
        return nodes

    def _alias(self, event: AliasEvent, place: Place) -> Node:
        node = self.anchors.get(event.anchor)
        if node is None:
            # The name is not shown: a password that starts with `*` looks like an alias.
            self._problem(event, "an alias has no anchor.", "Put a value that starts with `*` in quotes.")
            return Node("", place, Origin.BROKEN)
        return self._copy(node, place)

    def _copy(self, node: Node, place: Place) -> Node:
        self._spend(place)
        copy = Node(node.value, node.place, node.origin)
        if isinstance(node.value, dict):
            copy.value = {key: self._copy(child, place) for key, child in node.value.items()}
        elif isinstance(node.value, list):
            copy.value = [self._copy(child, place) for child in node.value]
        return copy

    def _spend(self, place: Place) -> None:
        self.count += 1
        if self.count > self.most_values:
            raise self._too_much(place, f"the file holds more than {self.most_values} values, aliases counted.")

    def _too_much(self, place: Place, what: str) -> ConfigurationError:
        return ConfigurationError([Problem(where=str(place), path="", what=what, mend="Make it smaller.")])

    def _place(self, event: Event) -> Place:
        return Place(self.file, event.start_mark.line + 1)

    def _problem(self, event: Event, what: str, mend: str) -> None:
        self.problems.append(Problem(where=str(self._place(event)), path="", what=what, mend=mend))
