"""The small durable key-value store of components, each in a namespace of its own."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from router_core.log.files import open_precious

_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    namespace TEXT, key TEXT, value BLOB NOT NULL, PRIMARY KEY (namespace, key)
) WITHOUT ROWID;
"""


class StateFile:
    """The file `state.db`, opened when the first component asks for something."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self.lock = asyncio.Lock()

    @property
    def connection(self) -> sqlite3.Connection:
        """The open file. Raises `LogDamaged` with the mend."""
        if self._connection is None:
            self._connection = open_precious(
                self._path,
                _SCHEMA,
                holds="what plugins remember",
                mend="Move it away: plugins then start without memory; or restore it from a backup.",
            )
        return self._connection

    def namespace(self, *names: str) -> NamespaceStore:
        """The store of one component."""
        return NamespaceStore(self, "/".join(names))

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()


class NamespaceStore:
    """See `KeyValueStore`."""

    def __init__(self, file: StateFile, namespace: str) -> None:
        self._file = file
        self._namespace = namespace

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""
        row = self._file.connection.execute(
            "SELECT value FROM items WHERE namespace = ? AND key = ?", (self._namespace, key)
        ).fetchone()
        return None if row is None else bytes(row[0])

    async def put(self, items: Mapping[str, bytes]) -> None:
        """Store all items together; durable on return."""
        rows = [(self._namespace, key, value) for key, value in items.items()]
        await self._write("INSERT OR REPLACE INTO items VALUES (?, ?, ?)", rows)

    async def delete(self, keys: Iterable[str]) -> None:
        """Remove the keys."""
        await self._write("DELETE FROM items WHERE namespace = ? AND key = ?", [(self._namespace, key) for key in keys])

    async def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        async with self._file.lock:
            connection = self._file.connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.executemany(statement, rows)
                await asyncio.to_thread(connection.commit)
            except BaseException:
                if connection.in_transaction:
                    connection.rollback()
                raise
