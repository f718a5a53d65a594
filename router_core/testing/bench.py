"""A bench for destinations and transforms: a real connection and its lanes over a log in memory.

@in_virtual_time
async def test_a_refused_record_becomes_a_dead_letter() -> None:
    async with Bench(ScriptedDestination(CallRefused("bad", "no name"))) as bench:
        await bench.append(event_batch(), user="somebody")
        await bench.idle()
        assert [letter.code for letter in await bench.letters()] == ["bad"]
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import structlog

from router_core.account import Account
from router_core.components import Destination, DestinationType, Limits, Transform
from router_core.connection import Connection, DeliveryPolicy
from router_core.deliverer import partition_ranges
from router_core.delivery import Lane
from router_core.events import Platform
from router_core.holding import HoldLimits
from router_core.hookspecs import SettlementReport
from router_core.intake import envelope_of
from router_core.log.memory import MemoryLog
from router_core.log.port import ConnectionStats, DeadLetter, EventLog, NewBatch, user_hash
from router_core.pipeline import Pipeline
from router_core.selection import Selection
from router_core.suppression import Suppression
from router_core.telemetry import Telemetry
from router_core.testing.virtual import VirtualClock

_INPUT = "shop"


class Bench:
    """One connection from the input `shop` to a destination. Several share a log by `log` and other names."""

    def __init__(
        self,
        destination: Destination,
        *,
        name: str = "connection",
        log: EventLog | None = None,
        kind: DestinationType | None = None,
        connection_settings: Any = None,
        platform: Platform = Platform.DATA_FEEDS,
        channel: str = "server_to_server",
        transforms: Mapping[str, Transform] | None = None,
        limits: Limits | None = None,
        policy: DeliveryPolicy | None = None,
        hold_limits: HoldLimits | None = None,
        account: Account | None = None,
        suppression: Suppression | None = None,
    ) -> None:
        self.clock = VirtualClock()
        self.telemetry = Telemetry()
        self.reports: list[SettlementReport] = []
        self.faults: list[BaseException] = []
        """What lanes failed with; `idle` raises the first."""
        lines = structlog.testing.LogCapture()
        self.lines = lines.entries
        """The log lines as mappings."""
        self._owns_log = log is None
        self.log: EventLog = log if log is not None else MemoryLog(now=self.clock.now)
        self._tasks: list[tuple[Lane, asyncio.Task[None]]] = []
        limits = limits or Limits(records=10)
        kind = kind or DestinationType(
            name="bench", title="Bench", summary="A destination under test.", create=lambda _: destination
        )
        self.connection = Connection(
            name,
            destination=destination,
            pipeline=Pipeline(
                platform,
                channel,
                list((transforms or {}).items()),
                Selection(kind, connection_settings, platform),
                suppression=suppression,
            ),
            limits=limits,
            account=account or Account(limits.calls_in_flight),
            log=self.log,
            clock=self.clock,
            telemetry=self.telemetry,
            logger=structlog.wrap_logger(None, processors=[lines]),
            policy=policy or DeliveryPolicy(),
            report=self.reports.append,
            hold_limits=hold_limits,
        )

    async def open(self) -> None:
        """Open the log, if it is the bench's own, without starting to deliver."""
        if self._owns_log:
            await self.log.open([_INPUT], {self.connection.name: _INPUT})

    def start(self) -> None:
        """Deliver from now on, as a router that has just started."""
        for partitions in partition_ranges(self.connection.limits.calls_in_flight):
            lane = Lane(self.connection, partitions)
            self._tasks.append((lane, asyncio.create_task(self._run(lane))))

    @property
    def lanes(self) -> Sequence[Lane]:
        """The lanes that run."""
        return [lane for lane, _ in self._tasks]

    async def _run(self, lane: Lane) -> None:
        try:
            await lane.run()
        except Exception as error:
            self.faults.append(error)

    async def stop(self) -> None:
        """Stop as the router does: calls under way end and are settled, no other begins."""
        for lane, task in self._tasks:
            lane.stopping = True
            if not lane.busy:
                task.cancel()
        await self._gone()

    async def kill(self) -> None:
        """Stop as a crash does: whatever is under way is lost."""
        for _, task in self._tasks:
            task.cancel()
        await self._gone()

    async def _gone(self) -> None:
        await asyncio.gather(*(task for _, task in self._tasks), return_exceptions=True)
        self._tasks.clear()

    async def append(self, *bodies: bytes, user: int | str | None = None) -> None:
        """Accept uploads, each of its own user as intake sees it, or all of one `user`."""
        await self.log.append([new_batch(body, user=user) for body in bodies])

    async def idle(self, within: float = 30 * 86_400.0) -> None:
        """Wait until nothing waits and nothing is held. Raises `AssertionError` after `within` virtual seconds."""
        wait, until = 0.05, self.clock.monotonic() + within
        while True:
            await self.clock.sleep(wait)
            wait = min(wait * 1.5, 10.0)
            if self.faults:
                raise self.faults[0]
            if (await self.stats()).depth == 0:
                return
            if self.clock.monotonic() > until:
                raise AssertionError(f"still not idle: {await self.stats()}, {self.connection.status()}")

    async def stats(self) -> ConnectionStats:
        """What waits at the connection."""
        return (await self.log.stats()).connections[self.connection.name]

    async def letters(self) -> Sequence[DeadLetter]:
        """The dead letters of the connection, oldest first."""
        return [letter for _, letter in await self.log.letters(self.connection.name, limit=1_000_000)]

    async def __aenter__(self) -> Self:
        await self.open()
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()


def new_batch(body: bytes, *, user: int | str | None = None) -> NewBatch:
    """An upload as intake hands it to the log."""
    envelope = envelope_of(body)
    if user is None:
        user = envelope.user
    return NewBatch(_INPUT, user if isinstance(user, int) else user_hash(user), envelope.records, body)
