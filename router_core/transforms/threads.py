"""A thread that calls a function for one record after the other, and that can be left behind when a call never ends."""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

from router_core.records import Record

Function = Callable[[Record], Any]


class BrokenOff(BaseException):
    """Raised inside a call that took too long, as soon as it runs Python again."""


class TookTooLong(Exception):
    """An asynchronous call was over its limit."""


class Work:
    """The calls for some records. The thread writes, the event loop reads and may cut it off; both under a lock."""

    def __init__(self, records: Sequence[Record], limit: float) -> None:
        """`limit` in seconds, for one call."""
        self._records = records
        self._limit = limit
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self.results: list[object] = []
        """One for each call that has ended: what it returned, or the exception that it raised."""
        self.cut_off: bool = False

    def left(self) -> float:
        """Seconds that the call under way still has; less than 0 when it is over its limit."""
        with self._lock:
            return self._started + self._limit - time.monotonic()

    def cut(self) -> bool:
        """Take no more results. False if all calls have ended."""
        with self._lock:
            self.cut_off = len(self.results) < len(self._records)
            return self.cut_off

    def run(self, call: Callable[[Record, float], object]) -> None:
        """In the thread: call for each record, until cut off."""
        for record in self._records:
            with self._lock:
                if self.cut_off:
                    return
                self._started = time.monotonic()
            try:
                result = call(record, self._limit)
            except BrokenOff:
                return
            except BaseException as error:  # SystemExit as well: it would end this thread only
                result = error
            if not self._keep(result):
                return

    def _keep(self, result: object) -> bool:
        with self._lock:
            if not self.cut_off:
                self.results.append(result)
            return not self.cut_off


class WorkerThread(Executor):
    """One thread, which does not hold up the end of the process.

    An asynchronous function gets an event loop of the thread's own, the same for all of its calls in this thread.
    """

    def __init__(self, name: str, function: Function) -> None:
        self._function = function
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._runner: asyncio.Runner | None = None
        # A ThreadPoolExecutor waits for its threads at the end of the process: a call that hangs would hang it too.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._thread.is_alive()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it in the thread."""
        future: Future[Any] = Future()
        self._jobs.put((future, partial(fn, *args, **kwargs)))
        return future

    def end(self) -> None:
        """End after the call under way."""
        self._jobs.put(None)

    def break_off(self) -> None:
        """End, and break off the call under way as soon as it runs Python."""
        # It cannot end before it is told to, so the ident is still its own.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident or 0), ctypes.py_object(BrokenOff))
        self.end()

    def _work(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                future, run = job
                if future.set_running_or_notify_cancel():
                    future.set_result(run())
        except BrokenOff:
            pass
        finally:
            if self._runner is not None:
                self._runner.close()

    def call(self, record: Record, limit: float) -> object:
        """In the thread: one call of the function."""
        result = self._function(record)
        if not inspect.isawaitable(result):
            return result
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(_awaited(result, limit))


async def _awaited(result: Any, limit: float) -> object:
    try:
        async with asyncio.timeout(limit) as timeout:
            return await result
    except TimeoutError:
        if timeout.expired():
            return TookTooLong()
        raise
