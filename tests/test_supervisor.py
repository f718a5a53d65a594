"""What the supervisor decides; what it does stands in the system tests."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from router_core.supervisor import after_death


@pytest.mark.parametrize(
    ("failures", "lived", "expected"),
    [
        (0, 1.0, (1, 0.2)),
        (1, 1.0, (2, 1.0)),
        (2, 1.0, (3, 2.0)),
        (9, 1.0, (10, 5.0)),
        (0, 3600.0, (1, 0.2)),
        (9, 3600.0, (1, 0.2)),
    ],
)
def test_a_worker_that_had_run_well_is_back_soonest(failures: int, lived: float, expected: tuple[int, float]) -> None:
    assert after_death(failures, lived) == expected


def test_the_router_may_open_as_many_files_as_the_system_allows() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, {hard}));"
        "from router_core.supervisor import allow_open_files; allow_open_files();"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    assert int(done.stdout) == expected
