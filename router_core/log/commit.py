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
Work = Callable[[], object]


def _nothing(*_: object) -> None:
    return


class GroupCommit(Generic[T, R]):
    """Makes groups of items durable, one group after the other.

    `prepare` runs on the event loop and returns the results with the one call that makes them durable, which runs in a
    thread: it waits for the disk, and everything else in a thread would wait for a busy loop.
    """

    def __init__(
        self,
        prepare: Callable[[Sequence[T]], tuple[Sequence[R], Work | None]],
        *,
        ready: Callable[[], Work | None] = _nothing,
        committed: Callable[[], None] = _nothing,
        failed: Callable[[Exception], object] = _nothing,
        max_items: int = 256,
    ) -> None:
        """`ready` runs before each group: it may raise to refuse the group, or return work to do in the thread first.
        After each group `committed` or `failed` runs, before anybody who waits goes on."""
        self._prepare = prepare
        self._ready = ready
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

    @property
    def busy(self) -> bool:
        """Whether a commit is under way."""
        return self._task is not None

    async def submit(self, item: T) -> R:
        """Durable on return. Raises what `prepare` raises, and `LogFull` if the file cannot be written now."""
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
        try:
            await self._in_thread(self._ready())
            results, commit = self._prepare([item for item, _ in group])
            await self._in_thread(commit)
        except Exception as error:
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

    async def _in_thread(self, work: Work | None) -> None:
        if work is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, work)

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


def in_transaction(
    connection: sqlite3.Connection, apply: Callable[[Sequence[T]], Sequence[R]]
) -> Callable[[Sequence[T]], tuple[Sequence[R], Work]]:
    """`prepare` for an SQLite file: `apply` runs inside a transaction, which is rolled back if anything fails.

    It runs on the event loop, because SQLite gives up Python's lock at every row. Nothing else may begin or end a
    transaction on the connection.
    """

    def commit() -> None:
        try:
            connection.commit()
        except BaseException:
            _roll_back(connection)
            raise

    def prepare(group: Sequence[T]) -> tuple[Sequence[R], Work]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            return apply(group), commit
        except BaseException:
            _roll_back(connection)
            raise

    return prepare


def _failure(error: Exception) -> Exception:
    if isinstance(error, OSError):
        return LogFull(f"the event log cannot be written now: {error.strerror or error}")
    if isinstance(error, sqlite3.OperationalError) or (isinstance(error, sqlite3.DatabaseError) and is_damage(error)):
        return LogFull(f"the event log cannot be written now: {error}")
    return error


def _roll_back(connection: sqlite3.Connection) -> None:
    try:
        connection.rollback()
    except sqlite3.Error:
        # SQLite has rolled back by itself after some I/O errors; a second time is an error that means nothing.
        return
