"""Plugins come in one by one; a broken one harms nobody who does not use it."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint
from typing import Any

import pytest
import typer

from router_core import hookspecs
from router_core.components import (
    CONTRACT,
    CommandType,
    Destination,
    DestinationContext,
    DestinationType,
    Source,
    SourceContext,
    SourceType,
    Transform,
    TransformContext,
    TransformType,
)
from router_core.errors import PluginError
from router_core.hookspecs import RouterView, SettlementReport, hookimpl
from router_core.plugins import Plugins, load_plugins, observers_call


class Distribution:
    """What an entry point knows of where it comes from."""

    def __init__(self, name: str, version: str = "1.0") -> None:
        self.name = name
        self.version = version


class Point:
    """An entry point whose module is made by the test."""

    def __init__(self, load: Callable[[], Any], *, name: str = "plugin", distribution: str | None = "dist-a") -> None:
        self.name = name
        self.dist = None if distribution is None else Distribution(distribution)
        self.load = load


def module(**functions: Callable[..., Any]) -> Any:
    made = types.ModuleType("made_by_test")
    for name, function in functions.items():
        setattr(made, name, hookimpl(function))
    return made


def load(*points: Point) -> Plugins:
    candidates: Any = points
    return load_plugins(candidates)


def plugin(name: str = "plugin", distribution: str | None = "dist-a", **functions: Callable[..., Any]) -> Point:
    return Point(lambda: module(**functions), name=name, distribution=distribution)


def no_destination(_: DestinationContext) -> Destination:
    raise AssertionError("nobody asked for it")


def no_transform(_: TransformContext) -> Transform:
    raise AssertionError("nobody asked for it")


def no_source(_: SourceContext) -> Source:
    raise AssertionError("nobody asked for it")


def no_commands() -> typer.Typer:
    raise AssertionError("nobody used them")


def destination(name: str = "partner", contract: int = CONTRACT) -> DestinationType:
    return DestinationType(name=name, title="T", summary="S.", create=no_destination, contract=contract)


SOURCE = SourceType(name="way_in", title="T", summary="S.", create=no_source)
TRANSFORM = TransformType(name="change", title="T", summary="S.", create=no_transform)
COMMAND = CommandType(name="tools", title="T", summary="S.", load=no_commands)
VIEW = RouterView(inputs={"shop": "events_api"}, connections={"c": ("shop", "out")})
REPORT = SettlementReport(connection="c", delivered=1, skipped={}, retried={}, rejected={}, expired=0)


# --- one test for each hook ---


def test_router_sources() -> None:
    plugins = load(plugin(router_sources=lambda: [SOURCE]))
    assert plugins.source("way_in") is SOURCE


def test_router_transforms() -> None:
    plugins = load(plugin(router_transforms=lambda: [TRANSFORM]))
    assert plugins.transform("change") is TRANSFORM


def test_router_destinations() -> None:
    kind = destination()
    assert load(plugin(router_destinations=lambda: iter([kind]))).destination("partner") is kind


def test_router_commands() -> None:
    plugins = load(plugin(router_commands=lambda: [COMMAND]))
    assert plugins.command("tools") is COMMAND
    assert plugins.commands() == [COMMAND]


def test_router_started() -> None:
    seen: list[RouterView] = []

    def router_started(router: RouterView) -> None:
        seen.append(router)

    plugins = load(plugin(router_started=router_started))
    assert observers_call(plugins.manager, "router_started", router=VIEW) == {}
    assert seen == [VIEW]


def test_router_settled() -> None:
    seen: list[SettlementReport] = []

    def router_settled(report: SettlementReport) -> None:
        seen.append(report)

    plugins = load(plugin(router_settled=router_settled))
    assert observers_call(plugins.manager, "router_settled", report=REPORT) == {}
    assert seen == [REPORT]


def test_router_stopping() -> None:
    seen: list[str] = []

    def router_stopping() -> None:  # an observer may leave out what it does not need
        seen.append("stopping")

    plugins = load(plugin(router_stopping=router_stopping))
    assert observers_call(plugins.manager, "router_stopping", router=VIEW) == {}
    assert seen == ["stopping"]


def test_every_hook_has_its_test() -> None:
    hooks = [name for name in vars(hookspecs) if name.startswith("router_")]
    assert len(hooks) == 7
    assert [name for name in hooks if f"test_{name}" not in globals()] == []


def test_observers_errors_are_collected_and_the_others_still_called() -> None:
    seen: list[str] = []

    def breaks(report: SettlementReport) -> None:
        raise ValueError("observer is broken")

    def works(report: SettlementReport) -> None:
        seen.append(report.connection)

    plugins = load(
        plugin("one", "dist-a", router_settled=works),
        plugin("two", "dist-b", router_settled=breaks),
        plugin("three", "dist-c", router_settled=works),
    )
    errors = observers_call(plugins.manager, "router_settled", report=REPORT)
    assert {name: str(error) for name, error in errors.items()} == {"dist-b:two": "observer is broken"}
    assert seen == ["c", "c"]


# --- what is broken ---


def raising(error: BaseException) -> Callable[[], Any]:
    def loader() -> Any:
        raise error

    return loader


def failing_hook() -> Iterable[DestinationType]:
    raise RuntimeError("first line\nsecond line")


@pytest.mark.parametrize(
    ("loader", "error"),
    [
        (raising(ImportError("no module named 'x'")), "ImportError: no module named 'x'"),
        (raising(SystemExit(3)), "SystemExit: 3"),
        (raising(SyntaxError("bad")), "SyntaxError: bad"),
        (lambda: module(router_destinations=failing_hook), "RuntimeError: first line"),
        (lambda: module(router_destination=lambda: []), "PluginValidationError: unknown hook 'router_destination'"),
        (lambda: module(router_settled=lambda repport: None), "PluginValidationError: Plugin 'plugin' for hook"),
        (lambda: module(router_destinations=lambda: [SOURCE]), "TypeError: router_destinations gave SourceType("),
        (lambda: module(router_destinations=lambda: ["x"]), "TypeError: router_destinations gave 'x', which is no "),
        (lambda: module(router_sources=lambda: 5), "TypeError: 'int' object is not iterable"),
        (lambda: module(router_commands=lambda: [TRANSFORM]), "TypeError: router_commands gave TransformType("),
    ],
)
def test_a_broken_plugin_is_named_and_the_others_work(loader: Callable[[], Any], error: str) -> None:
    plugins = load(
        Point(loader, distribution="dist-broken"),
        plugin("good", "dist-good", router_destinations=lambda: [destination()]),
    )
    (broken,) = [info for info in plugins.found if info.error is not None]
    assert broken.error is not None
    assert broken.error.startswith(error)
    assert "\n" not in broken.error
    assert broken.origin == "dist-broken 1.0"
    assert plugins.destination("partner").name == "partner"
    with pytest.raises(PluginError) as caught:
        plugins.transform("change")
    assert "These plugins do not load: dist-broken 1.0 (" in str(caught.value)


def test_an_interrupt_while_loading_ends_the_program() -> None:
    with pytest.raises(KeyboardInterrupt):
        load(Point(raising(KeyboardInterrupt())))


def test_using_what_a_broken_plugin_brings_tells_why_it_is_broken() -> None:
    plugins = load(plugin(router_destinations=lambda: [destination(), "x"]))
    with pytest.raises(PluginError, match=r"the plugin of destination 'partner' \(dist-a 1\.0\) is broken: TypeError"):
        plugins.destination("partner")


def test_the_commands_of_a_broken_plugin_are_left_out() -> None:
    plugins = load(plugin(router_commands=lambda: [COMMAND, "x"]))
    assert plugins.commands() == []


def test_observers_of_a_broken_plugin_are_not_called() -> None:
    plugins = load(plugin(router_settled=lambda report: 1 / 0, router_sources=lambda: ["x"]))
    assert observers_call(plugins.manager, "router_settled", report=REPORT) == {}


@pytest.mark.parametrize("contract", [CONTRACT - 1, CONTRACT + 1])
def test_a_component_for_another_contract_is_refused_when_it_is_used(contract: int) -> None:
    plugins = load(plugin(router_destinations=lambda: [destination(contract=contract), destination("newer")]))
    assert plugins.destination("newer").contract == CONTRACT
    with pytest.raises(PluginError) as caught:
        plugins.destination("partner")
    assert str(caught.value) == (
        f"destination 'partner' of dist-a 1.0 is made for plugin contract {contract}; this core speaks {CONTRACT}. "
        f"Install a version of dist-a for contract {CONTRACT}."
    )


def test_two_plugins_with_one_name_are_both_named() -> None:
    plugins = load(
        plugin("a", "dist-a", router_destinations=lambda: [destination(), destination("other")]),
        plugin("b", "dist-b", router_destinations=lambda: [destination()]),
    )
    with pytest.raises(PluginError) as caught:
        plugins.destination("partner")
    assert "two plugins bring a destination named 'partner': dist-a 1.0 and dist-b 1.0." in str(caught.value)
    assert plugins.destination("other").name == "other"


def test_a_source_and_a_destination_may_share_a_name() -> None:
    plugins = load(plugin(router_sources=lambda: [SOURCE], router_destinations=lambda: [destination("way_in")]))
    assert plugins.source("way_in") is SOURCE
    assert plugins.destination("way_in").name == "way_in"


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("partnr", "no destination is named 'partnr'. Did you mean 'partner'?"),
        ("Partner", "no destination is named 'Partner'. Did you mean 'partner'?"),
        ("qqq", "no destination is named 'qqq'. Installed: file, partner."),
    ],
)
def test_an_unknown_name_gets_the_nearest_or_the_list(asked: str, text: str) -> None:
    plugins = load(plugin(router_destinations=lambda: [destination(), destination("file")]))
    with pytest.raises(PluginError) as caught:
        plugins.destination(asked)
    assert str(caught.value) == text


@pytest.mark.parametrize("kind", ["source", "transform", "destination", "command"])
def test_without_any_plugin_nothing_is_installed(kind: str) -> None:
    with pytest.raises(PluginError, match=rf"no {kind} is named 'x'\. Installed: none\."):
        getattr(load(), kind)("x")


def test_a_plugin_without_a_distribution_has_an_origin_too() -> None:
    (info,) = load(plugin(distribution=None)).found
    assert info.origin == "unknown"


def test_plugins_are_loaded_in_the_order_of_their_distributions() -> None:
    plugins = load(plugin("z", "dist-b"), plugin("b", "dist-a"), plugin("a", "dist-a"))
    assert [(info.distribution, info.name) for info in plugins.found] == [
        ("dist-a", "a"), ("dist-a", "b"), ("dist-b", "z"),
    ]  # fmt: skip


def test_what_core_ships_comes_in_through_the_same_door() -> None:
    point = EntryPoint("builtin", "router_core.builtin", hookspecs.ENTRY_POINT_GROUP)
    plugins = load_plugins([point])
    assert [info.error for info in plugins.found] == [None]
    assert {kind.name for kind in plugins.found[0].sources} == {"events_api", "file"}
    assert {kind.name for kind in plugins.found[0].destinations} == {"file", "console"}
