"""Opening the log's small SQLite files, in one way for all of them, and telling what SQLite's errors mean."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from router_core.errors import LogDamaged, LogError

T = TypeVar("T")

_BUSY_FOR = 5.0
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_TOOBIG}
_UNREADABLE = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ}
_NOT_OURS = ("no such table", "no such column", "unsupported file format")


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is broken. If not, the cause passes: locked, no room, no file handles left."""
    if isinstance(error, sqlite3.ProgrammingError):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # Python's own: text that is not UTF-8; or ours
        return True
    if code == sqlite3.SQLITE_ERROR:
        return any(words in str(error) for words in _NOT_OURS)
    return code & 0xFF in _DAMAGED or code in _UNREADABLE


def open_database(path: Path, schema: str = "", *, create: bool = True) -> sqlite3.Connection:
    """Open a file in WAL mode, with the schema laid down. Raises `sqlite3.DatabaseError`; see `is_damage`.

    A commit survives a power cut.
    """
    fresh = create and not path.exists()
    connection = sqlite3.connect(
        f"file:{_escaped(path)}?mode={'rwc' if create else 'rw'}",
        uri=True,
        timeout=_BUSY_FOR,
        isolation_level=None,
        check_same_thread=False,  # the commit runs in a thread; never two at once
        cached_statements=64,
    )
    try:
        _use_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")  # what is erased must not stay in free pages
        if schema:
            connection.executescript(schema)
        if fresh:
            sync_folder(path.parent)
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Two processes that make one file at the same time: here SQLite does not wait by itself for the other."""
    until = time.monotonic() + _BUSY_FOR
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.005)
        else:
            return


def open_precious(path: Path, schema: str, *, holds: str, mend: str) -> sqlite3.Connection:
    """Open a file that cannot be rebuilt from others. Raises `LogDamaged` with the mend if it is broken."""
    connection = None
    try:
        connection = open_database(path, schema)
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
    except sqlite3.DatabaseError as error:
        if connection is not None:
            connection.close()
        if is_damage(error):
            raise LogDamaged(f"{path} ({holds}) is damaged: {error}. {mend}") from error
        raise LogError(
            f"cannot open {path}: {error}. Check that the data folder is writable and that its disk has room."
        ) from error
    return connection


def erase_rows(path: Path, change: Callable[[sqlite3.Connection], T]) -> T:
    """Run a change that overwrites or deletes rows, so that no older page is left of them anywhere.

    Opens the file for itself, so it may run in a thread. Returns what `change` does. Raises `LogError` if another
    process keeps the write-ahead log busy.
    """
    with closing(open_database(path, create=False)) as connection:
        connection.execute("PRAGMA busy_timeout=30000")  # appends leave gaps, and an erasure has time
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            found = change(connection)
        if empty_write_ahead_log(connection):
            return found
    raise LogError(f"{path} is erased, but older pages are still in its write-ahead log. Erase once more.")


def empty_write_ahead_log(connection: sqlite3.Connection) -> bool:
    """Move all into the file itself, so that the write-ahead log holds no older page. Returns whether it worked."""
    for _ in range(100):
        if not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            return True
        time.sleep(0.05)
    return False


def wipe_free_pages(connection: sqlite3.Connection) -> None:
    """Write the whole file anew, for what SQLite leaves behind where it moves rows about. Raises `sqlite3.Error`."""
    connection.execute("VACUUM")
    if not empty_write_ahead_log(connection):
        raise sqlite3.OperationalError("the write-ahead log is busy")


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable, so that a new file is found again after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
