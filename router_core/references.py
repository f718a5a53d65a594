"""`${env:NAME}`, `${env:NAME:-default}` and `${file:/path}` inside text values; `$${` stands for `${`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from router_core.configtree import KeyPath, Node, Origin
from router_core.draft import Draft
from router_core.errors import Problem

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([^}]*)\})?")
_ENV = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_FILE = re.compile(r"file:(.+)", re.DOTALL)
_FORMS = "Write ${env:NAME}, ${env:NAME:-default} or ${file:/path}; a plain `${` is written `$${`."


class _Unresolved(Exception):
    def __init__(self, what: str, mend: str) -> None:
        self.what, self.mend = what, mend


def resolve_references(draft: Draft, folder: Path, environ: Mapping[str, str]) -> list[Problem]:
    """Put the values in, in place. A reference without a value becomes a problem and its node is marked broken.

    Relative paths start at `folder`. One newline at the end of a file is taken off. A value is not searched again.
    """
    problems = []
    for path, node in draft.root.walk():
        if isinstance(node.value, str) and "${" in node.value:
            problems.extend(_resolve(draft, path, node, folder, environ))
    return problems


def _resolve(draft: Draft, path: KeyPath, node: Node, folder: Path, environ: Mapping[str, str]) -> list[Problem]:
    problems: list[Problem] = []

    def value_of(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        node.origin = Origin.REFERENCE if node.origin is Origin.FILE else node.origin
        try:
            return _value(match[1] or "", folder, environ)
        except _Unresolved as error:
            node.origin = Origin.BROKEN
            problems.append(draft.problem(path, error.what, error.mend))
            return ""

    node.value = _REFERENCE.sub(value_of, str(node.value))
    return problems


def _value(reference: str, folder: Path, environ: Mapping[str, str]) -> str:
    if match := _ENV.fullmatch(reference):
        name = match[1]
        value: str | None = environ[name] if name in environ else match[2]
        if value is None:
            what = f"the environment variable {name} is not set."
            raise _Unresolved(what, f"Set it, or write ${{env:{name}:-default}}.")
        return value
    if match := _FILE.fullmatch(reference):
        return _content(folder / match[1])
    # The text in the braces is not shown: it may be a secret that happens to hold `${`.
    raise _Unresolved("this is no reference that the router knows.", _FORMS)


def _content(path: Path) -> str:
    try:
        return re.sub(r"\r?\n\Z", "", path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _Unresolved(f"the file {path} cannot be read: {error.strerror}.", "Check path and permissions.") from None
    except ValueError:  # not UTF-8, or a NUL in the path
        raise _Unresolved("the referenced file is not UTF-8 text.", "Save it as UTF-8.") from None
