"""From a file to a file: each line once, whatever ends and starts again in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .configurations import PATIENCE
from .daemon import Daemon, batch, until

New = Callable[..., Daemon]


def config(source: Path, archive: Path) -> dict[str, Any]:
    return {
        "delivery": PATIENCE,
        "inputs": {"import": {"source": "file", "platform": "data_feeds", "settings": {"path": str(source)}}},
        "outputs": {"archive": {"destination": "file", "settings": {"path": str(archive)}}},
        "connections": {"main": {"input": "import", "output": "archive"}},
    }


def append(source: Path, first: int, after: int) -> None:
    with source.open("a") as file:
        file.writelines(json.dumps(batch(f"E{n}", user=f"user-{n % 10}")) + "\n" for n in range(first, after))


def arrived(archive: Path) -> list[str]:
    lines = archive.read_text().splitlines() if archive.exists() else []
    return [line["data"]["event_name"] for line in map(json.loads, lines) if line["event_type"] == "custom_event"]


def has(archive: Path, count: int) -> None:
    until(f"{count} lines arrived", lambda: len(arrived(archive)) >= count)


def test_lines_go_from_a_file_to_a_file_and_a_restart_neither_loses_nor_repeats_any(
    new_daemon: New, tmp_path: Path
) -> None:
    source, archive = tmp_path / "source", tmp_path / "archive"
    append(source, 0, 500)
    daemon = new_daemon(config(source, archive)).start()
    append(source, 500, 1000)
    has(archive, 1000)
    assert daemon.stop() == 0
    append(source, 1000, 1500)
    daemon.start()
    has(archive, 1500)
    append(source, 1500, 1501)
    has(archive, 1501)
    daemon.settled()
    assert sorted(arrived(archive), key=lambda name: int(name[1:])) == [f"E{n}" for n in range(1501)]
    for user in range(10):
        assert [name for name in arrived(archive) if int(name[1:]) % 10 == user] == [
            f"E{n}" for n in range(user, 1501, 10)
        ]


def test_a_reader_that_is_killed_goes_on_where_it_was(new_daemon: New, tmp_path: Path) -> None:
    source, archive = tmp_path / "source", tmp_path / "archive"
    append(source, 0, 5_000)
    daemon = new_daemon(config(source, archive)).start()
    for _ in range(2):
        until("a reader to kill", lambda: daemon.kill_worker("ingest"))
    until("all is read", lambda: daemon.kept() >= 5_000, within=40, every=0.2)
    daemon.settled()
    assert daemon.kept() == 5_000
    assert sorted(arrived(archive), key=lambda name: int(name[1:])) == [f"E{n}" for n in range(5_000)]


def test_a_bad_line_is_logged_by_its_number_and_the_rest_goes_on(new_daemon: New, tmp_path: Path) -> None:
    source, archive = tmp_path / "source", tmp_path / "archive"
    append(source, 0, 2)
    with source.open("ab") as file:
        file.write(b'{"events": [{}]}\n\nno json\n\xff\xfe\n' + b'{"a": "' + b"x" * 300_000 + b'"}\n[1, 2]\n')
    append(source, 2, 4)
    with source.open("a") as file:
        file.write(json.dumps(batch("Unfinished")))
    daemon = new_daemon(config(source, archive)).start()
    has(archive, 4)
    assert arrived(archive) == ["E0", "E1", "E2", "E3"]
    assert sorted(line["line"] for line in daemon.lines("bad_batch")) == [3, 5, 6, 7, 8]
    with source.open("a") as file:
        file.write("\n")
    has(archive, 5)
    assert arrived(archive)[-1] == "Unfinished"


def test_a_file_that_takes_the_place_of_another_is_read_from_its_start(new_daemon: New, tmp_path: Path) -> None:
    source, archive = tmp_path / "source", tmp_path / "archive"
    append(source, 0, 10)
    daemon = new_daemon(config(source, archive)).start()
    has(archive, 10)
    append(tmp_path / "next", 10, 30)
    (tmp_path / "next").rename(source)
    has(archive, 30)
    daemon.settled()
    assert len(arrived(archive)) == 30


def test_a_destination_that_is_moved_away_is_started_anew(new_daemon: New, tmp_path: Path) -> None:
    source, archive = tmp_path / "source", tmp_path / "archive"
    append(source, 0, 10)
    daemon = new_daemon(config(source, archive)).start()
    has(archive, 10)
    daemon.settled()
    archive.rename(tmp_path / "rotated")
    append(source, 10, 20)
    has(archive, 10)
    assert arrived(tmp_path / "rotated") + arrived(archive) == [f"E{n}" for n in range(20)]
