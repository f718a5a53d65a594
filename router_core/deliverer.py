"""The delivering half of the router: connections and their lanes over the log."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from opentelemetry import metrics

from router_core.account import Account
from router_core.clock import SystemClock
from router_core.components import (
    Destination,
    DestinationContext,
    DestinationType,
    HttpTransport,
    Transform,
    TransformContext,
)
from router_core.connection import Connection, ConnectionStatus, DeliveryPolicy
from router_core.delivery import Lane
from router_core.filters import Filtering
from router_core.hookspecs import RouterView, SettlementReport
from router_core.isolation import fault_of
from router_core.log.port import PARTITIONS, EventLog
from router_core.logs import logger
from router_core.pipeline import Pipeline
from router_core.plangate import PlanNote
from router_core.plugins import observers_call
from router_core.rules import Forwarding, ForwardingRules
from router_core.selection import Selection, Stage
from router_core.store import StateFile
from router_core.suppression import Suppression
from router_core.telemetry import Telemetry
from router_core.transport import HttpxTransport

if TYPE_CHECKING:
    from router_core.configuration import Configuration, ConfiguredConnection, ConfiguredTransform


class Deliverer:
    """All connections of one process."""

    def __init__(
        self,
        configuration: Configuration,
        log: EventLog,
        state: StateFile,
        telemetry: Telemetry,
        suppression: Suppression | None = None,
    ) -> None:
        self._configuration = configuration
        self._applied = dict(configuration.connections)
        self._log = log
        self._state = state
        self._telemetry = telemetry
        self._suppression = suppression or Suppression()
        self._logger = logger(part="deliver")
        self._accounts: dict[str, Account] = {}
        self._transports: dict[str, HttpxTransport] = {}
        self._transforms: list[Transform] = []
        self._connections: dict[str, Connection] = {}
        self._lanes: list[tuple[str, Lane, asyncio.Task[None]]] = []

    async def start(self) -> None:
        """Open all destinations and deliver from now on."""
        for name, configured in self._configuration.connections.items():
            self._connections[name] = await self._connect(configured)
        for name, connection in self._connections.items():
            for partitions in partition_ranges(connection.limits.calls_in_flight):
                lane = Lane(connection, partitions)
                self._lanes.append((name, lane, asyncio.create_task(self._run(name, lane))))
        self._observe("router_started", router=self._view())

    async def _connect(self, configured: ConfiguredConnection) -> Connection:
        output = configured.output
        limits = output.type.limits_of(output.settings)
        if output.name not in self._accounts:
            allowed = partial(self._telemetry.gauge, "account_calls_allowed", output=output.name)
            self._accounts[output.name] = Account(limits.calls_in_flight, allowed)
        transforms = [
            (item.name, create_transform(configured, item, state=self._state, telemetry=self._telemetry))
            for item in configured.transforms
        ]
        self._transforms += [transform for _, transform in transforms]
        for _, transform in transforms:
            await transform.open()
        policy = self._configuration.settings.delivery
        return Connection(
            configured.name,
            destination=await self._open_destination(configured),
            pipeline=create_pipeline(
                configured,
                transforms,
                suppression=self._suppression,
                noted=partial(self._count_breaches, configured.name),
            ),
            limits=limits,
            account=self._accounts[output.name],
            log=self._log,
            clock=SystemClock(),
            telemetry=self._telemetry,
            logger=self._logger,
            policy=DeliveryPolicy(
                linger=policy.linger.total_seconds(),
                give_up_after=policy.give_up_after.total_seconds(),
                back_off_initial=policy.back_off_initial.total_seconds(),
                back_off_maximum=policy.back_off_maximum.total_seconds(),
            ),
            report=self._settled,
        )

    def _count_breaches(self, connection: str, notes: Sequence[PlanNote]) -> None:
        for (code, policy), amount in Counter((note.code, note.policy) for note in notes).items():
            self._telemetry.count("data_plan_breaches", amount, connection=connection, code=code, policy=policy)

    async def _open_destination(self, configured: ConfiguredConnection) -> Destination:
        output = configured.output
        if output.name not in self._transports:
            self._transports[output.name] = HttpxTransport()
        destination = create_destination(
            configured,
            http=self._transports[output.name],
            account=self._accounts[output.name],
            state=self._state,
            telemetry=self._telemetry,
        )
        try:
            await destination.open()
        except BaseException:
            await destination.close()
            raise
        return destination

    async def _run(self, name: str, lane: Lane) -> None:
        """Run a lane; a fault of ours is logged and the lane starts again from what is settled."""
        failed = False
        while True:
            try:
                if failed:
                    lane.restart()
                await lane.run()
            except Exception as error:
                failed = True
                self._logger.error("lane_failed", connection=name, error=fault_of(error))
                self._connections[name].note_error(f"internal fault: {fault_of(error)}")
                await asyncio.sleep(1.0)
            else:
                return

    async def apply(self, configuration: Configuration) -> None:
        """Take over changed settings of destinations, one by one; other changes need a restart.

        A destination that cannot be opened with its new settings goes on with the old ones, and is tried again at the
        next call.
        """
        for name, connection in self._connections.items():
            old, new = self._applied[name], configuration.connections.get(name)
            if new is None or new.output.type.name != old.output.type.name:
                continue
            if (new.output.settings, new.settings) == (old.output.settings, old.settings):
                continue
            try:
                await connection.replace_destination(await self._open_destination(new))
            except Exception as error:
                self._logger.error("settings_not_applied", connection=name, error=fault_of(error))
            else:
                self._applied[name] = new

    @property
    def connections(self) -> Mapping[str, Connection]:
        """The connections by name."""
        return self._connections

    def type_of(self, name: str) -> DestinationType:
        """The type of a connection's destination."""
        return self._configuration.connections[name].output.type

    def output_of(self, name: str) -> str:
        """The output of a connection."""
        return self._configuration.connections[name].output.name

    @property
    def lanes(self) -> Sequence[Lane]:
        """All lanes of all connections."""
        return [lane for _, lane, _ in self._lanes]

    @property
    def paused(self) -> bool:
        """Whether a connection waits for mended settings."""
        return any(status.state == "paused" for status in self.status().values())

    def status(self) -> Mapping[str, ConnectionStatus]:
        """Connection to its status."""
        return {name: connection.status() for name, connection in self._connections.items()}

    def _settled(self, report: SettlementReport) -> None:
        self._observe("router_settled", report=report)

    def _observe(self, hook: str, **arguments: object) -> None:
        for plugin, error in observers_call(self._configuration.plugins.manager, hook, **arguments).items():
            self._logger.error("observer_failed", hook=hook, plugin=plugin, error=fault_of(error))

    def _view(self) -> RouterView:
        connections = self._configuration.connections.values()
        return RouterView(
            inputs={item.name: item.type.name for item in self._configuration.inputs.values()},
            connections={item.name: (item.input.name, item.output.name) for item in connections},
        )

    async def stop(self, within: float) -> None:
        """Let calls that are under way end and be settled, begin no other; cut off what takes longer."""
        for _, lane, task in self._lanes:
            lane.stopping = True
            if not lane.busy:
                task.cancel()
        tasks = [task for _, _, task in self._lanes]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=within)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._observe("router_stopping", router=self._view())
        for transform in self._transforms:
            await transform.close()
        for connection in self._connections.values():
            await connection.destination.close()
        for transport in self._transports.values():
            await transport.close()


