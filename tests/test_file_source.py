"""Source `file`: neither a restart nor a bad line loses or repeats anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from opentelemetry import metrics

from router_core.components import Accepted, SourceContext, SourceInput
from router_core.errors import InvalidBatch, LogFull
from router_core.events import Platform
from router_core.intake import envelope_of
from router_core.sources.file import FileInputSettings, FileSource
from router_core.telemetry import Telemetry
from router_core.testing import VirtualClock, in_virtual_time

LINES = [b'{"mpid":"%d"}' % number for number in range(250)]
LARGEST = 256 * 1024


class DictStore:
    """A store that outlives a source."""

    def __init__(self) -> None:
        self.items: dict[str, bytes] = {}

    async def get(self, key: str) -> bytes | None:
        return self.items.get(key)

    async def put(self, items: Mapping[str, bytes]) -> None:
        self.items.update(items)

    async def delete(self, keys: Any) -> None:
        for key in keys:
            self.items.pop(key, None)


class Bench:
    """One file, and all that was accepted of it, over several lives of the source."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = DictStore()
        lines = structlog.testing.LogCapture()
        self.lines = lines.entries
        self._logger = structlog.wrap_logger(None, processors=[lines])
        self.accepted: list[bytes] = []
        self.keys: list[str] = []
        self.before_accepting: Callable[[int], None] = lambda _: None
        self._calls = 0

    async def accept(
        self,
        input: SourceInput,
        bodies: Sequence[bytes],
        *,
        headers: Mapping[str, str] | None = None,
        request_ids: Sequence[str] | None = None,
    ) -> Sequence[Accepted]:
        self._calls += 1
        self.before_accepting(self._calls)
        assert request_ids is not None
        results = []
        for body, key in zip(bodies, request_ids, strict=True):
            try:
                envelope_of(body)
            except InvalidBatch as error:
                results.append(Accepted(error=error))
                continue
            if fresh := key not in self.keys:
                self.keys.append(key)
                self.accepted.append(body)
            results.append(Accepted(duplicate=not fresh))
        return results

    async def run(self, *, follow: bool = False) -> None:
        source_input = SourceInput(
            name="import", platform=Platform.DATA_FEEDS, key=None, secret=None,
            settings=FileInputSettings(path=self.path, follow=follow),
        )  # fmt: skip
        source = FileSource(
            SourceContext(
                name="file", settings=None, clock=VirtualClock(), log=self._logger, meter=metrics.get_meter("test"),
                telemetry=Telemetry(), store=self.store, inputs={"import": source_input},
            )
        )  # fmt: skip
        await source.run(self)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "import.ndjson")


@in_virtual_time
async def test_all_lines_are_taken_in_order_and_the_source_is_done(bench: Bench) -> None:
    bench.path.write_bytes(b"\n".join(LINES) + b"\n")
    await bench.run()
    assert bench.accepted == LINES


@in_virtual_time
async def test_a_second_run_goes_on_where_the_first_ended(bench: Bench) -> None:
    bench.path.write_bytes(b"\n".join(LINES[:120]) + b"\n")
    await bench.run()
    with bench.path.open("ab") as file:
        file.write(b"\n".join(LINES[120:]) + b"\n")
    bench.keys.clear()  # nothing but the position keeps it from repeating
    await bench.run()
    assert bench.accepted == LINES


@in_virtual_time
async def test_a_crash_between_acceptance_and_position_repeats_nothing(bench: Bench) -> None:
    bench.path.write_bytes(b"\n".join(LINES) + b"\n")
    await bench.run()
    bench.store.items.clear()
    await bench.run()
    assert bench.accepted == LINES


@in_virtual_time
async def test_a_crash_in_the_middle_loses_nothing(bench: Bench) -> None:
    bench.path.write_bytes(b"\n".join(LINES) + b"\n")

    def crash(call: int) -> None:
        if call == 2:
            raise RuntimeError("power cut")

    bench.before_accepting = crash
    with pytest.raises(ExceptionGroup, match="TaskGroup"):
        await bench.run()
    assert bench.accepted == LINES[:100]
    await bench.run()
    assert bench.accepted == LINES


@in_virtual_time
async def test_a_file_put_in_its_place_is_read_from_its_start(bench: Bench) -> None:
    bench.path.write_bytes(b"\n".join(LINES[:10]) + b"\n")
    await bench.run()
    new = bench.path.with_suffix(".new")
    new.write_bytes(b"\n".join(LINES[10:30]) + b"\n")
    new.replace(bench.path)
    await bench.run()
    assert bench.accepted == LINES[:30]


