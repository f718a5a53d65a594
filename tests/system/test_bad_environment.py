"""What a router says when it cannot run: one sentence, an exit status, no traceback. And a disk that fills up."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from router_clevertap.sandbox import SandboxServer

from .configurations import to_clevertap, to_file
from .daemon import Daemon, batch, names, until

New = Callable[..., Daemon]
MIB = 1024 * 1024
RESERVE = 16 * MIB
"""What the log leaves free for deliveries to be settled."""


def refusal(daemon: Daemon, status: int = 1) -> str:
    """Start a router that cannot run; returns what it says, one line of it."""
    before = len(daemon.output())
    daemon.launch()
    assert daemon.ended() == status, daemon.output()
    said = [line for line in daemon.output()[before:].splitlines() if not line.startswith("warning:")]
    assert not any("Traceback" in line for line in said)
    errors = [line for line in said if line.startswith(("error: ", "router "))]
    assert errors, said
    return " ".join(errors)


@pytest.mark.parametrize("which", ["listen", "admin"])
def test_a_port_in_use_is_named_with_the_setting_to_change(new_daemon: New, tmp_path: Path, which: str) -> None:
    daemon = new_daemon(to_file(tmp_path / "archive"))
    port = daemon.port if which == "listen" else daemon.admin_port
    with socket.create_server(("127.0.0.1", port)):
        said = refusal(daemon)
    assert f"127.0.0.1:{port}" in said
    assert f"{which}.port" in said
    daemon.start()


@pytest.mark.parametrize("place", ["a file", "below a file", "read-only"])
def test_a_data_folder_that_cannot_be_written_is_named(
    new_daemon: New, tmp_path: Path, place: str, skip_or_fail: Callable[[str], None]
) -> None:
    occupied = tmp_path / "occupied"
    occupied.write_text("")
    folder = {"a file": occupied, "below a file": occupied / "data", "read-only": tmp_path / "sealed"}[place]
    daemon = new_daemon({**to_file(tmp_path / "archive"), "log": {"path": str(folder)}})
    if place != "read-only":
        assert str(folder) in refusal(daemon)
        return
    folder.mkdir(mode=0o500)
    if os.geteuid() == 0:  # whom modes do not stop
        with mounted(folder, "ro", skip_or_fail):
            assert str(folder) in refusal(daemon)
    else:
        assert str(folder) in refusal(daemon)


def test_a_second_router_on_one_data_folder_is_turned_away_and_the_first_goes_on(
    new_daemon: New, tmp_path: Path
) -> None:
    first = new_daemon(to_file(tmp_path / "archive")).start()
    second = new_daemon({**to_file(tmp_path / "archive-2"), "log": {"path": str(first.data)}})
    said = refusal(second)
    assert str(first.data) in said
    assert str(first.process.pid) in said
    first.send(batch("Still here"))
    first.settled()


@pytest.mark.parametrize("file", ["cursors.db", "dead_letters.db"])
def test_a_damaged_file_that_cannot_be_rebuilt_is_named_with_its_mend(
    new_daemon: New, tmp_path: Path, file: str
) -> None:
    daemon = new_daemon(to_file(tmp_path / "archive")).start()
    daemon.send(batch("Hello"))
    daemon.settled()
    assert daemon.stop() == 0
    damaged = daemon.data / file
    damaged.write_bytes(b"this is no database" + damaged.read_bytes()[19:])
    said = refusal(daemon)
    assert str(damaged) in said
    assert "damaged" in said
    assert "ove it away" in said or "move the file away" in said
    damaged.rename(damaged.with_suffix(".away"))
    for companion in ("-wal", "-shm"):
        Path(f"{damaged}{companion}").unlink(missing_ok=True)
    daemon.start()
    daemon.send(batch("Hello again"))
    daemon.settled()


@pytest.mark.parametrize("what", ["log", "seen"])
def test_damage_to_what_can_be_done_without_does_not_stop_the_start(new_daemon: New, tmp_path: Path, what: str) -> None:
    daemon = new_daemon(to_file(tmp_path / "archive")).start()
    daemon.send(*[batch(f"E{n}") for n in range(100)])
    daemon.settled()
    assert daemon.stop() == 0
    for file in (daemon.data / what).iterdir():
        content = file.read_bytes()
        file.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    daemon.start()
    daemon.send(batch("Hello again"))
    until("it arrives", lambda: "Hello again" in (tmp_path / "archive").read_text())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"listen": {"prot": 1}}, "prot"),
        ({"outputs": {"archive": {"destination": "flie"}}}, "Did you mean 'file'"),
        ({"connections": {"main": {"input": "nobody", "output": "archive"}}}, "nobody"),
        ({"inputs": {"server": {"source": "events_api", "platform": "web"}}}, "key"),
        ({"admin": {"token": "${file:/no/such/file}"}}, "/no/such/file"),
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_be_used_is_status_2_with_file_and_line(
    new_daemon: New, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    daemon = new_daemon({**to_file(tmp_path / "archive"), **change})
    said = refusal(daemon, 2)
    assert f"{daemon.file}:" in said
    assert named in said


def test_a_missing_configuration_file_is_status_2(new_daemon: New, tmp_path: Path) -> None:
    daemon = new_daemon(to_file(tmp_path / "archive"))
    daemon.file.unlink()
    assert str(daemon.file) in refusal(daemon, 2)


# --- a disk that is full ----------------------------------------------------------------------------------------------


class mounted:  # noqa: N801  # reads as a statement: with mounted(...)
    """A small file system in memory for the block; skips (on CI: fails) where this user may not mount."""

    def __init__(self, folder: Path, options: str, skip_or_fail: Callable[[str], None]) -> None:
        self._folder = folder
        self._options = options
        self._skip_or_fail = skip_or_fail

    def __enter__(self) -> None:
        self._folder.mkdir(exist_ok=True)
        if shutil.which("mount") is None:
            self._skip_or_fail("there is no mount command")
        command = ["mount", "-t", "tmpfs", "-o", self._options, "tmpfs", str(self._folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            self._skip_or_fail(f"this user may not mount a tmpfs: {done.stderr.strip()}")

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", str(self._folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path, skip_or_fail: Callable[[str], None]) -> Iterator[Path]:
    """A folder on a file system of 40 MiB."""
    folder = tmp_path / "disk"
    with mounted(folder, "size=40m", skip_or_fail):
        yield folder


def fill(disk: Path, free: int) -> Path:
    """Leave this many bytes free."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    room = os.statvfs(disk)
    with ballast.open("wb") as file:
        left = room.f_bavail * room.f_frsize - free
        while left > 0:
            try:
                left -= file.write(b"x" * min(left, MIB))
                file.flush()
            except OSError:
                return ballast
    return ballast


