"""Room on the disk: appends stop early, so that deliveries can be read, settled and their files deleted.

Beside the free space that appends leave alone there is a file that only takes up room. Whatever else fills the disk,
deleting it lets deliveries go on, and these give room back. Without it a log that has filled its disk could neither
take nor give anything.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

RESERVE_BYTES = 16 * 1024 * 1024
"""What appends leave alone, and also the size of the file."""


class Room:
    """`max_bytes` bounds the log. The file is named `reserve`."""

    def __init__(
        self, folder: Path, *, max_bytes: int, reserve_bytes: int, free_bytes: Callable[[Path], int] | None
    ) -> None:
        self._folder = folder
        self._file = folder / "reserve"
        self._max_bytes = max_bytes
        self.step = min(reserve_bytes // 4, max_bytes // 16)
        """After as many bytes written it is time to look again, so that neither limit is passed by much."""
        self.reserve_bytes = reserve_bytes
        self._free_bytes = free_bytes or free_bytes_of

    def is_short(self, taken: int) -> bool:
        """Whether appends must stop: `taken` by the log is too much, or the disk is down to the reserve."""
        return taken > self._max_bytes or self._free_bytes(self._folder) < self.reserve_bytes

    def keep_reserve(self) -> None:
        """Make the file, if it is not there and its room is not needed for anything else."""
        if self._file.exists() or self._free_bytes(self._folder) < 3 * self.reserve_bytes:
            return
        try:
            with self._file.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self.reserve_bytes)
        except OSError:
            self.give_up_reserve()

    def give_up_reserve(self) -> bool:
        """Delete the file. Returns whether that gave any room."""
        try:
            self._file.unlink()
        except OSError:
            return False
        return True

    def give_up_reserve_for(self, error: BaseException | None) -> bool:
        """The same, if that may help against this error of SQLite, or the one that it was made from."""
        while error is not None and not isinstance(error, sqlite3.Error):
            error = error.__cause__
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR) and self.give_up_reserve()


def free_bytes_of(folder: Path) -> int:
    """Bytes that this user may still write to the disk of a folder."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
