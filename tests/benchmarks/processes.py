"""What the system says of running processes, and of the machine."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SAMPLE_EVERY = 0.2


def cpu_seconds(pid: int) -> float:
    """User and system time of a process with all its threads; in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK


def rss_bytes(pid: int) -> int:
    """Memory of a process; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def peak_rss_bytes(pid: int) -> int:
    """The most memory that a process has had since its start; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def machine_busy_seconds() -> float:
    """CPU time that all of the machine has spent on anything, over all cores; stolen time counts as well."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) * _TICK


class Memory(msgspec.Struct, frozen=True):
    """Of one process, in MiB."""

    end: float
    max: float


class Sample(NamedTuple):
    """The memory of each process at one time."""

    at: float
    bytes: Mapping[str, int]


class Sampler:
    """Looks at the memory of processes five times a second while its block lasts."""

    def __init__(self, pids: Mapping[str, int], every: float = _SAMPLE_EVERY) -> None:
        self._pids = pids
        self._every = every
        self._over = threading.Event()
        self.samples: list[Sample] = []

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self._look()

    def _look(self) -> None:
        sample = Sample(time.time(), {name: rss_bytes(pid) for name, pid in self._pids.items()})
        self.samples.append(sample)

    def memory(self) -> dict[str, Memory]:
        """Last and largest figure of each process."""
        return {
            name: Memory(
                mib(next((s.bytes[name] for s in reversed(self.samples) if s.bytes[name]), 0)),
                mib(max(sample.bytes[name] for sample in self.samples)),
            )
            for name in self._pids
        }

    def mean_mib(self, start: float, end: float) -> dict[str, float]:
        """Mean memory of each process between two times."""
        chosen = [sample for sample in self.samples if start <= sample.at < end]
        return {name: mib(sum(s.bytes[name] for s in chosen) / max(len(chosen), 1)) for name in self._pids}


def mib(size: float) -> float:
    """Bytes in MiB."""
    return round(size / 2**20, 1)


class Machine(msgspec.Struct, frozen=True):
    """Where the figures come from."""

    processor: str
    cores: int
    kernel: str
    python: str
    load: float
    """Load average of the last minute before the start; above about 0.3 somebody else is at work."""
    folder_filesystem: str


def machine(folder: Path) -> Machine:
    """This machine, with the file system of the data folder."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    system = os.uname()
    return Machine(
        processor=names[0].partition(":")[2].strip() if names else system.machine,
        cores=len(os.sched_getaffinity(0)),
        kernel=f"{system.sysname} {system.release}",
        python=".".join(str(part) for part in sys.version_info[:3]),
        load=round(os.getloadavg()[0], 2),
        folder_filesystem=filesystem_of(folder),
    )


def filesystem_of(path: Path) -> str:
    """The type of the file system that holds the path."""
    device = path.stat().st_dev
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        head, _, tail = line.partition(" - ")
        major, _, minor = head.split()[2].partition(":")
        if os.makedev(int(major), int(minor)) == device:
            return tail.split()[0]
    return "unknown"


def folder_for_data() -> Path:
    """A folder on a real disk: the system's temporary one, unless that is in memory."""
    chosen = Path(tempfile.gettempdir())
    if filesystem_of(chosen) in ("tmpfs", "ramfs"):
        chosen = Path(__file__).resolve().parents[2] / "build" / "bench"
        chosen.mkdir(parents=True, exist_ok=True)
    return chosen
