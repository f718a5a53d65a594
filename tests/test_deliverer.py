"""The delivering half as the router runs it: from a configuration, with plugins, observers and real lanes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pluggy
import pytest
import structlog

from router_core import deliverer as module
from router_core import hookspecs
from router_core.components import (
    ConfigurationSettings,
    ConnectionSettings,
    Destination,
    DestinationContext,
    DestinationType,
    Limits,
    SourceType,
    Transform,
    TransformContext,
    Transformed,
    TransformType,
    setting,
)
from router_core.configuration import (
    Configuration,
    ConfiguredConnection,
    ConfiguredInput,
    ConfiguredOutput,
    ConfiguredTransform,
)
from router_core.deliverer import Deliverer, partition_ranges
from router_core.errors import InvalidCredentials
from router_core.events import Platform
from router_core.hookspecs import RouterView, SettlementReport, hookimpl
from router_core.log.memory import MemoryLog
from router_core.log.port import PARTITIONS, Lease
from router_core.plugins import Plugins
from router_core.records import Record
from router_core.settings import RouterSettings
from router_core.store import StateFile
from router_core.telemetry import Telemetry
from router_core.testing import (
    ScriptedDestination,
    VirtualClock,
    event_batch,
    in_virtual_time,
    new_batch,
    user_of_partition,
)

ANN = user_of_partition(0)


class Account(ConfigurationSettings):
    passcode: str = setting("right", title="Passcode", help="Passcode.")


class Link(ConnectionSettings):
    tag: str = setting("", title="Tag", help="Tag.")


class Observer:
    """A plugin that watches."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    @hookimpl
    def router_started(self, router: RouterView) -> None:
        self.seen.append(("started", router))

    @hookimpl
    def router_settled(self, report: SettlementReport) -> None:
        self.seen.append(("settled", report.connection, report.delivered))

    @hookimpl
    def router_stopping(self, router: RouterView) -> None:
        self.seen.append(("stopping", router))


class BrokenObserver:
    """A plugin whose observers all fail."""

    @hookimpl
    def router_started(self) -> None:
        raise RuntimeError("observer fault")

    router_settled = router_stopping = router_started


class Stand:
    """A deliverer over a log in memory, with one partner type whose destinations a test hands in."""

    def __init__(
        self,
        folder: Path,
        destinations: dict[str, list[Destination]],
        *,
        outputs: dict[str, str] | None = None,
        transforms: dict[str, Transform] | None = None,
        plugins: Sequence[object] = (),
        limits: Limits | None = None,
        log: MemoryLog | None = None,
        **delivery: str,
    ) -> None:
        self.made = {name: iter(given) for name, given in destinations.items()}
        self.contexts: list[DestinationContext] = []
        self.transform_contexts: list[TransformContext] = []
        self.log = log or MemoryLog(now=VirtualClock().now)
        self.telemetry = Telemetry()
        manager = pluggy.PluginManager(hookspecs.NAMESPACE)
        manager.add_hookspecs(hookspecs)
        for plugin in plugins:
            manager.register(plugin)
        self.configuration = self._configuration(
            Plugins(manager, []), outputs or dict.fromkeys(destinations, "partner"), transforms or {}, limits, delivery
        )
        self.state = StateFile(folder / "state.db")
        self.deliverer = Deliverer(self.configuration, self.log, self.state, self.telemetry)

    def _configuration(
        self,
        plugins: Plugins,
        outputs: dict[str, str],
        transforms: dict[str, Transform],
        limits: Limits | None,
        delivery: dict[str, str],
    ) -> Configuration:
        kind = DestinationType(
            name="partner", title="Partner", summary="", create=self._create, configuration_settings=Account,
            connection_settings=Link, limits=limits or Limits(records=10),
        )  # fmt: skip
        source = SourceType(name="api", title="API", summary="", create=lambda _: pytest.fail("not used"))
        shop = ConfiguredInput(
            name="shop", type=source, platform=Platform.WEB, key=None, secret=None, max_batches_per_second=None,
            partner_feed=None, settings=None,
        )  # fmt: skip
        accounts = {name: ConfiguredOutput(name=name, type=kind, settings=Account()) for name in set(outputs.values())}
        configured = {
            name: ConfiguredTransform(name=name, type=self._transform_type(transform), settings=None)
            for name, transform in transforms.items()
        }
        return Configuration(
            settings=RouterSettings.model_validate({"delivery": delivery}),
            plugins=plugins,
            inputs={"shop": shop},
            outputs=accounts,
            transforms=configured,
            connections={
                name: ConfiguredConnection(
                    name=name,
                    input=shop,
                    output=accounts[output],
                    transforms=tuple(configured.values()),
                    return_to_partner=False,
                    settings=Link(),
                )
                for name, output in outputs.items()
            },
        )

    def _create(self, context: DestinationContext) -> Destination:
        self.contexts.append(context)
        return next(self.made[context.name])

    def _transform_type(self, transform: Transform) -> TransformType:
        def create(context: TransformContext) -> Transform:
            self.transform_contexts.append(context)
            return transform

        return TransformType(name="kind", title="", summary="", create=create)

    def changed(self, connection: str, *, passcode: str = "right", tag: str = "") -> Configuration:
        """The configuration with other settings of one connection and its output."""
        old = self.configuration.connections[connection]
        output = replace(old.output, settings=Account(passcode=passcode))
        new = replace(old, output=output, settings=Link(tag=tag))
        return replace(self.configuration, connections={**self.configuration.connections, connection: new})

    async def __aenter__(self) -> Stand:
        await self.log.open(["shop"], dict.fromkeys(self.configuration.connections, "shop"))
        await self.deliverer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.deliverer.stop(1.0)
        self.state.close()

    async def append(self, count: int = 1, user: int = ANN) -> None:
        """Accept this many uploads of one event."""
        await self.log.append([new_batch(event_batch(), user=user)] * count)

    async def idle(self) -> None:
        """Until nothing waits."""
        while any(at.depth for at in (await self.log.stats()).connections.values()):
            await asyncio.sleep(0.05)


