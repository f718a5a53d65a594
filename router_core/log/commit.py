"""Group commit without a timer: while one commit is being synced, what arrives collects for the next."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from router_core.errors import LogFull

T = TypeVar("T")
R = TypeVar("R")

_FULL_CODES = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC}


def is_full(error: sqlite3.Error) -> bool:
    """Whether SQLite failed because it could not write, which passes when there is room again."""
    code = getattr(error, "sqlite_errorcode", None)
    return code in _FULL_CODES or "database or disk is full" in str(error)


class GroupCommit(Generic[T, R]):
    """Runs `apply` for a group of items inside one transaction, then commits in a thread.

    `apply` runs on the event loop, because SQLite gives up Python's lock at every row: in a thread, each row would
    wait for a busy loop. Only the commit, which is one call that waits for the disk, goes to the thread.
    `committed` and `failed` run after the one or the other, before anybody who waits goes on.
    """

    def __init__(
        self,
        connection: Callable[[], sqlite3.Connection],
        apply: Callable[[Sequence[T]], Sequence[R]],
        *,
        committed: Callable[[], None] = lambda: None,
        failed: Callable[[], None] = lambda: None,
        max_items: int = 256,
    ) -> None:
        self._connection = connection
        self._apply = apply
        self._committed = committed
        self._failed = failed
        self._max_items = max_items
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")

    @property
    def waiting(self) -> int:
        """Items that no commit has taken up yet."""
        return len(self._waiting)

    async def submit(self, item: T) -> R:
        """Durable on return. Raises what `apply` raises, and `LogFull` if the disk takes no more."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = loop.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                group = self._waiting[: self._max_items]
                del self._waiting[: self._max_items]
                await self._commit(group)
        finally:
            self._task = None

    async def _commit(self, group: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        connection = self._connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
            results = self._apply([item for item, _ in group])
            await asyncio.get_running_loop().run_in_executor(self._thread, connection.commit)
        except Exception as error:
            _roll_back(connection)
            self._failed()
            failure: Exception = error
            if isinstance(error, sqlite3.Error) and is_full(error):
                failure = LogFull(f"the disk takes no more: {error}")
            for _, future in group:
                if not future.done():
                    future.set_exception(failure)
            return
        for (_, future), result in zip(group, results, strict=True):
            if not future.done():
                future.set_result(result)
        self._committed()

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._task is not None:
            await self._task
        self._thread.shutdown()


def _roll_back(connection: sqlite3.Connection) -> None:
    try:
        connection.rollback()
    except sqlite3.Error:
        # SQLite has rolled back by itself after some I/O errors; a second time is an error that means nothing.
        return
