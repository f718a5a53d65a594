"""How far each connection has come, and the records that it holds for another try. One file, written by delivery."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import msgspec

from router_core.errors import storable
from router_core.log.files import open_precious
from router_core.log.port import PARTITIONS, HeldRecord, partition_of

_SCHEMA = """
CREATE TABLE IF NOT EXISTS connections (connection TEXT PRIMARY KEY, input TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cursors (
    connection TEXT, partition INTEGER, seq INTEGER NOT NULL, total INTEGER NOT NULL,
    PRIMARY KEY (connection, partition)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS held (
    connection TEXT, record_id TEXT, partition INTEGER NOT NULL, seq INTEGER NOT NULL, user INTEGER NOT NULL,
    not_before_ms INTEGER NOT NULL, attempts INTEGER NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL,
    place INTEGER NOT NULL,
    PRIMARY KEY (connection, record_id)
) WITHOUT ROWID;
"""


def forget(connection: sqlite3.Connection, seqs: Collection[int]) -> None:
    """Delete the held records of some batches, inside the transaction under way."""
    connection.executemany("DELETE FROM held WHERE seq = ?", [(seq,) for seq in seqs])


class Progress(msgspec.Struct, frozen=True):
    """How far one connection has come: the slowest partition's position and total, and how many records it holds."""

    input: str
    seq: int
    total: int
    held: int
    keep_after: int
    """Batches after this position are still needed."""


class Cursors:
    """The file `cursors.db`."""

    def __init__(self, path: Path) -> None:
        self.connection = open_precious(
            path,
            _SCHEMA,
            holds="how far each connection has come",
            mend="Move it away to deliver everything that is still kept once more (partners get duplicates), "
            "or restore it from a backup.",
        )
        self._place = self.connection.execute("SELECT coalesce(max(place), 0) FROM held").fetchone()[0]

    def register(
        self, connections: Mapping[str, str], head: int, totals: Mapping[str, int], kept_from: Callable[[str], int]
    ) -> None:
        """Start connections that are new, or that have another input than before, at the end of the log.

        If the whole file is new, either nothing is in the log yet or somebody moved a damaged file away: they start at
        what is kept. `kept_from` tells an input's total before that.
        """
        if self.is_set_up and not self._unknown(connections):
            return
        with self.connection:
            self.connection.execute("BEGIN IMMEDIATE")  # another process may be doing the same
            fresh = not self.is_set_up
            for name, source in self._unknown(connections).items():
                self.connection.execute("INSERT OR REPLACE INTO connections VALUES (?, ?)", (name, source))
                self.connection.execute("DELETE FROM held WHERE connection = ?", (name,))
                seq, total = (0, kept_from(source)) if fresh else (head, totals.get(source, 0))
                self.move(name, range(PARTITIONS), seq, total)
            self.connection.execute("PRAGMA user_version = 1")

    @property
    def is_set_up(self) -> bool:
        """Whether a router, and not only a command that looks on, has used this file."""
        return bool(self.connection.execute("PRAGMA user_version").fetchone()[0])

    def _unknown(self, connections: Mapping[str, str]) -> Mapping[str, str]:
        known = dict(self.connection.execute("SELECT connection, input FROM connections"))
        return {name: source for name, source in connections.items() if known.get(name) != source}

    def move(self, name: str, partitions: range, seq: int, total: int) -> None:
        """Set cursors, inside the transaction under way."""
        self.connection.executemany(
            "INSERT OR REPLACE INTO cursors VALUES (?, ?, ?, ?)", [(name, p, seq, total) for p in partitions]
        )

    def advance(self, name: str, partitions: range, seq: int, total: int) -> None:
        """Set the cursors that are not further yet, inside the transaction under way.

        Where lanes were cut in another way before, a lease has partitions that came further than it has.
        """
        self.connection.executemany(
            "UPDATE cursors SET seq = ?, total = ? WHERE connection = ? AND partition = ? AND seq < ?",
            [(seq, total, name, p, seq) for p in partitions],
        )

    def positions(self, name: str, partitions: range) -> dict[int, tuple[int, int]]:
        """Partition to the position that is settled, and the input's total there."""
        rows = self.connection.execute(
            "SELECT partition, seq, total FROM cursors WHERE connection = ? AND partition >= ? AND partition < ?",
            (name, partitions.start, partitions.stop),
        )
        return {partition: (seq, total) for partition, seq, total in rows}

    def furthest(self) -> tuple[int, dict[str, int]]:
        """The highest position that anything here speaks of, and the highest total by input."""
        seq = self.connection.execute(
            "SELECT max((SELECT coalesce(max(seq), 0) FROM cursors), (SELECT coalesce(max(seq), 0) FROM held))"
        ).fetchone()[0]
        totals = self.connection.execute(
            "SELECT input, max(total) FROM connections JOIN cursors USING (connection) GROUP BY input"
        )
        return seq, dict(totals)

    def hold(self, name: str, records: Sequence[HeldRecord]) -> None:
        """Add or replace held records, inside the transaction under way; one that is there keeps its place."""
        rows = []
        for record in records:
            self._place += 1
            rows.append((
                name, record.record_id, partition_of(record.user), record.seq, record.user, record.not_before_ms,
                record.attempts, storable(record.code), storable(record.message), self._place,
            ))  # fmt: skip
        self.connection.executemany(
            "INSERT INTO held VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT (connection, record_id) DO UPDATE SET "
            "not_before_ms = excluded.not_before_ms, attempts = excluded.attempts, code = excluded.code, "
            "message = excluded.message",
            rows,
        )

    def release(self, name: str, record_ids: Collection[str]) -> None:
        """Remove held records, inside the transaction under way."""
        self.connection.executemany(
            "DELETE FROM held WHERE connection = ? AND record_id = ?", [(name, record_id) for record_id in record_ids]
        )

    def held(self, name: str, partitions: range) -> list[HeldRecord]:
        """What these partitions hold, in order of acceptance."""
        rows = self.connection.execute(
            "SELECT seq, record_id, user, not_before_ms, attempts, code, message FROM held "
            "WHERE connection = ? AND partition >= ? AND partition < ? ORDER BY seq, place",
            (name, partitions.start, partitions.stop),
        )
        return [
            HeldRecord(seq=r[0], record_id=r[1], user=r[2], not_before_ms=r[3], attempts=r[4], code=r[5], message=r[6])
            for r in rows
        ]

    def progress(self) -> dict[str, Progress]:
        """Every connection on file."""
        # Positions first: a hold that is written between the two queries then only makes us keep more.
        positions = self.connection.execute(
            "SELECT connection, input, min(seq), min(total) FROM connections JOIN cursors USING (connection) "
            "GROUP BY connection"
        ).fetchall()
        held = {
            name: (count, oldest)
            for name, count, oldest in self.connection.execute(
                "SELECT connection, count(*), min(seq) FROM held GROUP BY connection"
            )
        }
        found = {}
        for name, source, seq, total in positions:
            count, oldest = held.get(name, (0, seq + 1))
            found[name] = Progress(source, seq, total, count, min(seq, oldest - 1))
        return found

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()
