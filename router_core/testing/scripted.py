"""A destination that answers as a test says, and keeps what it was called with."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from router_core.components import Destination
from router_core.outcomes import Outcome
from router_core.records import Record

Answer = (
    None
    | BaseException
    | asyncio.Event
    | Sequence[Outcome]
    | Callable[[Sequence[Record]], Sequence[Outcome] | Awaitable[Sequence[Outcome]]]
)
"""None: all are delivered. An exception: raised. An event: waited for, then all are delivered. Outcomes: as they are.
A function of the records, plain or async: what it returns or raises."""


@dataclass
class Call:
    """One `deliver`."""

    at: float
    """When it began, by the loop's time."""
    records: tuple[Record, ...]
    reported: list[Outcome] | None = field(default=None)
    """What it answered; None while it is under way, and when it was cut off or raised."""

    @property
    def ids(self) -> list[str]:
        """The ids of the records, in order."""
        return [record.id for record in self.records]


class ScriptedDestination(Destination):
    """Gives one answer per call, in order; when there are none left, `then` for ever."""

    def __init__(self, *answers: Answer, then: Answer = None) -> None:
        self._answers = list(answers)
        self._then = then
        self.calls: list[Call] = []
        self.opened = 0
        self.closed = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self._changed = asyncio.Event()

    def answer(self, *answers: Answer) -> None:
        """Add answers for the next calls."""
        self._answers += answers

    @property
    def ids(self) -> list[list[str]]:
        """The record ids of each call."""
        return [call.ids for call in self.calls]

    @property
    def delivered(self) -> list[str]:
        """The ids that were reported as delivered, in order of the answers' calls."""
        return [o.record_id for call in self.calls for o in call.reported or () if o.disposition == "delivered"]

    async def called(self, times: int = 1) -> Call:
        """Wait until there were this many calls; returns the last one of them."""
        while len(self.calls) < times:
            self._changed.clear()
            await self._changed.wait()
        return self.calls[times - 1]

    async def open(self) -> None:
        self.opened += 1

    async def close(self) -> None:
        self.closed += 1

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        call = Call(asyncio.get_running_loop().time(), tuple(records))
        self.calls.append(call)
        self._changed.set()
        answer = self._answers.pop(0) if self._answers else self._then
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            outcomes = await _outcomes(answer, records)
        finally:
            self.in_flight -= 1
        call.reported = list(outcomes)
        return outcomes


async def _outcomes(answer: Answer, records: Sequence[Record]) -> Sequence[Outcome]:
    if isinstance(answer, BaseException):
        raise answer
    if isinstance(answer, asyncio.Event):
        await answer.wait()
        answer = None
    if answer is None:
        return delivered(records)
    if callable(answer):
        given = answer(records)
        return await given if inspect.isawaitable(given) else given
    return answer


def delivered(records: Iterable[Record]) -> list[Outcome]:
    """All of them."""
    return [Outcome.delivered(record.id) for record in records]
