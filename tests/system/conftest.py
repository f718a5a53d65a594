"""Fixtures: a router process on free ports, a CleverTap sandbox process, configurations for both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from router_clevertap.sandbox import SandboxServer

from .configurations import to_file
from .daemon import Daemon, SlowBody, require_no_fault_of_ours, running

IN_CI = os.environ.get("CI", "").lower() in ("1", "true")


@pytest.fixture(scope="session")
def _sandbox_process() -> Iterator[SandboxServer]:
    with SandboxServer(process=True) as server:
        yield server


@pytest.fixture
def sandbox(_sandbox_process: SandboxServer) -> SandboxServer:
    """A CleverTap sandbox without records and faults."""
    _sandbox_process.reset()
    return _sandbox_process


@pytest.fixture(scope="session")
def slow_body(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlowBody]:
    """A request that does not end, at a router of its own."""
    folder = tmp_path_factory.mktemp("slow")
    with running(Daemon(folder, to_file(folder / "archive"))) as daemon:
        thread = SlowBody(daemon.port)
        thread.start()
        yield thread


@pytest.fixture
def new_daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """`new_daemon(config, env=…)`: a router that is not started yet; all are gone at the end, and made no fault."""
    made: list[Daemon] = []

    def make(config: dict[str, Any], *, folder: Path | None = None, env: dict[str, str] | None = None) -> Daemon:
        made.append(Daemon(folder or tmp_path / f"router-{len(made)}", config, env))
        return made[-1]

    yield make
    for daemon in made:
        daemon.close()
    for daemon in made:
        require_no_fault_of_ours(daemon)


@pytest.fixture
def router(new_daemon: Callable[..., Daemon]) -> Callable[..., Daemon]:
    """`router(config)`: a router that is started and ready."""

    def start(config: dict[str, Any], **options: Any) -> Daemon:
        return new_daemon(config, **options).start()

    return start


@pytest.fixture
def skip_or_fail() -> Callable[[str], None]:
    """Skips with a reason on somebody's machine; on CI nothing is skipped."""
    return _skip_or_fail


def _skip_or_fail(reason: str) -> None:
    if IN_CI:
        pytest.fail(f"CI must not skip this: {reason}")
    pytest.skip(reason)
