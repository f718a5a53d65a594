"""Source `file`: event batches from a file, one JSON object a line, for imports and Data Feeds.

The position is kept in the store, and each line has a request id of its own, so that a restart neither loses nor
repeats a line. A line that is no batch is counted and logged by its number; the rest goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import orjson

from router_core.components import (
    ConfigurationSettings,
    Intake,
    Source,
    SourceContext,
    SourceInput,
    SourceType,
    setting,
)
from router_core.errors import InvalidBatch, LogError

_LINES_AT_ONCE: Final = 100
_LONGEST_LINE: Final = 256 * 1024
_LOOK_EVERY: Final = 1.0
_TRY_AGAIN_AFTER: Final = 2.0


class FileInputSettings(ConfigurationSettings):
    """Which file."""

    path: Path = setting(
        title="Path",
        help="File with one event batch a line (NDJSON), in mParticle's Events API shape.",
        example="/var/lib/router/import.ndjson",
    )
    follow: bool = setting(
        True, title="Follow", help="Go on reading what is appended later; else stop at the end of the file."
    )


class FileSource(Source):
    """Reads the files of all inputs of this type, each in a task of its own."""

    def __init__(self, context: SourceContext) -> None:
        self._context = context

    async def run(self, intake: Intake) -> None:
        async with asyncio.TaskGroup() as tasks:
            for item in self._context.inputs.values():
                tasks.create_task(self._read(item, intake))

    async def _read(self, item: SourceInput, intake: Intake) -> None:
        path: Path = item.settings.path
        while True:
            try:
                with path.open("rb") as file:
                    await self._read_open(item, intake, file)
            except OSError as error:
                self._context.log.warning("file_unreadable", input=item.name, reason=error.strerror)
            if not item.settings.follow:
                return
            await self._context.clock.sleep(_LOOK_EVERY)

    async def _read_open(self, item: SourceInput, intake: Intake, file: BinaryIO) -> None:
        """Read from the kept position to the end; returns there, or when the file was replaced or cut."""
        identity = await asyncio.to_thread(_identity, file)
        at, number = await self._position(item.name, identity, os.fstat(file.fileno()).st_size)
        file.seek(at)
        while lines := await asyncio.to_thread(_lines, file, number, not item.settings.follow):
            await self._take(item, intake, identity, [line for line in lines if line.body])
            number = lines[-1].number
            await self._context.store.put({item.name: orjson.dumps([identity, file.tell(), number])})

    async def _position(self, name: str, identity: str, size: int) -> tuple[int, int]:
        kept = await self._context.store.get(name)
        if kept is not None:
            known, at, number = orjson.loads(kept)
            if known == identity and at <= size:
                return at, number
        return 0, 0

    async def _take(self, item: SourceInput, intake: Intake, identity: str, lines: Sequence[_Line]) -> None:
        """Hand the lines over, and wait as long as the log has no room for them."""
        good = [line for line in lines if len(line.body) <= _LONGEST_LINE]
        for line in lines:
            if line not in good:
                self._bad(item.name, line, InvalidBatch("The batch is larger than 256 KB."))
        bodies, ids = [line.body for line in good], [f"{identity}:{line.offset}" for line in good]
        while good:
            try:
                results = await intake.accept(item, bodies, request_ids=ids)
            except LogError as error:
                self._context.log.warning("file_waits", input=item.name, reason=str(error))
                await self._context.clock.sleep(_TRY_AGAIN_AFTER)
                continue
            for line, result in zip(good, results, strict=True):
                if isinstance(result.error, InvalidBatch):
                    self._bad(item.name, line, result.error)
            return

    def _bad(self, name: str, line: _Line, error: InvalidBatch) -> None:
        self._context.log.warning("bad_batch", input=name, line=line.number, reason=error.message, place=error.place)


class _Line(NamedTuple):
    offset: int
    number: int
    body: bytes


def _identity(file: BinaryIO) -> str:
    """Names the file by its inode and its first line, so that a new file in its place is read from the start."""
    first = file.readline(_LONGEST_LINE).rstrip(b"\r\n")  # a lone line may get its newline later
    return f"{os.fstat(file.fileno()).st_ino}-{hashlib.blake2b(first, digest_size=8).hexdigest()}"


def _lines(file: BinaryIO, number: int, at_end: bool) -> list[_Line]:
    """Up to a block of whole lines; a last one without its newline is left for later unless `at_end`."""
    lines: list[_Line] = []
    while len(lines) < _LINES_AT_ONCE:
        start = file.tell()
        line = file.readline()
        if not line or (not line.endswith(b"\n") and not at_end):
            file.seek(start)
            break
        lines.append(_Line(start, number + len(lines) + 1, line.strip()))
    return lines


FILE_SOURCE = SourceType(
    name="file",
    title="File",
    summary="Event batches from a file, one a line (NDJSON), for imports and Data Feeds.",
    create=FileSource,
    input_settings=FileInputSettings,
    stability="stable",
)
