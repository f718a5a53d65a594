"""Source `file`: event batches from a file, one JSON object a line, for imports and Data Feeds.

The position is kept in the store, and each line has a request id of its own, so that a restart neither loses nor
repeats a line. A line that is no batch is counted and logged by its number; the rest goes on. A file that is renamed
while it is followed is read to its end; one that is renamed while the router is stopped is not found again.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence
from io import FileIO
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
_LONGEST_READ: Final = _LONGEST_LINE + len(b"\r\n")
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
                with path.open("rb", buffering=0) as held:
                    if item.settings.follow:
                        await self._follow(item, intake, held)
                    await self._read_on(item, intake, held, at_end=True)
            except OSError as error:
                self._context.log.warning("file_unreadable", input=item.name, reason=error.strerror)
            if not item.settings.follow:
                return
            await self._context.clock.sleep(_LOOK_EVERY)

    async def _follow(self, item: SourceInput, intake: Intake, held: FileIO) -> None:
        """Read what is appended until another file is in its place; its last lines may still be unread then."""
        while not await asyncio.to_thread(_is_left, item.settings.path, held):
            await self._read_on(item, intake, held, at_end=False)
            await self._context.clock.sleep(_LOOK_EVERY)
        await self._context.clock.sleep(_LOOK_EVERY)  # a writer may go on in it until it notices the new one

    async def _read_on(self, item: SourceInput, intake: Intake, held: FileIO, *, at_end: bool) -> None:
        """Read from the kept position to the end; an unfinished last line is left for later unless `at_end`."""
        with os.fdopen(held.fileno(), "rb", closefd=False) as file:  # with no buffer of what it was before
            identity = await asyncio.to_thread(_identity, file, at_end)
            if identity is None:
                return
            place = await self._place(item.name, identity, os.fstat(file.fileno()).st_size)
            while True:
                lines, after = await asyncio.to_thread(_lines, file, place, at_end)
                if after == place:
                    return
                await self._take(item, intake, identity, [line for line in lines if line.body])
                await self._context.store.put({item.name: orjson.dumps([identity, *after])})
                place = after

    async def _place(self, name: str, identity: str, size: int) -> _Place:
        kept = await self._context.store.get(name)
        if kept is not None:
            known, at, *rest = orjson.loads(kept)
            if known == identity and at <= size:
                return _Place(at, *rest)
        return _Place()

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


class _Place(NamedTuple):
    """How far a file is read, as it is kept."""

    at: int = 0
    lines: int = 0
    in_large_line: bool = False
    """Within a line that is too large and reported already: what is left of it is skipped."""


def _is_left(path: Path, held: FileIO) -> bool:
    """Whether another file is in its place, or it is deleted: to hold it then would keep its room on the disk."""
    own = os.fstat(held.fileno())
    try:
        return own.st_nlink == 0 or not os.path.samestat(own, path.stat())
    except OSError:  # renamed, and the new one is still to come
        return False


def _identity(file: BinaryIO, at_end: bool) -> str | None:
    """Names the file by its inode and its first line, so that a new file in its place is read from the start.

    None as long as the first line is unfinished, unless `at_end`: the name would be another one later.
    """
    file.seek(0)
    first = file.readline(_LONGEST_LINE)
    if not at_end and not first.endswith(b"\n") and len(first) < _LONGEST_LINE:
        return None
    first = first.rstrip(b"\r\n")  # a lone line may get its newline later
    return f"{os.fstat(file.fileno()).st_ino}-{hashlib.blake2b(first, digest_size=8).hexdigest()}"


def _lines(file: BinaryIO, place: _Place, at_end: bool) -> tuple[list[_Line], _Place]:
    """Up to a block of lines, and where the next begin; an unfinished last one is left for later unless `at_end`.

    Of a line that is too large, only the start is given, which is too large as well.
    """
    at, number, in_large_line = place
    file.seek(at)
    lines: list[_Line] = []
    for _ in range(_LINES_AT_ONCE):
        piece = file.readline(_LONGEST_READ)
        ends = piece.endswith(b"\n")
        is_large = len(piece) == _LONGEST_READ and not ends
        if not piece or not (ends or is_large or at_end):
            break
        if not in_large_line:
            number += 1
            lines.append(_Line(at, number, piece if is_large else piece.strip()))
        in_large_line = is_large or (in_large_line and not ends)
        at += len(piece)
    return lines, _Place(at, number, in_large_line)


FILE_SOURCE = SourceType(
    name="file",
    title="File",
    summary="Event batches from a file, one a line (NDJSON), for imports and Data Feeds.",
    create=FileSource,
    input_settings=FileInputSettings,
    stability="stable",
)
