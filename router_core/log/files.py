"""Opening the log's SQLite files, in one way for all of them."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from router_core.errors import LogDamaged, LogError


def open_database(
    path: Path, schema: str = "", *, synchronous: str = "FULL", create: bool = True, autocheckpoint: int = 1000
) -> sqlite3.Connection:
    """Open a file in WAL mode, with the schema laid down. Raises `sqlite3.DatabaseError` if it is damaged.

    `synchronous=FULL` makes a commit survive a power cut; `autocheckpoint` is in pages, 0 for never.
    """
    fresh = create and not path.exists()
    connection = sqlite3.connect(
        f"file:{_escaped(path)}?mode={'rwc' if create else 'rw'}",
        uri=True,
        timeout=5.0,
        isolation_level=None,
        check_same_thread=False,  # the commit runs in a thread; never two at once
        cached_statements=64,
    )
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute(f"PRAGMA wal_autocheckpoint={autocheckpoint}")
        connection.execute("PRAGMA secure_delete=ON")  # what is erased must not stay in free pages
        if schema:
            connection.executescript(schema)
        if fresh:
            sync_folder(path.parent)
    except BaseException:
        connection.close()
        raise
    return connection


def open_precious(path: Path, schema: str, *, holds: str, mend: str) -> sqlite3.Connection:
    """Open a file that cannot be rebuilt from others. Raises `LogDamaged` with the mend if it is broken."""
    try:
        connection = open_database(path, schema)
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and "unable to open" in str(error):
            raise LogError(f"cannot open {path}: {error}. Check that the data folder is writable.") from error
        raise LogDamaged(f"{path} ({holds}) is damaged: {error}. {mend}") from error
    if verdict != "ok":
        connection.close()
        raise LogDamaged(f"{path} ({holds}) is damaged: {verdict}. {mend}")
    return connection


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable, so that a new file is found again after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def size_on_disk(path: Path) -> int:
    """Bytes of a database file with its write-ahead log."""
    total = 0
    for name in (path, path.with_name(path.name + "-wal")):
        try:
            total += name.stat().st_size
        except FileNotFoundError:
            continue
    return total


def remove_database(path: Path) -> None:
    """Delete a database with its companions; missing ones do no harm."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
