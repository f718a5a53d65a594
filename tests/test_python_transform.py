"""The transform `python`: a function of a user's own, whatever it does."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_core.components import TransformContext, Transformed
from router_core.edits import attributes_of, event_name, with_attributes, with_event, without_attributes
from router_core.pipeline import _require_each_once
from router_core.records import Record
from router_core.telemetry import Telemetry
from router_core.testing import (
    Bench,
    FakeClock,
    ScriptedDestination,
    custom_event,
    event_batch,
    in_virtual_time,
    record,
    records_of,
)
from router_core.transforms.function import UnusableFunction, function_of
from router_core.transforms.python import _MOST_LEFT_BEHIND, PYTHON, PythonSettings, PythonTransform

_numbers = itertools.count()
Make = Callable[..., PythonTransform]


@pytest.fixture
def module(tmp_path: Path) -> Callable[[str], str]:
    """Writes a module and gives its name; each has another one, as Python loads a name once."""

    def write(code: str) -> str:
        name = f"users_module_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(code)
        return name

    return write


@pytest.fixture
def make(module: Callable[[str], str], tmp_path: Path) -> Make:
    def build(code: str, **more: Any) -> PythonTransform:
        name = module("import time, asyncio\nfrom router_core.edits import *\n" + code)
        return transform(f"{name}:f", tmp_path, **more)

    return build


def transform(function: str, folder: Path, **more: Any) -> PythonTransform:
    nothing: Any = None
    made = PYTHON.create(
        TransformContext(
            name="mine", settings=PythonSettings(function=function, folder=folder, **more), clock=FakeClock(),
            log=nothing, meter=nothing, telemetry=Telemetry(), store=nothing, connection="c",
        )
    )  # fmt: skip
    assert isinstance(made, PythonTransform)
    return made


def ends(transformed: Transformed) -> list[tuple[str, str, str]]:
    return [(one.record_id, one.disposition.value, one.code) for one in transformed.outcomes]


async def test_a_changed_record_goes_on_and_none_drops_it(make: Make) -> None:
    part = make("def f(r):\n  return None if event_name(r) == 'drop' else with_attributes(r, seen=True)\n")
    records = records_of(event_batch(custom_event("a", custom_attributes={"x": 1}), custom_event("drop")))
    result = await part.apply(records)
    assert [attributes_of(one) for one in result.records] == [{"x": 1, "seen": True}]
    assert attributes_of(records[0]) == {"x": 1}
    assert ends(result) == [("1.1", "skipped", "transform_dropped")]
    await part.close()


async def test_a_function_may_be_asynchronous_and_keeps_one_loop(make: Make) -> None:
    code = "loops = set()\nasync def f(r):\n  loops.add(asyncio.get_running_loop()); await asyncio.sleep(0)\n"
    part = make(code + "  return with_attributes(r, loops=len(loops))\n")
    result = await part.apply(records_of(event_batch(custom_event("a"), custom_event("b"))))
    assert [attributes_of(one) for one in result.records] == [{"loops": 1}, {"loops": 1}]
    await part.close()


@pytest.mark.parametrize(
    ("policy", "ended", "goes_on"),
    [("park", "rejected", False), ("discard", "skipped", False), ("proceed", None, True)],
)
@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ("raise KeyError('x')", "transform_error", "mine: KeyError: 'x' (users_module_"),
        ("raise SystemExit", "transform_error", "mine: SystemExit"),
        ("raise TimeoutError('its own')", "transform_error", "mine: TimeoutError: its own"),
        ("return {}", "transform_error", "mine: returned dict, not a Record or None"),
        ("return [r]", "transform_error", "mine: returned list, not a Record or None"),
        ("return __import__('msgspec').structs.replace(r, id='9.9')", "transform_error", "mine: returned another"),
        ("return __import__('msgspec').structs.replace(r, event=None)", "transform_error", "mine: made a profile"),
        ("return with_attributes(r, {1: 2})", "transform_error", "mine: event.custom_attributes has a key that is int"),
        ("return with_event(r, custom_attributes=[1])", "transform_error", "mine: event.custom_attributes is list"),
        ("return __import__('msgspec').structs.replace(r, batch=None)", "transform_error", "mine: batch is NoneType"),
        ("time.sleep(0.4)", "transform_timeout", "mine: took longer than 0.05 seconds"),
        ("while True: pass", "transform_timeout", "mine: took longer than 0.05 seconds"),
    ],
)
async def test_a_call_that_fails_ends_its_record_by_the_policy_and_no_other(
    make: Make, policy: str, ended: str | None, goes_on: bool, body: str, code: str, text: str
) -> None:
    part = make(
        f"def f(r):\n  if event_name(r) == 'bad':\n    {body}\n  return r\n", on_failure=policy, time_limit="50ms"
    )
    result = await part.apply(records_of(event_batch(custom_event("a"), custom_event("bad"), custom_event("z"))))
    assert [one.id for one in result.records] == ["1.0", *(["1.1"] if goes_on else []), "1.2"]
    assert ends(result) == ([("1.1", ended, code)] if ended else [])
    assert all(one.message.startswith(text) for one in result.outcomes)
    counted = part._context.telemetry.cell("transform_failures", connection="c", transform="mine", code=code)
    assert counted.value == 1
    await part.close()


@pytest.mark.parametrize("body", ["await asyncio.sleep(60)", "while True: pass"])
async def test_an_asynchronous_call_has_the_same_limit(make: Make, body: str) -> None:
    part = make(f"async def f(r):\n  {body}\n", time_limit="50ms")
    assert ends(await part.apply([record()])) == [("1.0", "rejected", "transform_timeout")]
    await part.close()


async def test_a_call_that_never_ends_does_not_hold_up_the_event_loop(make: Make) -> None:
    part = make("def f(r):\n  while True: pass\n", time_limit="300ms")
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    beside = asyncio.create_task(other())
    await part.apply([record()])
    beside.cancel()
    assert turns > 5


async def test_a_loop_in_python_is_broken_off_and_its_thread_ends(make: Make) -> None:
    part = make("def f(r):\n  while True: pass\n", time_limit="20ms")
    await part.apply([record()])
    [left] = part._left_behind
    deadline = time.monotonic() + 10
    while left.is_alive:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_when_too_many_calls_go_on_the_function_is_not_called_until_one_has_ended(make: Make) -> None:
    part = make("import threading\ngo = threading.Event()\ndef f(r):\n  go.wait()\n  return r\n", time_limit="10ms")
    go: threading.Event = part._function.__globals__["go"]
    records = records_of(event_batch(*(custom_event(str(n)) for n in range(_MOST_LEFT_BEHIND + 3))))
    result = await part.apply(records)
    assert len(result.outcomes) == len(records)
    assert sum("not called: 8 earlier calls go on" in one.message for one in result.outcomes) == 3
    go.set()
    for left in part._left_behind:
        left._thread.join(10)
    assert len((await part.apply(records)).records) == len(records)
    await part.close()


async def test_lanes_wait_for_each_other_and_a_cancelled_one_leaves_nothing_behind(make: Make) -> None:
    part = make(
        "busy = []\ndef f(r):\n  busy.append(1)\n  assert len(busy) == 1\n"
        "  time.sleep(0.02)\n  busy.pop()\n  return r\n"
    )
    lanes = [asyncio.create_task(part.apply(records_of(event_batch(), seq=seq))) for seq in range(1, 6)]
    await asyncio.sleep(0.03)
    lanes[3].cancel()
    done = await asyncio.gather(*lanes, return_exceptions=True)
    assert [len(one.records) if isinstance(one, Transformed) else None for one in done] == [1, 1, 1, None, 1]
    running = asyncio.create_task(part.apply([record()]))
    await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    part._function.__globals__["busy"].clear()
    assert len((await part.apply([record()])).records) == 1
    await part.close()


@in_virtual_time
async def test_a_connection_delivers_what_the_function_leaves(make: Make) -> None:
    part = make("def f(r):\n  if event_name(r) == 'bad': raise ValueError\n  return with_attributes(r, seen=1)\n")
    async with Bench(destination := ScriptedDestination(), transforms={"mine": part}) as bench:
        await bench.append(event_batch(custom_event("a"), custom_event("bad")), event_batch(custom_event("b")))
        await bench.idle()
        letters = await bench.letters()
    assert [attributes_of(one) for call in destination.calls for one in call.records] == [{"seen": 1}, {"seen": 1}]
    assert [(letter.record_id, letter.code, letter.event_type) for letter in letters] == [
        ("1.1", "transform_error", "custom_event")
    ]


ACTS = st.lists(st.sampled_from(["same", "change", "drop", "raise", "nonsense", "other", "sleep"]), max_size=12)
KINDS: dict[str, Callable[[Record], object]] = {
    "same": lambda one: one,
    "change": lambda one: with_attributes(one, more=1),
    "drop": lambda one: None,
    "nonsense": lambda one: 7,
    "other": lambda one: record(seq=99),
}


def act(one: Record) -> object:
    name = event_name(one)
    if name == "raise":
        raise ValueError(name)
    if name == "sleep":
        time.sleep(0.1)
    return KINDS.get(name, KINDS["same"])(one)


@settings(max_examples=25, deadline=None)
@given(acts=ACTS, policy=st.sampled_from(["discard", "proceed", "park"]))
def test_no_record_is_lost_or_doubled_whatever_the_function_does(acts: Sequence[str], policy: str) -> None:
    async def run() -> None:
        part = transform("json:dumps", Path(), on_failure=policy, time_limit=timedelta(milliseconds=20))
        part._function = act
        records = records_of(event_batch(*map(custom_event, acts))) if acts else []
        result = await part.apply(records)
        await part.close()
        _require_each_once(records, result)
        failed = sum(act in ("raise", "nonsense", "other", "sleep") for act in acts)
        codes = [one.code for one in result.outcomes]
        assert codes.count("transform_dropped") == acts.count("drop")
        assert len(codes) == acts.count("drop") + (0 if policy == "proceed" else failed)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("code", "name", "text"),
    [
        ("", "f", "has no function 'f'. Known: none."),
        ("def first(r): return r", "frist", "has no function 'frist'. Did you mean 'first'?"),
        ("f = 3", "f", "is no function."),
        ("class f: pass", "f", "is no function."),
        ("def f(): pass", "f", "must take one argument, the record; it takes (). Write `def f(record):`."),
        ("def f(a, b): pass", "f", "must take one argument, the record; it takes (a, b)."),
        ("def f(r): yield r", "f", "yields. Return one record, or None to drop it."),
        ("def f(:", "f", "does not load: SyntaxError: invalid syntax"),
        ("raise SystemExit(3)", "f", "does not load: SystemExit: 3"),
        ("import no_such_thing", "f", "needs 'no_such_thing', which is not installed."),
    ],
)
def test_a_function_that_cannot_be_used_is_told_plainly(
    module: Callable[[str], str], tmp_path: Path, code: str, name: str, text: str
) -> None:
    with pytest.raises(UnusableFunction) as error:
        function_of(f"{module(code)}:{name}", tmp_path)
    assert text in str(error.value)


def test_a_module_that_is_not_there_and_one_whose_name_is_taken(tmp_path: Path) -> None:
    with pytest.raises(UnusableFunction, match="there is no module 'no_such_module' in "):
        function_of("no_such_module:f", tmp_path)
    (tmp_path / "json.py").write_text("def f(r): return r")
    with pytest.raises(UnusableFunction, match=r"the module name 'json' is taken by .*json/__init__.py"):
        function_of("json:f", tmp_path)


def test_edits_make_copies() -> None:
    one = record(data={"event_name": "a", "custom_attributes": {"x": 1, "y": 2}})
    assert attributes_of(without_attributes(one, "x", "z")) == {"y": 2}
    assert without_attributes(one, "z") is one
    assert event_name(with_event(one, event_name="b")) == "b"
    assert attributes_of(with_attributes(one, {"x y": 3}, x=2)) == {"x": 2, "y": 2, "x y": 3}
    profile = records_of(event_batch(user_attributes={"plan": "gold"}))[0]
    assert attributes_of(with_attributes(profile, plan="free")) == {"plan": "free"}
    assert (event_name(profile), attributes_of(profile)) == ("", {"plan": "gold"})
    with pytest.raises(ValueError, match="a profile update has no event"):
        with_event(profile, event_name="x")
