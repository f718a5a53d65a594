"""The destinations of core: `file` and `console`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import structlog
from opentelemetry import metrics

from router_core.components import ConnectionSettings, Destination, DestinationContext, DestinationType
from router_core.destinations.console import CONSOLE
from router_core.destinations.file import FILE_DESTINATION, FileSettings
from router_core.errors import Unavailable
from router_core.outcomes import Outcome
from router_core.records import Record
from router_core.store import StateFile
from router_core.telemetry import Telemetry
from router_core.testing import FakeClock, custom_event, event_batch, records_of
from router_core.transport import HttpxTransport


def made(kind: DestinationType, folder: Path, settings: Any) -> Destination:
    return kind.create(
        DestinationContext(
            name="connection",
            settings=settings,
            clock=FakeClock(),
            log=structlog.wrap_logger(None, processors=[structlog.testing.LogCapture()]),
            meter=metrics.get_meter("test"),
            telemetry=Telemetry(),
            store=StateFile(folder / "state.db").namespace("a"),
            output="out",
            connection_settings=ConnectionSettings(),
            http=HttpxTransport(),
            account_slot=contextlib.nullcontext,
        )
    )


def file_destination(path: Path) -> Destination:
    return made(FILE_DESTINATION, path.parent, FileSettings(path=path))


def records() -> list[Record]:
    body = event_batch(custom_event("A", custom_attributes={"a": 1}), customer_id="c", user_attributes={"x": "é"},
                       mpid=12345678901234567890, deleted_user_attributes=["old"])  # fmt: skip
    return records_of(body, received_at_ms=99)


PROFILE_LINE = {
    "id": "1.p", "event_type": "profile_update", "input": "shop", "platform": "data_feeds",
    "environment": "production", "received_at_ms": 99, "mpid": "12345678901234567890",
    "user_identities": {"customer_id": "c"}, "user_attributes": {"x": "é"}, "deleted_user_attributes": ["old"],
}  # fmt: skip
EVENT_LINE = {
    **{name: value for name, value in PROFILE_LINE.items() if not name.endswith("attributes")},
    "id": "1.0", "event_type": "custom_event",
    "data": {"event_name": "A", "custom_event_type": "other", "custom_attributes": {"a": 1}},
}  # fmt: skip


async def test_file_appends_one_line_for_each_record(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    path.write_text("before\n")
    outcomes = await file_destination(path).deliver(records())
    assert outcomes == [Outcome.delivered("1.p"), Outcome.delivered("1.0")]
    before, *lines = path.read_text().splitlines()
    assert before == "before"
    assert [json.loads(line) for line in lines] == [PROFILE_LINE, EVENT_LINE]


async def test_file_starts_a_new_one_when_it_was_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    destination = file_destination(path)
    await destination.deliver(records())
    path.rename(tmp_path / "old.ndjson")
    await destination.deliver(records())
    assert path.read_bytes() == (tmp_path / "old.ndjson").read_bytes()


async def test_file_lines_of_calls_at_once_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    await asyncio.gather(*(file_destination(path).deliver(records()) for _ in range(20)))
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 40


async def test_file_is_synced_before_it_counts_as_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[bool, int]] = []
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        is_folder = stat.S_ISDIR(found.st_mode)
        synced.append((is_folder, 0 if is_folder else found.st_size))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    path = tmp_path / "out.ndjson"
    await file_destination(path).deliver(records())
    first = path.stat().st_size
    assert synced == [(False, first), (True, 0)], "a new file has its folder synced too"
    await file_destination(path).deliver(records())
    assert synced[2:] == [(False, 2 * first)]


async def test_file_of_two_outputs_loses_no_line_when_one_takes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.ndjson"
    write = os.write
    other: list[asyncio.Task[Any]] = []
    loop = asyncio.get_running_loop()

    def begin() -> None:
        other.append(loop.create_task(file_destination(path).deliver(records())))

    def full(descriptor: int, data: Any) -> int:
        monkeypatch.setattr(os, "write", write)
        loop.call_soon_threadsafe(begin)
        time.sleep(0.1)  # time for the other to write, if it may
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Unavailable, match="No space left on device"):
        await file_destination(path).deliver(records())
    await asyncio.gather(*other)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [PROFILE_LINE, EVENT_LINE]


async def test_file_that_somebody_keeps_locked_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router_core.destinations.file._LOCK_WITHIN", 0.02)
    path = tmp_path / "out.ndjson"
    with path.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Unavailable, match="cannot write"):
            await file_destination(path).deliver(records())
    assert path.read_bytes() == b""
    await file_destination(path).deliver(records())


HUGE = {"big": 2**64, "bigger": -(2**70)}


def huge_records() -> list[Record]:
    body = event_batch(custom_event("A", custom_attributes={"huge": 0}), customer_id="c")
    return records_of(body.replace(b'{"huge":0}', json.dumps(HUGE).encode()))  # the builder has no integers so large


async def test_file_and_console_write_integers_of_any_size(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = tmp_path / "out.ndjson"
    await file_destination(path).deliver(huge_records())
    await made(CONSOLE, tmp_path, CONSOLE.configuration_settings()).deliver(huge_records())
    for written in (path.read_bytes(), capfdbinary.readouterr().out):
        assert json.loads(written.splitlines()[-1])["data"]["custom_attributes"] == HUGE


async def test_file_takes_back_half_a_line_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.ndjson"
    destination = file_destination(path)
    await destination.deliver(records())
    whole = path.read_bytes()
    write, calls = os.write, 0

    def cut(descriptor: int, data: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:7])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", cut)
        with pytest.raises(Unavailable, match="No space left on device"):
            await destination.deliver(records())
    assert calls == 2
    assert path.read_bytes() == whole
    await destination.deliver(records())
    assert path.read_bytes() == whole * 2


async def test_file_goes_on_where_a_short_write_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.ndjson"
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:50]))
        await file_destination(path).deliver(records())
    assert [json.loads(line) for line in path.read_text().splitlines()] == [PROFILE_LINE, EVENT_LINE]


async def test_file_in_a_folder_that_is_missing_is_unavailable(tmp_path: Path) -> None:
    destination = file_destination(tmp_path / "out.ndjson")
    missing = made(FILE_DESTINATION, tmp_path, FileSettings(path=tmp_path / "missing" / "out.ndjson"))
    await destination.check()
    with pytest.raises(Unavailable, match="No such file"):
        await missing.deliver(records())
    with pytest.raises(Unavailable, match="set `path` to one that is"):
        await missing.check()


def test_file_previews_without_writing(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    previews = file_destination(path).preview(records())
    assert list(previews) == [{"append_to": str(path), "line": line} for line in (PROFILE_LINE, EVENT_LINE)]
    assert not path.exists()


async def test_console_prints_one_line_for_each_record(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    outcomes = await made(CONSOLE, tmp_path, CONSOLE.configuration_settings()).deliver(records())
    assert outcomes == [Outcome.delivered("1.p"), Outcome.delivered("1.0")]
    assert [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()] == [PROFILE_LINE, EVENT_LINE]


def test_console_previews(tmp_path: Path) -> None:
    destination = made(CONSOLE, tmp_path, CONSOLE.configuration_settings())
    assert list(destination.preview(records())) == [{"print": PROFILE_LINE}, {"print": EVENT_LINE}]