@in_virtual_time
async def test_a_file_that_was_cut_is_read_from_its_start(bench: Bench) -> None:
    bench.path.write_bytes(b"\n".join(LINES[:10]) + b"\n")
    await bench.run()
    bench.path.write_bytes(LINES[0] + b"\n")
    await bench.run()
    assert bench.accepted == LINES[:10], "its line is known already"


@in_virtual_time
async def test_a_bad_line_is_logged_by_its_number_and_the_others_go_on(bench: Bench) -> None:
    large = b'{"mpid":"' + b"m" * 256 * 1024 + b'"}'
    bench.path.write_bytes(b"\n".join([LINES[0], b"nonsense", b"", b"  ", b"[]", large, LINES[1]]) + b"\r\n")
    await bench.run()
    assert bench.accepted == LINES[:2]
    assert sorted((line["event"], line["line"], line["input"]) for line in bench.lines) == [
        ("bad_batch", 2, "import"), ("bad_batch", 5, "import"), ("bad_batch", 6, "import"),
    ]  # fmt: skip
    assert "The batch is larger than 256 KB." in [line["reason"] for line in bench.lines]
    assert not any("nonsense" in str(line) for line in bench.lines)


@in_virtual_time
async def test_line_numbers_go_on_over_blocks_and_restarts(bench: Bench) -> None:
    bench.path.write_bytes(b"\n".join([*LINES[:150], b"bad"]) + b"\n")
    await bench.run()
    with bench.path.open("ab") as file:
        file.write(b"worse\n")
    await bench.run()
    assert [line["line"] for line in bench.lines] == [151, 152]


@in_virtual_time
async def test_a_last_line_without_its_newline_is_taken_at_the_end(bench: Bench) -> None:
    bench.path.write_bytes(b"\n".join(LINES[:2]))
    await bench.run()
    assert bench.accepted == LINES[:2]


@in_virtual_time
async def test_a_lone_line_that_gets_its_newline_later_is_not_repeated(bench: Bench) -> None:
    bench.path.write_bytes(LINES[0])
    await bench.run()
    with bench.path.open("ab") as file:
        file.write(b"\n" + LINES[1] + b"\n")
    await bench.run()
    assert bench.accepted == LINES[:2]


@in_virtual_time
async def test_following_waits_for_the_end_of_a_line(bench: Bench) -> None:
    bench.path.write_bytes(LINES[0] + b"\n" + LINES[1][:4])
    task = asyncio.create_task(bench.run(follow=True))
    await asyncio.sleep(10)
    assert bench.accepted == LINES[:1]
    with bench.path.open("ab") as file:
        file.write(LINES[1][4:] + b"\n" + LINES[2] + b"\n")
    await asyncio.sleep(10)
    assert bench.accepted == LINES[:3]
    assert bench.lines == []
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@in_virtual_time
async def test_following_waits_for_a_file_that_is_not_there_yet_and_notices_a_new_one(bench: Bench) -> None:
    task = asyncio.create_task(bench.run(follow=True))
    await asyncio.sleep(3)
    assert {line["event"] for line in bench.lines} == {"file_unreadable"}
    bench.path.write_bytes(LINES[0] + b"\n")
    await asyncio.sleep(3)
    new = bench.path.with_suffix(".new")
    new.write_bytes(LINES[1] + b"\n")
    new.replace(bench.path)
    await asyncio.sleep(3)
    assert bench.accepted == LINES[:2]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def follow(bench: Bench) -> asyncio.Task[None]:
    return asyncio.create_task(bench.run(follow=True))


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


@in_virtual_time
async def test_following_reads_a_renamed_file_to_its_end_before_the_new_one(bench: Bench) -> None:
    bench.path.write_bytes(LINES[0] + b"\n")
    task = follow(bench)
    await asyncio.sleep(2.5)
    append(bench.path, LINES[1] + b"\n")
    old = bench.path.rename(bench.path.with_suffix(".1"))
    await asyncio.sleep(3)
    append(old, LINES[2] + b"\n" + LINES[3][:3])  # its writer has not noticed yet
    bench.path.write_bytes(LINES[4] + b"\n")
    await asyncio.sleep(0.7)
    append(old, LINES[3][3:])  # and never gets a newline
    await asyncio.sleep(5)
    await stop(task)
    assert bench.accepted == LINES[:5]
    assert bench.lines == []


@in_virtual_time
async def test_following_goes_on_in_the_new_file_after_a_restart(bench: Bench) -> None:
    bench.path.write_bytes(LINES[0] + b"\n")
    task = follow(bench)
    await asyncio.sleep(2.5)
    bench.path.rename(bench.path.with_suffix(".1"))
    bench.path.write_bytes(LINES[1] + b"\n" + LINES[2] + b"\n")
    await asyncio.sleep(5)
    await stop(task)
    bench.keys.clear()  # nothing but the position keeps it from repeating
    append(bench.path, LINES[3] + b"\n")
    await bench.run()
    assert bench.accepted == LINES[:4]


