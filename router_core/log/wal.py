"""Commits behind a damaged spot of a write-ahead log.

SQLite reads such a log up to the first frame whose checksum is wrong and drops the rest without a word. That is right
for a torn tail, which nobody was told is durable. It is wrong for a flipped bit in the middle, as what follows was
acknowledged; and the log's newest file keeps all its rows there. So we look behind, and can put the pages together.
Format: https://www.sqlite.org/fileformat2.html#walformat and https://www.sqlite.org/walformat.html
"""

from __future__ import annotations

import shutil
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from router_core.log.files import wal_of

_HEADER = 32
_FRAME_HEADER = 24
_LAST_VALID_FRAME_AT = 16
_SALTS_AT = 32
"""Both in the shared-memory index."""


class _Frame(NamedTuple):
    number: int
    page: int
    pages_after_commit: int
    """Of the database; 0 if the frame does not end a transaction."""
    salts: bytes


def hides_commits(path: Path) -> bool:
    """Whether SQLite overlooks commits in the write-ahead log of this database, which must be open and read from.

    One that cannot be read may be the one that a crash cut short; with two, the first had been durable.
    """
    wal = wal_of(path)
    if (index := _index(path)) is None or not wal.exists():
        return False
    frames = _frames_of_this_log(wal, _page_size(path), index[0], index[1])
    now = _index(path)  # a process that writes meanwhile has made what we just saw valid
    return now is not None and sum(1 for f in frames if f.number > now[0] and f.pages_after_commit) > 1


def copy_with_all_frames(path: Path, target: Path) -> None:
    """Copy a database and write the pages of every transaction in its write-ahead log into the copy."""
    page_size = _page_size(path)
    frames = _frames_of_this_log(wal_of(path), page_size)
    last_commit = max((frame.number for frame in frames if frame.pages_after_commit), default=0)
    pages = path.stat().st_size // page_size + len(frames)
    shutil.copyfile(path, target)
    with wal_of(path).open("rb") as wal, target.open("r+b") as database:
        for frame in frames:
            if frame.number <= last_commit and 0 < frame.page <= pages:
                wal.seek(_HEADER + (frame.number - 1) * (_FRAME_HEADER + page_size) + _FRAME_HEADER)
                page = wal.read(page_size)
                database.seek((frame.page - 1) * page_size)
                database.write(page)


def _index(path: Path) -> tuple[int, bytes] | None:
    """The number of the last frame that SQLite holds valid, and the salts of the log that it is reading."""
    try:
        with path.with_name(path.name + "-shm").open("rb") as file:
            index = file.read(_SALTS_AT + 8)
            return struct.unpack_from("=I", index, _LAST_VALID_FRAME_AT)[0], index[_SALTS_AT:]
    except (OSError, struct.error):
        return None


def _page_size(path: Path) -> int:
    with path.open("rb") as database:
        size = int.from_bytes(database.read(18)[16:18], "big")
    return 65_536 if size == 1 else max(size, 512)


def _frames_of_this_log(wal: Path, page_size: int, after: int = 0, salts: bytes | None = None) -> list[_Frame]:
    """Whole frames after a number, without those that an earlier use of the file left behind."""
    frames = list(_frames(wal, page_size, after))
    with wal.open("rb") as file:
        header = file.read(_HEADER)
    if not frames:
        return []
    if not _is_whole(header):
        wanted = Counter(frame.salts for frame in frames).most_common(1)[0][0]
    elif salts not in (None, header[16:24]):
        return []  # somebody starts it anew at this instant
    else:
        wanted = header[16:24]
    return [frame for frame in frames if frame.salts == wanted]


def _frames(wal: Path, page_size: int, after: int) -> Iterator[_Frame]:
    size = wal.stat().st_size
    with wal.open("rb") as file:
        for number in range(after + 1, (size - _HEADER) // (_FRAME_HEADER + page_size) + 1):
            file.seek(_HEADER + (number - 1) * (_FRAME_HEADER + page_size))
            header = file.read(_FRAME_HEADER)
            if len(header) < _FRAME_HEADER:
                return
            page, pages_after_commit = struct.unpack(">II", header[:8])
            yield _Frame(number, page, pages_after_commit, header[8:16])


def _is_whole(header: bytes) -> bool:
    """Whether the checksum of a log's header is right."""
    if len(header) < _HEADER:
        return False
    order = ">" if header[3] & 1 else "<"
    words = struct.unpack(f"{order}6I", header[:24])
    one = two = 0
    for left, right in zip(words[::2], words[1::2], strict=True):
        one = (one + left + two) & 0xFFFFFFFF
        two = (two + right + one) & 0xFFFFFFFF
    return (one, two) == struct.unpack(">2I", header[24:])
