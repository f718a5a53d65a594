"""Virtual time: an event loop that jumps to the next timer as soon as nothing else is left to do.

Everything that waits by the loop's time is covered: `asyncio.sleep`, `asyncio.timeout`, `call_later`. Work in threads
is waited for in real time, without moving the clock. Sockets are not: their waiting would look like idleness.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

from router_core.testing.builders import RECEIVED_AT_MS

P = ParamSpec("P")
T = TypeVar("T")

EPOCH: Final = RECEIVED_AT_MS / 1000
"""What `VirtualClock.now` says at the start, in Unix seconds."""


_THREADS_HAVE: Final = 5.0
"""Real seconds for a thread to say something when nothing else can happen any more."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """See the module. Raises `RuntimeError` where a real loop would hang: nothing to do and nothing to wait for."""

    def __init__(self) -> None:
        self._passed = 0.0
        self._in_threads = 0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._passed

    def jump(self, timeout: float) -> float:
        """Skip a wait; returns how long the selector has to wait really."""
        if self._in_threads and timeout:
            return 0.001
        self._passed += timeout
        return 0

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]  # typeshed's TypeVarTuple says no more
        """As always; the clock stands while the thread works."""
        self._in_threads += 1
        try:
            future = super().run_in_executor(executor, func, *args)
        except BaseException:
            self._in_threads -= 1
            raise
        future.add_done_callback(self._out_of_thread)
        return future

    def _out_of_thread(self, _: object) -> None:
        self._in_threads -= 1


class _Jumping(selectors.DefaultSelector):
    """Asks the loop what to do instead of waiting."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is not None:
            return super().select(self._loop.jump(timeout))
        ready = super().select(_THREADS_HAVE)
        if not ready:
            raise RuntimeError("every task waits for another one: this test would never end")
        return ready


class VirtualClock:
    """A `Clock` by the time of the running loop, real or virtual."""

    def now(self) -> float:
        """Unix seconds."""
        return EPOCH + self.monotonic()

    def monotonic(self) -> float:
        """Seconds of the loop."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


def run_in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def in_virtual_time(test: Callable[P, Awaitable[T]]) -> Callable[P, T]:
    """Make a test function of a coroutine function; fixtures and hypothesis see its own parameters."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        async def main() -> T:
            return await test(*args, **kwargs)

        return run_in_virtual_time(main())

    return run
