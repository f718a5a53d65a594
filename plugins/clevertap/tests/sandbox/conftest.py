from collections.abc import Iterator

import pytest
from router_clevertap.sandbox import SandboxServer


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    with SandboxServer(accounts={"DEMO-ACCOUNT": "demo-passcode", "SECOND": "other-passcode"}) as server:
        yield server


@pytest.fixture
def sandbox(running: SandboxServer) -> SandboxServer:
    """A running sandbox that has seen nothing."""
    running.reset()
    return running
