"""Group commit without a timer: while one commit is being synced, what arrives collects for the next."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from router_core.errors import LogError, LogFull
from router_core.log.files import is_damage

T = TypeVar("T")
R = TypeVar("R")


def _nothing(*_: object) -> None:
    return


class GroupCommit(Generic[T, R]):
    """Runs `apply` for a group of items inside one transaction, then commits in a thread.

    `apply` runs on the event loop, because SQLite gives up Python's lock at every row: in a thread, each row would
    wait for a busy loop. Only the commit, which is one call that waits for the disk, goes to the thread.
    Nothing else may begin or end a transaction on the connection.
    """

    def __init__(
        self,
        connection: Callable[[], sqlite3.Connection],
        apply: Callable[[Sequence[T]], Sequence[R]],
        *,
        committed: Callable[[], None] = _nothing,
        failed: Callable[[Exception], object] = _nothing,
        max_items: int = 256,
    ) -> None:
        """`connection` may raise to refuse a group. After each group `committed` or `failed` runs, outside of a
        transaction and before anybody who waits goes on."""
        self._connection = connection
        self._apply = apply
        self._committed = committed
        self._failed = failed
        self._max_items = max_items
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._closed = False

    @property
    def waiting(self) -> int:
        """Items that no commit has taken up yet."""
        return len(self._waiting)

    async def submit(self, item: T) -> R:
        """Durable on return. Raises what `apply` raises, and `LogFull` if the file cannot be written now."""
        if self._closed:
            raise LogError("the event log is closed")
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
        connection = None
        try:
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            results = self._apply([item for item, _ in group])
            await asyncio.get_running_loop().run_in_executor(self._thread, connection.commit)
        except Exception as error:
            if connection is not None:
                _roll_back(connection)
            failure = _failure(error)
            for _, future in group:
                if not future.done():
                    future.set_exception(failure)
            self._call(self._failed, error)
            return
        for (_, future), result in zip(group, results, strict=True):
            if not future.done():
                future.set_result(result)
        self._call(self._committed)

    def _call(self, hook: Callable[..., object], *arguments: object) -> None:
        try:
            hook(*arguments)
        except Exception as error:  # a fault here must not leave the next groups waiting for ever
            asyncio.get_running_loop().call_exception_handler({"message": "after a group commit", "exception": error})

    async def close(self) -> None:
        """Wait for what is under way; then take nothing more."""
        self._closed = True
        if self._task is not None:
            await self._task
        self._thread.shutdown()


def _failure(error: Exception) -> Exception:
    if isinstance(error, sqlite3.OperationalError) or (isinstance(error, sqlite3.DatabaseError) and is_damage(error)):
        return LogFull(f"the event log cannot be written now: {error}")
    return error


def _roll_back(connection: sqlite3.Connection) -> None:
    try:
        connection.rollback()
    except sqlite3.Error:
        # SQLite has rolled back by itself after some I/O errors; a second time is an error that means nothing.
        return
