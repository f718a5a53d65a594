"""Destination `console`: one line of JSON per record on standard output, for trying things out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from router_core.components import Destination, DestinationContext, DestinationType, Limits
from router_core.destinations.lines import line_from_record
from router_core.outcomes import Outcome
from router_core.records import Record


class ConsoleDestination(Destination):
    """Prints."""

    def __init__(self, context: DestinationContext) -> None:
        self._name = context.output

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        sys.stdout.buffer.write(b"".join(_json_line(record) for record in records))
        sys.stdout.buffer.flush()
        return [Outcome.delivered(record.id) for record in records]

    def preview(self, records: Sequence[Record]) -> Sequence[Mapping[str, Any]]:
        return [{"print": line_from_record(record)} for record in records]


def _json_line(record: Record) -> bytes:
    return msgspec.json.encode(line_from_record(record)) + b"\n"  # unlike orjson, of integers of any size


CONSOLE = DestinationType(
    name="console",
    title="Console",
    summary="One line of JSON per record on standard output.",
    create=ConsoleDestination,
    limits=Limits(records=1000, calls_in_flight=1),
    stability="stable",
)