def partition_ranges(lanes: int) -> Sequence[range]:
    """All partitions in `lanes` even parts."""
    lanes = max(1, min(lanes, PARTITIONS))
    return [range(PARTITIONS * lane // lanes, PARTITIONS * (lane + 1) // lanes) for lane in range(lanes)]


def create_pipeline(
    configured: ConfiguredConnection,
    transforms: Sequence[tuple[str, Transform]],
    *,
    suppression: Suppression | None = None,
    noted: Callable[[Sequence[PlanNote]], None] = lambda notes: None,
) -> Pipeline:
    """A connection's way from the log to its destination, with transforms that are open."""
    source, path = configured.input, configured.path
    stages: list[Stage] = []
    if configured.rules != ForwardingRules():
        account = configured.output.name.partition(".")[0]
        split_by = f"outputs.{account}.development_settings" if configured.is_part else None
        stages.append(Forwarding(configured.rules, f"{path}.rules", split_by=split_by))
    if configured.filters is not None:
        stages.append(Filtering(configured.filters, f"{path}.filters"))
    selection = Selection(
        configured.output.type,
        configured.settings,
        source.platform,
        own_feed=configured.is_loop,
        is_feed=source.is_feed,
        stages=stages,
        path=path,
    )
    return Pipeline(
        source.platform,
        source.channel,
        transforms,
        selection,
        feed=source.feed,
        att_status=source.att_status,
        suppression=suppression,
        input_plan=source.data_plan,
        plan=configured.data_plan,
        noted=noted,
    )


def create_transform(
    configured: ConfiguredConnection, item: ConfiguredTransform, *, state: StateFile, telemetry: Telemetry
) -> Transform:
    """One of the transforms of a connection, not opened yet."""
    return item.type.create(
        TransformContext(
            name=item.name,
            settings=item.settings,
            clock=SystemClock(),
            log=logger(part="deliver"),
            meter=metrics.get_meter(f"router_core.transform.{item.type.name}"),
            telemetry=telemetry,
            store=state.namespace("transform", item.name),
            connection=configured.name,
        )
    )


def create_destination(
    configured: ConfiguredConnection,
    *,
    http: HttpTransport,
    account: Account,
    state: StateFile,
    telemetry: Telemetry,
) -> Destination:
    """The destination of a connection, not opened yet."""
    kind: DestinationType = configured.output.type
    return kind.create(
        DestinationContext(
            name=configured.name,
            settings=configured.output.settings,
            clock=SystemClock(),
            log=logger(part="deliver"),
            meter=metrics.get_meter(f"router_core.destination.{kind.name}"),
            telemetry=telemetry,
            store=state.namespace("destination", configured.name),
            output=configured.output.name,
            connection_settings=configured.settings,
            http=http,
            account_slot=account.call,
        )
    )
