from collections.abc import Iterator

import pytest
from router_clevertap.sandbox import SandboxServer

ACCOUNTS = {"DEMO-ACCOUNT": "demo-passcode", "SECOND": "other-passcode"}


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    with SandboxServer(accounts=ACCOUNTS, discarded_events=frozenset({"Gone"})) as server:
        yield server


@pytest.fixture
def sandbox(running: SandboxServer) -> SandboxServer:
    """A running sandbox that has seen nothing. Its accounts have discarded the event `Gone`."""
    running.reset()
    return running
