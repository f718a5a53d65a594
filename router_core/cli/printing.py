"""What commands print, for people and for machines."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from router_core.configuration import Finding


def print_findings(findings: Sequence[Finding]) -> None:
    """Warnings and notes, on standard error."""
    for finding in findings:
        print(f"{finding.severity.value}: {finding}", file=sys.stderr)


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2, default=str).decode() + "\n")
