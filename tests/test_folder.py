"""The data folder belongs to one router."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from router_core import folder as folder_module
from router_core.errors import LogError, LogInUse
from router_core.folder import lock_folder


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "_WAIT", -1.0)


def test_the_folder_is_made_and_the_lock_names_its_process(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    descriptor = lock_folder(folder)
    assert (folder / "lock").read_text() == str(os.getpid())
    assert os.get_inheritable(descriptor)
    os.close(descriptor)


def test_a_second_router_is_kept_out_until_the_first_is_gone(tmp_path: Path) -> None:
    descriptor = lock_folder(tmp_path)
    with pytest.raises(LogInUse) as caught:
        lock_folder(tmp_path)
    assert str(caught.value) == (
        f"another router (process {os.getpid()}) is using the data folder {tmp_path}. "
        "Stop it, or set `log.path` to a folder of its own."
    )
    os.close(descriptor)
    os.close(lock_folder(tmp_path))


def test_the_lock_stays_while_any_process_has_the_descriptor(tmp_path: Path) -> None:
    descriptor = lock_folder(tmp_path)
    worker = os.dup(descriptor)
    os.close(descriptor)
    with pytest.raises(LogInUse):
        lock_folder(tmp_path)
    os.close(worker)
    os.close(lock_folder(tmp_path))


def test_a_router_that_was_refused_leaves_no_descriptor_open(tmp_path: Path) -> None:
    descriptor = lock_folder(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(LogInUse):
        lock_folder(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(descriptor)


def test_a_shorter_process_number_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("99999999999999")
    os.close(lock_folder(tmp_path))
    assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_a_folder_that_cannot_be_used_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        LogError, match=r"cannot use the data folder .*Make it writable for this user, or set `log.path`"
    ):
        lock_folder(tmp_path / "file")