@pytest.fixture(autouse=True)
def _virtual_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SystemClock", VirtualClock)


@pytest.fixture(autouse=True)
def lines(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The log lines."""
    capture = structlog.testing.LogCapture()
    monkeypatch.setattr(module, "logger", lambda **_: structlog.wrap_logger(None, processors=[capture]))
    return capture.entries


@in_virtual_time
async def test_each_connection_delivers_by_its_own_destination(tmp_path: Path) -> None:
    one, two = ScriptedDestination(), ScriptedDestination()
    async with Stand(tmp_path, {"one": [one], "two": [two]}) as stand:
        await stand.append(3)
        await stand.idle()
        assert one.delivered == two.delivered == ["1.0", "2.0", "3.0"]
        assert {name: status.delivered for name, status in stand.deliverer.status().items()} == {"one": 3, "two": 3}
    assert (one.opened, one.closed, two.opened, two.closed) == (1, 1, 1, 1)


@in_virtual_time
async def test_a_destination_gets_its_settings_and_a_store_of_its_own(tmp_path: Path) -> None:
    async with Stand(tmp_path, {"one": [ScriptedDestination()], "two": [ScriptedDestination()]}) as stand:
        first, second = stand.contexts
        assert (first.name, first.output, first.settings, first.connection_settings) == (
            "one", "partner", Account(), Link(),
        )  # fmt: skip
        await first.store.put({"key": b"1"})
        assert await second.store.get("key") is None
        assert first.http is second.http, "connections of one account share its connection pool"


@in_virtual_time
async def test_connections_of_one_output_share_its_calls_in_flight_and_those_of_two_outputs_do_not(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    destinations = {name: ScriptedDestination(gate) for name in ("a1", "a2", "b1")}
    outputs = {"a1": "a", "a2": "a", "b1": "b"}
    async with Stand(tmp_path, {n: [d] for n, d in destinations.items()}, outputs=outputs) as stand:
        await stand.append()
        await asyncio.sleep(5.0)
        assert destinations["a1"].in_flight + destinations["a2"].in_flight == 1
        assert destinations["b1"].in_flight == 1
        gate.set()
        await stand.idle()


@in_virtual_time
async def test_a_further_slot_of_the_account_waits_for_a_call_that_is_under_way(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with Stand(tmp_path, {"one": [partner := ScriptedDestination(gate)]}) as stand:
        await stand.append()
        await partner.called()
        taken = asyncio.create_task(_take(stand.contexts[0]))
        await asyncio.sleep(5.0)
        assert not taken.done()
        gate.set()
        await taken


async def _take(context: DestinationContext) -> None:
    async with context.account_slot():
        pass


@in_virtual_time
async def test_limits_cut_a_connection_into_lanes_with_calls_at_once(tmp_path: Path) -> None:
    gate = asyncio.Event()
    partner = ScriptedDestination(then=gate)
    async with Stand(tmp_path, {"one": [partner]}, limits=Limits(records=10, calls_in_flight=3)) as stand:
        for partition in (0, 22, 43):
            await stand.append(user=user_of_partition(partition))
        await partner.called(3)
        assert partner.in_flight == 3
        gate.set()
        await stand.idle()


@in_virtual_time
async def test_transforms_are_opened_applied_in_order_and_closed(tmp_path: Path) -> None:
    story: list[str] = []

    class Telling(Transform):
        def __init__(self, name: str) -> None:
            self._name = name

        async def open(self) -> None:
            story.append(f"open {self._name}")

        async def apply(self, records: Sequence[Record]) -> Transformed:
            story.append(f"apply {self._name}")
            return Transformed(records=records)

        async def close(self) -> None:
            story.append(f"close {self._name}")

    transforms: dict[str, Transform] = {"first": Telling("first"), "second": Telling("second")}
    async with Stand(tmp_path, {"one": [ScriptedDestination()]}, transforms=transforms) as stand:
        await stand.append()
        await stand.idle()
        assert [(context.name, context.connection) for context in stand.transform_contexts] == [
            ("first", "one"), ("second", "one"),
        ]  # fmt: skip
    assert story == ["open first", "open second", "apply first", "apply second", "close first", "close second"]


# --- observers --------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_router_started_router_settled_and_router_stopping_are_told(tmp_path: Path) -> None:
    observer = Observer()
    async with Stand(tmp_path, {"one": [ScriptedDestination()]}, plugins=[observer]) as stand:
        await stand.append(2)
        await stand.idle()
    view = RouterView(inputs={"shop": "api"}, connections={"one": ("shop", "partner")})
    assert observer.seen == [("started", view), ("settled", "one", 2), ("stopping", view)]


@in_virtual_time
async def test_an_observer_that_fails_is_logged_and_stops_neither_delivery_nor_other_observers(
    tmp_path: Path, lines: list[Any]
) -> None:
    observer = Observer()
    plugins = [BrokenObserver(), observer, BrokenObserver()]
    async with Stand(tmp_path, {"one": [partner := ScriptedDestination()]}, plugins=plugins) as stand:
        await stand.append()
        await stand.idle()
    assert partner.delivered == ["1.0"]
    assert [entry[0] for entry in observer.seen] == ["started", "settled", "stopping"]
    failed = [line for line in lines if line["event"] == "observer_failed"]
    assert {line["hook"] for line in failed} == {"router_started", "router_settled", "router_stopping"}
    assert all("observer fault" in line["error"] for line in failed)


# --- changed settings -------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_paused_connection_goes_on_with_changed_settings(tmp_path: Path) -> None:
    old, new = ScriptedDestination(InvalidCredentials("wrong passcode")), ScriptedDestination()
    async with Stand(tmp_path, {"one": [old, new]}) as stand:
        await stand.append()
        await old.called()
        await asyncio.sleep(1.0)
        assert stand.deliverer.paused
        await stand.deliverer.apply(stand.changed("one", passcode="new"))
        await stand.idle()
        assert stand.deliverer.status()["one"].state == "ok"
        assert new.delivered == ["1.0"]
        assert stand.contexts[1].settings == Account(passcode="new")
        assert (old.closed, new.opened) == (1, 1)


@in_virtual_time
async def test_only_connections_whose_settings_changed_get_a_new_destination(tmp_path: Path) -> None:
    one, other, two = ScriptedDestination(), ScriptedDestination(), ScriptedDestination()
    async with Stand(tmp_path, {"one": [one, other], "two": [two]}) as stand:
        await stand.deliverer.apply(stand.configuration)
        assert one.closed == 0
        changed = stand.changed("one", tag="new")
        await stand.deliverer.apply(changed)
        await stand.deliverer.apply(changed)
        assert (one.closed, other.opened, two.closed) == (1, 1, 0)
        assert stand.contexts[-1].connection_settings == Link(tag="new")


@in_virtual_time
async def test_a_new_destination_that_does_not_open_is_closed_and_the_old_one_stays(tmp_path: Path) -> None:
    class Shut(ScriptedDestination):
        async def open(self) -> None:
            raise InvalidCredentials("still wrong")

    old, shut = ScriptedDestination(), Shut()
    async with Stand(tmp_path, {"one": [old, shut]}) as stand:
        await stand.deliverer.apply(stand.changed("one", passcode="new"))
        assert shut.closed == 1
        await stand.append()
        await stand.idle()
        assert old.delivered == ["1.0"]


@in_virtual_time
async def test_a_destination_that_does_not_open_stops_the_start_and_is_closed(tmp_path: Path) -> None:
    class Shut(ScriptedDestination):
        async def open(self) -> None:
            raise InvalidCredentials("wrong")

    first, shut = ScriptedDestination(), Shut()
    stand = Stand(tmp_path, {"one": [first], "two": [shut]})
    with pytest.raises(InvalidCredentials):
        await stand.__aenter__()
    await stand.__aexit__()
    assert (first.closed, shut.closed) == (1, 1)


# --- faults and the end -----------------------------------------------------------------------------------------------


class FaultyLog(MemoryLog):
    """Raises what `fault` gives at each `lease` and at each settlement."""

    def __init__(self) -> None:
        super().__init__(now=VirtualClock().now)
        self.at_lease: list[Exception] = []
        self.at_settle: list[Exception] = []

    def lease(self, connection: str, partitions: range) -> Any:
        if self.at_lease:
            raise self.at_lease.pop(0)
        lease = super().lease(connection, partitions)
        lease.settle = self._failing(lease)  # type: ignore[method-assign]
        return lease

    def _failing(self, lease: Lease) -> Callable[..., Any]:
        settle = lease.settle

        async def failing(settlement: Any) -> None:
            if self.at_settle:
                raise self.at_settle.pop(0)
            await settle(settlement)

        return failing


@in_virtual_time
async def test_a_lane_with_an_internal_fault_begins_again_from_what_is_settled(
    tmp_path: Path, lines: list[Any]
) -> None:
    log = FaultyLog()
    async with Stand(tmp_path, {"one": [partner := ScriptedDestination()]}, log=log) as stand:
        log.at_settle = [RuntimeError("our own fault")]
        log.at_lease = [OSError("no luck yet"), OSError("nor now")]
        await stand.append()
        await stand.idle()
        assert partner.ids == [["1.0"], ["1.0"]]
        status = stand.deliverer.status()["one"]
        assert status.last_error.startswith("internal fault: ")
    failed = [line["error"] for line in lines if line["event"] == "lane_failed"]
    assert [error.partition(":")[0] for error in failed] == ["RuntimeError", "OSError", "OSError"]


@in_virtual_time
async def test_a_stop_lets_the_call_under_way_end_and_is_settled(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with Stand(tmp_path, {"one": [partner := ScriptedDestination(gate)]}) as stand:
        await stand.append()
        await partner.called()
        stopping = asyncio.create_task(stand.deliverer.stop(30.0))
        await asyncio.sleep(20.0)
        assert not stopping.done()
        gate.set()
        await stopping
        assert (await stand.log.stats()).connections["one"].depth == 0


@in_virtual_time
async def test_a_stop_cuts_off_what_takes_too_long_and_loses_nothing(tmp_path: Path) -> None:
    async with Stand(tmp_path, {"one": [partner := ScriptedDestination(asyncio.Event())]}) as stand:
        await stand.append()
        await partner.called()
        before = asyncio.get_running_loop().time()
        await stand.deliverer.stop(3.0)
        assert asyncio.get_running_loop().time() - before == pytest.approx(3.0)
        assert (await stand.log.stats()).connections["one"].depth == 1
        assert partner.closed == 1


@in_virtual_time
async def test_a_new_start_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    first, second = ScriptedDestination(), ScriptedDestination()
    async with AsyncExitStack() as stack:
        stand = await stack.enter_async_context(Stand(tmp_path, {"one": [first]}))
        await stand.append(2)
        await stand.idle()
        log = stand.log
    async with Stand(tmp_path, {"one": [second]}, log=log) as stand:
        await stand.append()
        await stand.idle()
    assert (first.delivered, second.delivered) == (["1.0", "2.0"], ["3.0"])


@pytest.mark.parametrize("lanes", [1, 2, 3, 5, 63, 64, 100, 0])
def test_lanes_have_all_partitions_between_them_each_once(lanes: int) -> None:
    ranges = partition_ranges(lanes)
    assert [partition for part in ranges for partition in part] == list(range(PARTITIONS))
    assert len(ranges) == max(1, min(lanes, PARTITIONS))
    sizes = {len(part) for part in ranges}
    assert max(sizes) - min(sizes) <= 1
