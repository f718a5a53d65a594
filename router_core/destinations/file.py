"""Destination `file`: one line of JSON per record, appended to a file and synced before it counts as delivered."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from router_core.components import (
    ConfigurationSettings,
    ConnectionSettings,
    Destination,
    DestinationContext,
    DestinationType,
    Limits,
    setting,
)
from router_core.destinations.lines import line_from_record
from router_core.errors import Unavailable
from router_core.log.files import sync_folder
from router_core.outcomes import Outcome
from router_core.records import Record

_LOCK_WITHIN: Final = 5.0
_LOCK_EVERY: Final = 0.005


class FileSettings(ConfigurationSettings):
    """Where the lines go."""

    path: Path = setting(
        title="Path",
        help="File to append to; made if it is missing. Move it away to rotate: the next call starts a new one.",
        example="/var/lib/router/events.ndjson",
    )


class FileConnectionSettings(ConnectionSettings):
    """The file destination has no settings per connection."""


class FileDestination(Destination):
    """Appends with one write per call, so that lines of several connections and outputs do not mix."""

    def __init__(self, context: DestinationContext) -> None:
        self._path: Path = context.settings.path

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        lines = b"".join(_json_line(record) for record in records)
        try:
            await asyncio.to_thread(_append, self._path, lines)
        except OSError as error:
            raise Unavailable(f"cannot write {self._path}: {error.strerror}") from error
        return [Outcome.delivered(record.id) for record in records]

    def preview(self, records: Sequence[Record]) -> Sequence[Mapping[str, Any]]:
        return [{"append_to": str(self._path), "line": line_from_record(record)} for record in records]

    async def check(self) -> None:
        folder = self._path.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise Unavailable(f"{folder} is no folder that this user can write to; set `path` to one that is")


def _json_line(record: Record) -> bytes:
    return msgspec.json.encode(line_from_record(record)) + b"\n"  # unlike orjson, of integers of any size


def _append(path: Path, lines: bytes) -> None:
    """Append all lines or none: what a full disk cut short is taken back, so that no half line stays.

    Others that append to the file wait meanwhile, as taking back would cut off their lines too.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        _lock(descriptor)  # closing lets go of it
        before = os.fstat(descriptor).st_size
        try:
            view = memoryview(lines)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
            if before == 0:  # it may be new, and a power cut would lose it with all its lines
                sync_folder(path.parent)
        except OSError:
            os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Raises `OSError` if somebody else keeps the file locked, as a thread must not wait for it forever."""
    until = time.monotonic() + _LOCK_WITHIN
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(_LOCK_EVERY)
        else:
            return


FILE_DESTINATION = DestinationType(
    name="file",
    title="File",
    summary="One line of JSON per record (NDJSON), for archives and for looking.",
    create=FileDestination,
    configuration_settings=FileSettings,
    connection_settings=FileConnectionSettings,
    limits=Limits(records=5000, calls_in_flight=1),
    stability="stable",
)
