"""The data folder, and the lock that keeps a second router out of it."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from router_core.errors import LogError, LogInUse

_WAIT: Final = 3.0
"""Seconds to wait for the workers of a router that has just been killed; they notice at once and go."""


def lock_folder(folder: Path) -> int:
    """Take the folder; returns the descriptor that holds it, to be passed on to worker processes.

    The lock goes when the last process that has the descriptor is gone, however it ended. Raises `LogInUse`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # what people sent is nobody else's business
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise LogError(
            f"cannot use the data folder {folder}: {error.strerror}. "
            "Make it writable for this user, or set `log.path` to another folder."
        ) from None
    deadline = time.monotonic() + _WAIT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
                os.close(descriptor)
                raise LogInUse(
                    f"another router (process {holder or 'unknown'}) is using the data folder {folder}. "
                    "Stop it, or set `log.path` to a folder of its own."
                ) from None
            time.sleep(0.05)
        else:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            os.set_inheritable(descriptor, True)
            return descriptor
