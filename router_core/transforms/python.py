"""The transform `python`: a function of yours, from record to record or None, without a plugin.

The function runs in a thread of its own, so that one that waits or computes does not hold up the router. One that
takes too long is left behind: its record ends as `on_failure` says and the others go on in a new thread. Pure Python is
then broken off; what a library does in C cannot be, so the number of threads left behind is limited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from router_core.components import (
    ConfigurationSettings,
    Transform,
    TransformContext,
    Transformed,
    TransformType,
    setting,
)
from router_core.isolation import fault_of
from router_core.outcomes import Outcome
from router_core.records import Record, wrong_change
from router_core.transforms.function import UnusableFunction, function_of
from router_core.transforms.threads import TookTooLong, Work, WorkerThread
from router_core.values import Duration

ERROR: Final = "transform_error"
TIMEOUT: Final = "transform_timeout"
DROPPED: Final = "transform_dropped"

_MOST_LEFT_BEHIND: Final = 8
_GRACE: Final = 0.05
"""Seconds beyond the limit: a machine that stood still for a moment is no fault of the function."""


class PythonSettings(ConfigurationSettings):
    """Settings of the transform `python`."""

    function: str = setting(
        title="Function", help="The function, `module:function`. It gets a record, and returns one or None.",
        example="tidy:without_tests", pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
    )  # fmt: skip
    folder: Path = setting(
        Path(), title="Folder", help="Where modules of your own are; a relative path starts at the YAML file's folder.",
        example="./transforms",
    )  # fmt: skip
    time_limit: Duration = setting(
        timedelta(seconds=1), title="Time limit", help="For one call.", example="200ms", gt=timedelta(0),
        le=timedelta(minutes=5),
    )  # fmt: skip
    on_failure: Literal["discard", "proceed", "park"] = setting(
        "park", title="On failure", help="What becomes of a record whose call raises, takes too long or returns "
        "something else: it is skipped, goes on as it was, or becomes a dead letter.",
    )  # fmt: skip


class PythonTransform(Transform):
    """One function at one connection."""

    def __init__(self, context: TransformContext) -> None:
        self._context = context
        settings: PythonSettings = context.settings
        self._policy = settings.on_failure
        self._limit = settings.time_limit.total_seconds()
        self._function = function_of(settings.function, settings.folder)
        self._late = f"took longer than {self._limit:g} seconds"
        self._turn = asyncio.Lock()
        self._thread: WorkerThread | None = None
        self._left_behind: list[WorkerThread] = []

    async def apply(self, records: Sequence[Record]) -> Transformed:
        """One record after the other; the lanes of a connection wait for each other, so that no two calls meet."""
        kept: list[Record] = []
        outcomes: list[Outcome] = []
        async with self._turn:
            place = 0
            while place < len(records):
                work = await self._run(records[place:])
                for record, result in zip(records[place:], work.results, strict=False):
                    self._take(record, result, kept, outcomes)
                place += len(work.results)
                if place < len(records):
                    text = self._late if work.cut_off else f"not called: {_MOST_LEFT_BEHIND} earlier calls go on"
                    self._fail(records[place], TIMEOUT, text, kept, outcomes)
                    place += 1
        return Transformed(records=kept, outcomes=outcomes)

    async def _run(self, records: Sequence[Record]) -> Work:
        """Call for one record after the other until one takes too long; for none if too many calls go on already."""
        work = Work(records, self._limit)
        if self._thread is None:
            self._left_behind = [thread for thread in self._left_behind if thread.is_alive]
            if len(self._left_behind) >= _MOST_LEFT_BEHIND:
                return work
            self._thread = WorkerThread(f"transform-{self._context.name}", self._function)
        done = asyncio.get_running_loop().run_in_executor(self._thread, partial(work.run, self._thread.call))
        try:
            while not await _within(done, work.left()):
                under_way = len(work.results)
                if work.left() > 0 or await _within(done, _GRACE):
                    continue
                if len(work.results) == under_way and work.cut():
                    self._leave_behind()
                    return work
        except asyncio.CancelledError:
            work.cut()
            self._leave_behind()
            raise
        return work

    def _leave_behind(self) -> None:
        if self._thread is not None:
            self._thread.break_off()
            self._left_behind.append(self._thread)
            self._thread = None

    def _take(self, record: Record, result: object, kept: list[Record], outcomes: list[Outcome]) -> None:
        if result is None:
            outcomes.append(Outcome.skipped(record.id, DROPPED, f"{self._context.name} returned None"))
        elif isinstance(result, TookTooLong):
            self._fail(record, TIMEOUT, self._late, kept, outcomes)
        elif isinstance(result, BaseException):
            self._fail(record, ERROR, fault_of(result), kept, outcomes)
        elif not isinstance(result, Record):
            self._fail(record, ERROR, f"returned {type(result).__name__}, not a Record or None", kept, outcomes)
        elif result.id != record.id or result.context is not record.context:
            self._fail(record, ERROR, "returned another record: id and context must stay", kept, outcomes)
        elif (result.event is None) is not (record.event is None):
            self._fail(record, ERROR, "made a profile update of an event, or the reverse", kept, outcomes)
        elif (wrong := wrong_change(record, result)) is not None:
            self._fail(record, ERROR, wrong, kept, outcomes)
        else:
            kept.append(result)

    def _fail(self, record: Record, code: str, text: str, kept: list[Record], outcomes: list[Outcome]) -> None:
        context = self._context
        context.telemetry.count("transform_failures", connection=context.connection, transform=context.name, code=code)
        message = f"{context.name}: {text}"
        if self._policy == "proceed":
            kept.append(record)
        elif self._policy == "discard":
            outcomes.append(Outcome.skipped(record.id, code, message))
        else:
            outcomes.append(Outcome.rejected(record.id, code, message))

    async def close(self) -> None:
        if self._thread is not None:
            self._thread.end()
            self._thread = None


async def _within(done: asyncio.Future[Any], seconds: float) -> bool:
    """Whether it is done within this time; waits a little in any case."""
    finished, _ = await asyncio.wait({done}, timeout=max(seconds, 0.01))
    return bool(finished)


def _problems(settings: Any) -> list[tuple[str, str, str]]:
    try:
        function_of(settings.function, settings.folder)
    except UnusableFunction as error:
        return [("function", error.what, error.mend)]
    return []


PYTHON = TransformType(
    name="python",
    title="Python function",
    summary="A function of yours, named `module:function`, from record to record or None.",
    create=PythonTransform,
    settings=PythonSettings,
    problems=_problems,
    stability="beta",
)