@in_virtual_time
async def test_following_lets_go_of_a_deleted_file(bench: Bench) -> None:
    bench.path.write_bytes(LINES[0] + b"\n")
    task = follow(bench)
    await asyncio.sleep(2.5)
    append(bench.path, LINES[1])
    bench.path.unlink()
    await asyncio.sleep(5)
    assert bench.accepted == LINES[:2]
    assert {line["event"] for line in bench.lines} == {"file_unreadable"}
    await stop(task)


@in_virtual_time
async def test_following_reads_a_file_from_its_start_when_it_is_cut(bench: Bench) -> None:
    bench.path.write_bytes(b"\n".join(LINES[:3]) + b"\n")
    task = follow(bench)
    await asyncio.sleep(2.5)
    bench.path.write_bytes(LINES[3] + b"\n")  # as logrotate's copytruncate does
    await asyncio.sleep(2.5)
    await stop(task)
    assert bench.accepted == LINES[:4]


@in_virtual_time
async def test_a_first_line_that_comes_in_pieces_is_not_repeated_after_a_restart(bench: Bench) -> None:
    bench.path.write_bytes(LINES[0][:4])
    task = follow(bench)
    await asyncio.sleep(2.5)
    append(bench.path, LINES[0][4:] + b"\n")
    await asyncio.sleep(2.5)
    await stop(task)
    bench.keys.clear()
    await bench.run()
    assert bench.accepted == LINES[:1]


@in_virtual_time
async def test_no_more_is_read_of_a_line_than_a_batch_may_have(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[int] = []
    monkeypatch.setattr(FileSource, "_bad", lambda _, __, line, ___: bodies.append(len(line.body)))
    bench.path.write_bytes(b"x" * 40_000_000 + b"\n" + LINES[0] + b"\n")  # more than a block
    await bench.run()
    assert bodies == [LARGEST + 2]
    assert bench.accepted == LINES[:1]


@in_virtual_time
async def test_a_line_of_just_the_limit_is_taken(bench: Bench) -> None:
    head, tail = b'{"mpid":"1","pad":"', b'"}'
    just = head + b"x" * (LARGEST - len(head + tail)) + tail
    larger = just[:-2] + b"x" + tail
    bench.path.write_bytes(larger + b"\n" + LINES[0] + b"\r\n" + just + b"\r\n" + LINES[1])
    await bench.run()
    assert bench.accepted == [LINES[0], just, LINES[1]]
    assert [line["line"] for line in bench.lines] == [1]


@in_virtual_time
async def test_a_large_line_is_reported_once_over_looks_and_restarts(bench: Bench) -> None:
    bench.path.write_bytes(LINES[0] + b"\n" + b"x" * 300_000)
    task = follow(bench)
    await asyncio.sleep(2.5)
    append(bench.path, b"x" * 600_000)
    await asyncio.sleep(2.5)
    await stop(task)
    append(bench.path, b"x" * 10)
    task = follow(bench)
    await asyncio.sleep(2.5)
    append(bench.path, b"x\n" + LINES[1] + b"\nbad\n")
    await asyncio.sleep(2.5)
    await stop(task)
    assert bench.accepted == LINES[:2]
    assert [line["line"] for line in bench.lines] == [2, 4]


@in_virtual_time
async def test_a_position_that_an_older_version_kept_still_holds(bench: Bench) -> None:
    bench.path.write_bytes(b"\n".join(LINES[:3]) + b"\n")
    await bench.run()
    kept = orjson.loads(bench.store.items["import"])
    bench.store.items["import"] = orjson.dumps(kept[:3])
    bench.keys.clear()
    await bench.run()
    assert bench.accepted == LINES[:3]


@in_virtual_time
async def test_a_missing_file_that_is_not_followed_ends_the_source_with_a_line(bench: Bench) -> None:
    await bench.run()
    assert [(line["event"], line["reason"]) for line in bench.lines] == [
        ("file_unreadable", "No such file or directory")
    ]


@in_virtual_time
async def test_without_room_it_waits_and_tries_again(bench: Bench) -> None:
    bench.path.write_bytes(b"\n".join(LINES[:3]) + b"\n")

    def full(call: int) -> None:
        if call <= 5:
            raise LogFull("the event log is full")

    bench.before_accepting = full
    began = asyncio.get_running_loop().time()
    await bench.run()
    assert bench.accepted == LINES[:3]
    assert asyncio.get_running_loop().time() - began == pytest.approx(10.0)
    assert [line["event"] for line in bench.lines] == ["file_waits"] * 5
