"""Dead letters: records that were rejected or expired, with the batch they came in. One file of their own."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from router_core.errors import storable
from router_core.log.files import open_precious
from router_core.log.port import DeadLetter, StoredBatch, partition_of

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    seq INTEGER PRIMARY KEY, input TEXT NOT NULL, user INTEGER NOT NULL, records INTEGER NOT NULL,
    total INTEGER NOT NULL, received_at_ms INTEGER NOT NULL, headers BLOB NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS letters (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    connection TEXT NOT NULL, record_id TEXT NOT NULL, partition INTEGER NOT NULL, seq INTEGER NOT NULL,
    event_type TEXT NOT NULL, user INTEGER NOT NULL, disposition TEXT NOT NULL, code TEXT NOT NULL,
    message TEXT NOT NULL, attempts INTEGER NOT NULL, received_at_ms INTEGER NOT NULL, parked_at_ms INTEGER NOT NULL,
    replaying INTEGER NOT NULL DEFAULT 0,
    UNIQUE (connection, record_id)
);
CREATE INDEX IF NOT EXISTS letters_replaying ON letters (connection, number) WHERE replaying;
CREATE TRIGGER IF NOT EXISTS letters_last AFTER DELETE ON letters
WHEN NOT EXISTS (SELECT 1 FROM letters WHERE seq = old.seq)
BEGIN DELETE FROM batches WHERE seq = old.seq; END;
CREATE INDEX IF NOT EXISTS letters_seq ON letters (seq);
"""
_LETTER = (
    "connection, seq, record_id, event_type, user, disposition, code, message, attempts, received_at_ms, parked_at_ms, "
    "replaying"
)
_JOINED = ", ".join(f"l.{name}" for name in _LETTER.split(", "))
_BATCH = "b.seq, b.input, b.user, b.records, b.total, b.received_at_ms, b.headers, b.body"


def bodies(connection: sqlite3.Connection) -> Iterator[tuple[int, bytes]]:
    """Position and body of each batch that has a letter."""
    yield from connection.execute("SELECT seq, body FROM batches WHERE length(body) > 0")


def forget(connection: sqlite3.Connection, seqs: Collection[int]) -> None:
    """Delete the letters of some batches, which go with them, inside the transaction under way."""
    connection.executemany("DELETE FROM letters WHERE seq = ?", [(seq,) for seq in seqs])


class Letters:
    """The file `dead_letters.db`. The router and the command line may both have it open."""

    def __init__(self, path: Path) -> None:
        self.connection = open_precious(
            path,
            _SCHEMA,
            holds="the dead letters",
            mend="Save what can be read with `sqlite3 FILE .recover`, then move the file away; the router starts "
            "a new one.",
        )

    def park(self, letters: Sequence[tuple[DeadLetter, StoredBatch]]) -> None:
        """Add letters in one durable step. One that is there already is renewed, so a repeated delivery adds none.

        A settlement that is tried again, because the disk was full, brings the same letter and counts no attempt.
        """
        with self.connection:
            self.connection.execute("BEGIN IMMEDIATE")
            for letter, batch in letters:
                # What another's code said may be no text that SQLite takes; a letter must always find its place.
                event_type, code, message = map(storable, (letter.event_type, letter.code, letter.message))
                self.connection.execute(
                    "INSERT OR IGNORE INTO batches VALUES (?,?,?,?,?,?,?,?)",
                    (batch.seq, batch.input, batch.user, batch.records, batch.total, batch.received_at_ms,
                     batch.headers, batch.body),
                )  # fmt: skip
                known = self.connection.execute(
                    "UPDATE letters SET disposition = ?, code = ?, message = ?, attempts = attempts + ? * "
                    "(parked_at_ms != ?), parked_at_ms = ?, replaying = 0 WHERE connection = ? AND record_id = ?",
                    (letter.disposition, code, message, letter.attempts, letter.parked_at_ms,
                     letter.parked_at_ms, letter.connection, letter.record_id),
                ).rowcount  # fmt: skip
                if known:
                    continue
                self.connection.execute(
                    "INSERT INTO letters (connection, record_id, partition, seq, event_type, user, disposition, code, "
                    "message, attempts, received_at_ms, parked_at_ms) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                    (letter.connection, letter.record_id, partition_of(letter.user), letter.seq, event_type,
                     letter.user, letter.disposition, code, message, letter.attempts,
                     letter.received_at_ms, letter.parked_at_ms),
                )  # fmt: skip

    def remove(self, name: str, record_ids: Collection[str]) -> None:
        """Delete letters whose replay ended well."""
        with self.connection:
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.executemany(
                "DELETE FROM letters WHERE connection = ? AND record_id = ?", [(name, i) for i in record_ids]
            )

    def replays(self, name: str, partitions: range, limit: int) -> list[tuple[DeadLetter, StoredBatch]]:
        """Letters that somebody asked to replay."""
        rows = self.connection.execute(
            f"SELECT {_JOINED}, {_BATCH} FROM (SELECT * FROM letters WHERE replaying AND connection = ? "  # noqa: S608
            "AND partition >= ? AND partition < ? ORDER BY seq, number LIMIT ?) AS l JOIN batches AS b USING (seq) "
            "ORDER BY l.seq, l.number",
            (name, partitions.start, partitions.stop, limit),
        )
        return [(_letter(row[:12]), StoredBatch(*row[12:])) for row in rows]

    def listing(self, name: str | None, after: int, limit: int) -> list[tuple[int, DeadLetter]]:
        """Letters with their number, oldest first."""
        rows = self.connection.execute(
            f"SELECT number, {_LETTER} FROM letters WHERE number > ? AND (? IS NULL OR connection = ?) "  # noqa: S608
            "ORDER BY number LIMIT ?",
            (after, name, name, limit),
        )
        return [(row[0], _letter(row[1:])) for row in rows]

    def get(self, number: int) -> tuple[DeadLetter, StoredBatch] | None:
        """One letter with its batch."""
        row = self.connection.execute(
            f"SELECT {_JOINED}, {_BATCH} FROM letters AS l JOIN batches AS b USING (seq) WHERE number = ?",  # noqa: S608
            (number,),
        ).fetchone()
        return None if row is None else (_letter(row[:12]), StoredBatch(*row[12:]))

    def change(self, statement: str, numbers: Collection[int] | None, name: str | None) -> int:
        """Run `statement` (up to its WHERE) on letters by number and connection. Returns how many it met."""
        with self.connection:
            self.connection.execute("BEGIN IMMEDIATE")
            if numbers is None:
                cursor = self.connection.execute(f"{statement} WHERE (? IS NULL OR connection = ?)", (name, name))
                return cursor.rowcount
            return sum(
                self.connection.execute(
                    f"{statement} WHERE number = ? AND (? IS NULL OR connection = ?)", (number, name, name)
                ).rowcount
                for number in numbers
            )

    def counts(self) -> dict[str, int]:
        """Connection to number of letters."""
        return dict(self.connection.execute("SELECT connection, count(*) FROM letters GROUP BY connection"))

    def furthest(self) -> int:
        """The highest position of a batch with a letter."""
        return int(self.connection.execute("SELECT coalesce(max(seq), 0) FROM letters").fetchone()[0])

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()


def _letter(row: Sequence[object]) -> DeadLetter:
    names = _LETTER.split(", ")
    values = dict(zip(names, row, strict=True))
    values["replaying"] = bool(values["replaying"])
    return DeadLetter(**values)  # type: ignore[arg-type]  # the columns have these types
