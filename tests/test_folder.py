"""The lock that keeps a second router out of the data folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from router_core import folder
from router_core.errors import LogError, LogInUse
from router_core.folder import lock_folder


def test_the_folder_is_made_and_the_lock_names_the_process(tmp_path: Path) -> None:
    descriptor = lock_folder(tmp_path / "deep" / "data")
    assert (tmp_path / "deep" / "data" / "lock").read_text() == str(os.getpid())
    assert os.get_inheritable(descriptor), "workers hold the lock too"
    os.close(descriptor)


def test_a_second_router_is_told_who_holds_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_WAIT", 0.0)
    descriptor = lock_folder(tmp_path)
    with pytest.raises(LogInUse, match=rf"another router \(process {os.getpid()}\) .*log\.path"):
        lock_folder(tmp_path)
    os.close(descriptor)


def test_the_lock_goes_with_the_descriptor(tmp_path: Path) -> None:
    os.close(lock_folder(tmp_path))
    os.close(lock_folder(tmp_path))


def test_a_folder_that_cannot_be_made_is_named_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LogError, match=r"cannot use the data folder .*`log\.path`"):
        lock_folder(tmp_path / "file" / "data")
