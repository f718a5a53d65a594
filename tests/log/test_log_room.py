"""A full disk: senders hear of it, deliveries go on, and nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from router_core.errors import LogFull
from router_core.log.embedded import EmbeddedLog
from router_core.log.port import PARTITIONS, Lease, Settlement, StoredBatch
from router_core.log.room import RESERVE_BYTES, free_bytes_of
from router_core.testing.log_contract import append_when_there_is_room, bodies, held_record, new_batch, read_all
from tests.log.embedded import accept, everything, opened, settle_all

ALL = range(PARTITIONS)


async def test_appends_stop_before_the_reserve_and_resume_by_themselves(tmp_path: Path) -> None:
    free = [RESERVE_BYTES * 10]
    async with opened(tmp_path, free_bytes=lambda _: free[0]) as log:
        accepted = await accept(log, 20)
        free[0] = RESERVE_BYTES - 1
        await asyncio.sleep(0.1)
        for _ in range(30):
            try:
                accepted += await accept(log, 1)
            except LogFull:
                break
            await asyncio.sleep(0.02)
        with pytest.raises(LogFull):
            await accept(log, 1)
        assert (await log.stats()).full
        lease = log.lease("shop_to_a", ALL)
        assert bodies(await read_all(lease)) == accepted
        await lease.settle(Settlement())
        free[0] = RESERVE_BYTES * 10
        late = new_batch(1)
        assert list(await append_when_there_is_room(log, late)) == [True]
        assert bodies(await read_all(log.lease("shop_to_a", ALL))) == [late.body.decode()]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MiB."""
    in_ci = os.environ.get("CI") == "true"  # there it must work; system tests mount too
    if os.geteuid() != 0 and not in_ci:
        pytest.skip("mounting a tmpfs needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0 and not in_ci:
        pytest.skip(f"no tmpfs: {mounted.stderr.decode().strip()}")
    assert mounted.returncode == 0, mounted.stderr.decode()
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_disk_that_is_really_full_loses_nothing_acknowledged(tiny_disk: Path) -> None:
    folder = tiny_disk / "data"
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(b"x" * 700_000)
    enough = RESERVE_BYTES * 2
    async with opened(folder, free_bytes=lambda _: enough) as log:
        lease = log.lease("shop_to_a", ALL)
        accepted = await _accept_until_full(log, 3000)
        for size in (3000, 300, 30):  # what is too large for the last bytes must not break what comes after it
            for _ in range(5):
                accepted += await _accept_until_full(log, size)
                await asyncio.sleep(0.01)
        ballast.unlink()
        rows = await read_all(lease)
        assert bodies(rows) == accepted
        await _settle(lease, Settlement(held=[held_record(rows[-1])]))
        late = new_batch(1)
        assert list(await append_when_there_is_room(log, late)) == [True]
        assert (await log.stats()).damaged == 0
        accepted.append(late.body.decode())
    assert bodies(await everything(folder)) == accepted[-1:]
    assert bodies(await everything(folder, "shop_to_b")) == accepted


async def test_a_log_that_filled_its_disk_frees_itself_when_deliveries_are_settled(
    tiny_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router_core.log.appender._UPKEEP_EVERY", 0.02)
    async with opened(tiny_disk / "data", reserve_bytes=256 * 1024) as log:
        total = 0
        for _ in range(3):
            accepted = await _accept_until_full(log, 3000)
            assert accepted
            total += len(accepted)
            await settle_all(log)
            assert list(await append_when_there_is_room(log, new_batch(1))) == [True]
            await settle_all(log)
        assert total > 800, "more than the disk takes at once"


async def test_deliveries_go_on_when_others_fill_the_disk(tiny_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router_core.log.appender._UPKEEP_EVERY", 0.02)
    folder = tiny_disk / "data"
    ballast = tiny_disk / "ballast"
    async with opened(folder, reserve_bytes=400 * 1024) as log:
        accepted = await accept(log, 100)
        for _ in range(100):
            if (folder / "reserve").exists():
                break
            await asyncio.sleep(0.02)
        _fill(ballast)
        lease = log.lease("shop_to_a", ALL)
        rows = await _read_all(lease, len(accepted))
        assert bodies(rows) == accepted
        await _settle(lease, Settlement(held=[held_record(rows[-1])]))
        await _accept_until_full(log, 400)
        assert not (folder / "reserve").exists()
        ballast.unlink()
        assert list(await append_when_there_is_room(log, new_batch(1))) == [True]
        for _ in range(100):
            if (folder / "reserve").exists():
                break
            await asyncio.sleep(0.02)
        assert (folder / "reserve").stat().st_size == 400 * 1024, "kept again"


async def test_a_log_opens_on_a_full_disk(tiny_disk: Path) -> None:
    folder = tiny_disk / "data"
    async with opened(folder, reserve_bytes=400 * 1024) as log:
        accepted = await accept(log, 20)
        log._room.keep_reserve()
    _fill(tiny_disk / "ballast")
    async with opened(folder, reserve_bytes=400 * 1024) as log:
        lease = log.lease("shop_to_a", ALL)
        assert bodies(await _read_all(lease, len(accepted))) == accepted
        await _settle(lease, Settlement())
        with pytest.raises(LogFull):
            await accept(log, 1)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    assert free_bytes_of(path.parent) == 0


async def _read_all(lease: Lease, count: int) -> list[StoredBatch]:
    rows: list[StoredBatch] = []
    for _ in range(50):
        if len(rows) >= count:
            break
        rows += await lease.read(1000, 0.1)
    return rows


async def _accept_until_full(log: EmbeddedLog, size: int) -> list[str]:
    accepted: list[str] = []
    try:
        while True:
            accepted += await accept(log, 1, size=size)
    except LogFull:
        return accepted


async def _settle(lease: Lease, settlement: Settlement) -> None:
    for _ in range(100):
        try:
            return await lease.settle(settlement)
        except LogFull:
            await asyncio.sleep(0.05)
    pytest.fail("the settlement finds no room")
