"""Has partners forget people: one call after the other for each output, again and again until it is done."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

from router_core.components import Clock, Forgotten, Subject
from router_core.connection import Connection
from router_core.deliverer import Deliverer
from router_core.erasure import AtConnection, Erasure, Person, State, subject_of
from router_core.erasurefile import ErasureFile
from router_core.errors import CallRefused, DeliveryError, InvalidCredentials, Throttled, Unavailable
from router_core.logs import logger
from router_core.retry import Backoff

REFUSED_AGAIN_AFTER: Final = 900.0
"""Seconds after which a partner that refused is asked again."""
_MOST_DETAIL: Final = 300
_ENDED: Final = (State.SENT, State.SKIPPED)
_NO_ID: Final = "no id of the person means anything to this connection"


class _Due(NamedTuple):
    erasure: Erasure
    connection: Connection


class _Ended(NamedTuple):
    """How a call ended; `wait` is in seconds until the next."""

    state: State
    detail: str = ""
    wait: float = 0.0


class Partners:
    """The calls under way, and when the next are due. What came of them stands in the file."""

    def __init__(self, deliverer: Deliverer, clock: Clock, refused_again_after: float) -> None:
        self._deliverer = deliverer
        self._clock = clock
        self._refused_again_after = refused_again_after
        self._backoff = Backoff(1.0, 300.0)
        self._again_at: dict[tuple[int, str], float] = {}
        """Request and connection to when it is due."""
        self._refused: dict[tuple[int, str], object] = {}
        """Request and connection to the destination whose settings were refused; another one is asked at once."""
        self._calls: dict[str, asyncio.Task[None]] = {}
        self._logger = logger(part="eraser")

    @property
    def wait_for_settings(self) -> bool:
        """Whether a partner refused our credentials, so that mended ones should be looked for."""
        return bool(self._refused)

    def go_on(self, erasures: Sequence[Erasure], file: ErasureFile) -> None:
        """Begin the calls that are due for these people, of whom nothing can be in a partner's hands any more."""
        due: dict[str, list[_Due]] = defaultdict(list)
        connections = self._deliverer.connections
        for erasure in erasures:
            for name in [name for name in erasure.connections if name not in connections]:
                self._end(erasure, name, "the connection is no longer configured", file)
            for name, connection in connections.items():
                if erasure.connections.get(name, AtConnection()).state in _ENDED:
                    continue
                if not (kind := self._deliverer.type_of(name)).erases:
                    self._end(erasure, name, f"the destination {kind.name} cannot erase", file)
                elif self._is_due(erasure.number, connection):
                    due[self._deliverer.output_of(name)].append(_Due(erasure, connection))
        for output, calls in due.items():
            if output not in self._calls or self._calls[output].done():
                self._calls[output] = asyncio.create_task(self._call(calls, file))

    def _end(self, erasure: Erasure, name: str, why: str, file: ErasureFile) -> None:
        before = erasure.connections.get(name, AtConnection())
        if before.state not in _ENDED:
            self._note(erasure, name, AtConnection(State.SKIPPED, why, before.tries), file)

    def _is_due(self, number: int, connection: Connection) -> bool:
        key = number, connection.name
        refused = self._refused.get(key)
        if refused is not None and refused is not connection.destination:
            return True
        return self._again_at.get(key, 0.0) <= self._clock.monotonic()

    def is_done(self, erasure: Erasure) -> bool:
        """Whether the request has come to its end at every connection."""
        names = {*self._deliverer.connections, *erasure.connections}
        return all(erasure.connections.get(name, AtConnection()).state in _ENDED for name in names)

    def forget(self, erasure: Erasure) -> None:
        """The request is complete."""
        for table in (self._again_at, self._refused):
            for key in [key for key in table if key[0] == erasure.number]:
                table.pop(key, None)

    def stop(self) -> None:
        """End the calls under way; the next start repeats them."""
        for task in self._calls.values():
            task.cancel()

    # --- one call ---

    async def _call(self, calls: Sequence[_Due], file: ErasureFile) -> None:
        for erasure, connection in calls:
            assert erasure.person is not None
            key = erasure.number, connection.name
            tries = erasure.connections.get(connection.name, AtConnection()).tries + 1
            self._refused.pop(key, None)
            ended = await self._ask(connection, subject_of(erasure.person), tries, key)
            self._again_at[key] = self._clock.monotonic() + ended.wait
            at = AtConnection(ended.state, masked(ended.detail, erasure.person), tries)
            self._note(erasure, connection.name, at, file)

    async def _ask(self, connection: Connection, subject: Subject, tries: int, key: tuple[int, str]) -> _Ended:
        limit = connection.limits.timeout.total_seconds()
        destination = connection.destination
        try:
            async with connection.account.call(), asyncio.timeout(limit):
                end = await destination.erase(subject)
            if not isinstance(end, Forgotten):
                end = Forgotten(end)
            return _Ended(State.SENT, end.detail) if end.acknowledged else _Ended(State.SKIPPED, end.detail or _NO_ID)
        except (Throttled, Unavailable) as error:
            return _Ended(State.PENDING, str(error), self._backoff.seconds(tries, error.retry_after))
        except TimeoutError:
            return _Ended(State.PENDING, f"no answer within {limit:g} seconds", self._backoff.seconds(tries))
        except Exception as error:
            if isinstance(error, InvalidCredentials):
                self._refused[key] = destination
            return _Ended(State.FAILED, _why(error), self._refused_again_after)

    def _note(self, erasure: Erasure, name: str, at: AtConnection, file: ErasureFile) -> None:
        before = erasure.connections.get(name, AtConnection())
        file.at_connection(erasure.number, name, at)
        erasure.connections[name] = at
        if at.state is not before.state or at.detail != before.detail:
            tell = self._logger.error if at.state is State.FAILED else self._logger.info
            tell("erasure_at_connection", erasure=erasure.id, connection=name, state=at.state.value, detail=at.detail)


def _why(error: Exception) -> str:
    """What may be shown of an error. The text of a refusal, and of a plugin's fault, may quote what was sent."""
    if isinstance(error, CallRefused):
        return f"refused: {error.code}"
    return str(error) if isinstance(error, DeliveryError) else f"the plugin raised {type(error).__name__}"


def masked(text: str, person: Person) -> str:
    """A text without the person's values, in which no plugin should have put one."""
    for identities in (person.requested, person.found, person.shared):
        for value in sorted((value for values in identities.values() for value in values), key=len, reverse=True):
            text = text.replace(value, "***")
    return text[:_MOST_DETAIL]
