"""Erasing in place: no byte stays, whatever interrupts it, and no other row is touched."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from router_core.errors import LogError
from router_core.log.port import PARTITIONS
from router_core.testing.log_contract import bodies, new_batch, read_all
from tests.log.embedded import accept, of_user, opened, segments, with_mark

ALL = range(PARTITIONS)
SECRET = b"only-in-what-user-7-sent"


async def make(folder: Path) -> int:
    """Some files with four batches of user 7 in them. Returns the number of all batches."""
    async with opened(folder) as log:
        for _ in range(4):
            await accept(log, 70)
            await log.append([new_batch(7_000_007, body=b'{"text":"%s"}' % (SECRET * 20))])
    assert len(segments(folder)) > 2
    return 4 * 71


async def test_an_erasure_that_is_cut_short_anywhere_leaves_a_sound_log_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = await make(tmp_path / "data")
    calls = 0
    while True:
        folder = Path(shutil.copytree(tmp_path / "data", tmp_path / f"cut{calls}"))
        async with opened(folder) as log:
            with monkeypatch.context() as patch:
                _fail_after(patch, calls)
                try:
                    erased = await log.erase(with_mark(SECRET))
                except LogError:
                    erased = 0
        if erased:
            break
        async with opened(folder) as log:
            rows = await read_all(log.lease("shop_to_a", ALL))
            assert len(rows) == batches
            assert all(row.body for row in rows if row.user != 7_000_007)
            assert (await log.stats()).damaged == 0
            await log.erase(with_mark(SECRET))
            assert [row.body for row in await read_all(log.lease("shop_to_a", ALL)) if row.user == 7_000_007] == [
                b""
            ] * 4
            assert await log.erase(with_mark(SECRET)) == 0
        assert not [path for path in folder.rglob("*") if path.is_file() and SECRET in path.read_bytes()]
        shutil.rmtree(folder)
        calls += 1
    assert erased == 4
    assert calls >= 12, "marks, overwriting, and a sync after each"


def _fail_after(patch: pytest.MonkeyPatch, calls: int) -> None:
    """Let so many writes and syncs of the erasure succeed, and then none."""
    left = [calls]

    def failing(real: Any) -> Any:
        def call(*arguments: Any) -> Any:
            if left[0] == 0:
                raise OSError(errno.EIO, "Input/output error")
            left[0] -= 1
            return real(*arguments)

        return call

    class System:
        """The module `os` as the erasure sees it."""

        pwrite = staticmethod(failing(os.pwrite))
        fdatasync = staticmethod(failing(os.fdatasync))
        write = staticmethod(os.write)
        open = staticmethod(os.open)
        close = staticmethod(os.close)
        O_WRONLY, O_CREAT, O_APPEND, O_CLOEXEC = os.O_WRONLY, os.O_CREAT, os.O_APPEND, os.O_CLOEXEC

    patch.setattr("router_core.log.erasure.os", System)


async def test_a_process_that_has_rows_in_memory_forgets_them(tmp_path: Path) -> None:
    async with opened(tmp_path) as log, opened(tmp_path) as other:
        await log.append([new_batch(7, body=b'{"text":"%s"}' % SECRET), new_batch(8)])
        lease = other.lease("shop_to_a", ALL)
        first, _ = await lease.read(1000, 5.0)
        assert first.body
        for _ in range(3):  # one after the other, faster than a file system's clock
            await log.append([new_batch(7, body=b"x")])
            assert await lease.read(1000, 5.0)
            assert (await other.fetch([first.seq]))[first.seq].user == 7
            assert await log.erase(with_mark(b"x", SECRET)) > 0
            assert (await other.fetch([first.seq]))[first.seq].body == b""
            assert {row.body for row in await read_all(other.lease("shop_to_b", ALL)) if row.user == 7} == {b""}


async def test_the_process_that_only_reads_may_erase_while_the_other_appends(tmp_path: Path) -> None:
    async with opened(tmp_path) as log, opened(tmp_path) as other:
        accepted = await accept(log, 200)
        assert await other.erase(of_user(7)) == 4
        accepted += await accept(log, 200)
        rows = await read_all(log.lease("shop_to_a", ALL))
        assert [row.seq for row in rows if not row.body] == [8, 58, 108, 158]
        assert [body for body in bodies(rows) if body] == [
            body for seq, body in enumerate(accepted, 1) if seq not in (8, 58, 108, 158)
        ]
        assert (await log.stats()).damaged == 0


async def test_what_was_set_aside_is_erased_too(tmp_path: Path) -> None:
    await make(tmp_path)
    path = segments(tmp_path)[0]
    content = bytearray(path.read_bytes())
    content[3000] ^= 1
    (tmp_path / "quarantine").mkdir()
    (tmp_path / "quarantine" / path.name).write_bytes(content)
    path.unlink()
    async with opened(tmp_path) as log:
        with pytest.raises(LogError, match=f"4 batches are erased, but damaged files may hold more.*{path.name}"):
            await log.erase(with_mark(SECRET))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET in path.read_bytes()]