@pytest.mark.parametrize("free", [RESERVE - MIB, 0], ids=["down to the reserve", "to the last byte"])
def test_a_full_disk_is_503_until_there_is_room_and_nothing_acknowledged_is_lost(
    new_daemon: New, sandbox: SandboxServer, small_disk: Path, free: int
) -> None:
    daemon = new_daemon({**to_clevertap(sandbox.url), "log": {"path": str(small_disk / "data")}})
    daemon.data = small_disk / "data"
    daemon.start()
    acknowledged: list[str] = []

    def send() -> int:
        name = f"E{len(acknowledged)}"
        answer = daemon.post(batch(name, user=f"user-{len(acknowledged) % 3}"))
        if answer.status_code == 202:
            acknowledged.append(name)
        else:
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["errors"][0]["code"] == "SERVICE_UNAVAILABLE"
        return answer.status_code

    for _ in range(50):
        assert send() == 202
    sandbox.fault(status=503, times=3)  # some wait for delivery while the disk fills up
    assert send() == 202
    ballast = fill(small_disk, free)
    until("a 503", lambda: send() == 503, within=3)
    assert send() == 503
    until("not ready", lambda: daemon.readiness()[0] == 503)
    assert "[-] log: full" in daemon.readiness(verbose=True)[1]
    assert daemon.state()["log"]["full"] is True
    if free:
        sandbox.wait_for(len(acknowledged))  # what was taken goes out while nothing new comes in
    ballast.unlink()
    freed = time.monotonic()
    until("a 202", lambda: send() == 202, within=5)
    assert time.monotonic() - freed < 3
    until("ready", lambda: daemon.readiness()[0] == 200)
    daemon.settled()
    assert sorted(set(names(sandbox.records()))) == sorted(acknowledged)
    assert len(sandbox.records()) == len(acknowledged), "and nothing twice"
    assert daemon.stop() == 0


@pytest.mark.parametrize("free", [RESERVE - MIB, 0], ids=["down to the reserve", "to the last byte"])
def test_a_router_that_was_killed_comes_back_on_a_full_disk_and_says_503_until_there_is_room(
    new_daemon: New, sandbox: SandboxServer, small_disk: Path, free: int
) -> None:
    daemon = new_daemon({**to_clevertap(sandbox.url), "log": {"path": str(small_disk / "data")}})
    daemon.data = small_disk / "data"
    daemon.start()
    sandbox.fault(status=503, times="forever")
    daemon.send(batch("Before"))
    daemon.kill_all()
    ballast = fill(small_disk, free)
    sandbox.clear_faults()
    daemon.launch()
    answered = until("an answer", lambda: answer_of(daemon), within=20, told=daemon.output)
    assert answered == 503
    ballast.unlink()
    until("a 202", lambda: answer_of(daemon) == 202, within=10, told=daemon.output)
    daemon.settled()
    assert names(sandbox.records())[0] == "Before"


def answer_of(daemon: Daemon) -> int | None:
    """Status of a good request; None while nobody listens."""
    import httpx

    try:
        return daemon.post(batch("After")).status_code
    except httpx.TransportError:
        return None
