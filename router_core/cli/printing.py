"""What commands print, for people and for machines. Whatever came from outside is made harmless for a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from router_core.configuration import Finding

NO_TERMINAL_WIDTH: Final = 160
"""Columns of a table that goes into a pipe or a file, unless `COLUMNS` says otherwise."""

_CONTROL: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code not in (9, 10)}
_CONTROL_IN_JSON: Final = {code: f"\\u{code:04x}" for code in range(127, 160)}


def print_findings(findings: Sequence[Finding]) -> None:
    """Warnings and notes, on standard error."""
    for finding in findings:
        print_error(str(finding), finding.severity.value)


def print_error(sentence: str, severity: str = "error") -> None:
    """One sentence on standard error."""
    print(f"{severity}: {harmless(sentence)}", file=sys.stderr)


def print_text(text: str = "") -> None:
    """Text on standard output."""
    print(harmless(text))


def print_json(document: Any, *, indent: bool = True) -> None:
    """One JSON document on standard output, on one line without `indent`."""
    sys.stdout.write(json_text(document, indent=indent) + "\n")
    sys.stdout.flush()


def json_text(document: Any, *, indent: bool = True) -> str:
    """JSON for people or machines; what is no JSON by itself is written as text."""
    options = orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if indent else 0)
    try:
        text = orjson.dumps(document, option=options, default=str).decode()
    except TypeError:  # a whole number beyond 64 bits, half of a surrogate pair
        text = json.dumps(document, indent=2 if indent else None, default=str)
    return text.translate(_CONTROL_IN_JSON)


def harmless(text: str) -> str:
    """The text with control characters spelled out: what a sender or a partner wrote must not steer a terminal."""
    return text.translate(_CONTROL)


def console(stream: IO[str] | None = None) -> Console:
    """A rich console that takes text as it is; made anew each time, as a test may have replaced the streams."""
    from rich.console import Console

    stream = stream or sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else NO_TERMINAL_WIDTH
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def table_of(*columns: str, right: Sequence[str] = (), wide: Sequence[str] = ()) -> Table:
    """An empty table. Columns in `right` hold numbers; those in `wide` may be folded, the others stay on one line."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            column, justify="right" if column in right else "left", no_wrap=column not in wide, overflow="fold"
        )
    return table


# --- figures ----------------------------------------------------------------------------------------------------------


def duration_text(seconds: float) -> str:
    """`240 ms`, `4.2 s`, `3 m 20 s`, `2 h 5 m`, `4 d 3 h`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} m"
    return f"{hours // 24} d {hours % 24} h"


def bytes_text(count: int) -> str:
    """`512 B`, `1.4 MiB`, `10.0 GiB`."""
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def time_text(unix_ms: float) -> str:
    """`2026-01-31 12:00:05Z`."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def counted(count: int, one: str, many: str = "") -> str:
    """`1 record`, `1,200 records`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
