"""The file of erasures: `erasures.db` in the data folder. See `erasure` for what stands in it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from secrets import token_bytes
from typing import Final

import msgspec

from router_core.erasure import (
    AtConnection,
    Conflict,
    Erasure,
    Identities,
    Person,
    State,
    Status,
    identifiers_beyond,
    identifiers_of_person,
)
from router_core.errors import LogError
from router_core.identifiers import CUSTOMER_ID, Identifier
from router_core.log.files import open_precious, wipe_free_pages
from router_core.suppression import Hashes, Reach

FILE: Final = "erasures.db"
MEND: Final = (
    "Restore it from a backup. Without it the router forgets whom it must not keep and deliver any more; if you accept "
    "that, move it away."
)
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requests (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, source TEXT NOT NULL, regulation TEXT NOT NULL,
    group_id TEXT, submitted_at_ms INTEGER NOT NULL, received_at_ms INTEGER NOT NULL, status TEXT NOT NULL,
    collected INTEGER NOT NULL DEFAULT 0, wiped INTEGER NOT NULL DEFAULT 0, batches INTEGER NOT NULL DEFAULT 0,
    note TEXT NOT NULL DEFAULT '', completed_at_ms INTEGER, person BLOB
);
CREATE INDEX IF NOT EXISTS requests_open ON requests (number) WHERE status IN ('pending', 'in_progress');
CREATE TABLE IF NOT EXISTS connections (
    request INTEGER, connection TEXT, state TEXT NOT NULL, detail TEXT NOT NULL, tries INTEGER NOT NULL,
    PRIMARY KEY (request, connection)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS suppressed (
    number INTEGER PRIMARY KEY AUTOINCREMENT, request INTEGER NOT NULL, digest BLOB NOT NULL, reach INTEGER NOT NULL,
    is_customer_id INTEGER NOT NULL, UNIQUE (request, digest, reach)
);
CREATE INDEX IF NOT EXISTS suppressed_digest ON suppressed (digest);
"""
_COLUMNS: Final = (
    "number, id, source, regulation, group_id, submitted_at_ms, received_at_ms, status, collected, wiped, batches, "
    "note, completed_at_ms, person"
)


def lay_down(connection: sqlite3.Connection) -> bytes:
    """Make the salt of a new file, if nobody has. Returns the salt."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'salt'").fetchone()
    if row is None:
        connection.execute("INSERT OR IGNORE INTO meta VALUES ('epoch', 0), ('salt', ?)", (token_bytes(32),))
        row = connection.execute("SELECT value FROM meta WHERE name = 'salt'").fetchone()
    return bytes(row[0])


class ErasureFile:
    """The file, open. Every change is durable on return. Several processes may have it open."""

    def __init__(self, folder: Path) -> None:
        """Open it, and make it if it is not there. Raises `LogError`."""
        self.path = folder / FILE
        self._connection = open_precious(self.path, SCHEMA, holds="who was erased", mend=MEND)
        self.salt = lay_down(self._connection)

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether anybody was ever to be erased here."""
        return (folder / FILE).exists()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    # --- asking for an erasure ---

    def add(
        self,
        id: str,
        identities: Identities,
        *,
        source: str,
        regulation: str = "gdpr",
        group_id: str | None = None,
        submitted_at_ms: int | None = None,
    ) -> Erasure:
        """Store a request; from now on the person is suppressed. Raises `Conflict`."""
        requested = {kind: list(values) for kind, values in identities.items()}
        hashes = Hashes(self.salt)
        now = int(time.time() * 1000)
        wanted = {hashes.digest(identifier) for identifier in identifiers_of_person(requested)}
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            if self._find("id = ?", id):
                raise Conflict(f"there is a request {id} already.", id)
            for other in self.unfinished():
                if wanted == self._digests(other.number, Reach.REQUESTED):
                    raise Conflict(f"the erasure of the same identities is under way: {other.id}.", other.id)
            number = self._connection.execute(
                "INSERT INTO requests (id, source, regulation, group_id, submitted_at_ms, received_at_ms, status, "
                "person) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (id, source, regulation, group_id, submitted_at_ms or now, now, Status.PENDING.value,
                 msgspec.json.encode(Person(requested))),
            ).lastrowid  # fmt: skip
            assert number is not None
            self._suppress(number, [(one, Reach.REQUESTED) for one in identifiers_of_person(requested)])
        return self.get(id)

    def _digests(self, number: int, reach: Reach) -> set[bytes]:
        rows = self._connection.execute(
            "SELECT digest FROM suppressed WHERE request = ? AND reach = ?", (number, int(reach))
        )
        return {row[0] for row in rows}

    def _suppress(self, number: int, identifiers: Iterable[tuple[Identifier, Reach]]) -> None:
        hashes = Hashes(self.salt)
        self._connection.executemany(
            "INSERT OR IGNORE INTO suppressed (request, digest, reach, is_customer_id) VALUES (?, ?, ?, ?)",
            [(number, hashes.digest(one), int(reach), one[0] == CUSTOMER_ID) for one, reach in identifiers],
        )

    def cancel(self, id: str) -> Erasure:
        """Forget a request that is still pending, and suppress its person no longer. Raises `Conflict`, `KeyError`."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            found = self.get(id)
            if found.status is not Status.PENDING:
                raise Conflict(f"the request {id} is {found.status} and cannot be cancelled.", id)
            self._connection.execute(
                "UPDATE requests SET status = ?, person = NULL, completed_at_ms = ? WHERE number = ?",
                (Status.CANCELLED.value, int(time.time() * 1000), found.number),
            )
            self._unsuppress([found.number])
        self.wipe()
        return self.get(id)

    def allow_again(self, identities: Identities) -> int:
        """Lift the suppression of everybody whom one of these identities names, with all that belongs to them.

        Returns how many erasures it concerned. Raises `Conflict` if one of them is not complete yet.
        """
        hashes = Hashes(self.salt)
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            numbers: set[int] = set()
            for identifier in identifiers_of_person(identities):
                rows = self._connection.execute(
                    "SELECT request FROM suppressed WHERE digest = ?", (hashes.digest(identifier),)
                )
                numbers |= {row[0] for row in rows}
            for erasure in self.unfinished():
                if erasure.number in numbers:
                    raise Conflict(f"the erasure {erasure.id} is not complete yet.", erasure.id)
            self._unsuppress(numbers)
        return len(numbers)

    def _unsuppress(self, numbers: Iterable[int]) -> None:
        self._connection.executemany("DELETE FROM suppressed WHERE request = ?", [(number,) for number in numbers])
        self._connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'epoch'")

    # --- looking ---

    def get(self, id: str) -> Erasure:
        """One request. Raises `KeyError`."""
        found = self._find("id = ?", id)
        if not found:
            raise KeyError(id)
        return found[0]

    def unfinished(self) -> list[Erasure]:
        """Requests that are pending or in progress, oldest first."""
        return self._find("status IN ('pending', 'in_progress')")

    def listing(self, limit: int = 100) -> list[Erasure]:
        """The newest requests, oldest first."""
        return self._find("number > (SELECT coalesce(max(number), 0) - ? FROM requests)", limit)

    def of_group(self, group_id: str) -> list[Erasure]:
        """The requests of one `group_id`, oldest first."""
        return self._find("group_id = ?", group_id)

    def _find(self, condition: str, *arguments: object) -> list[Erasure]:
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM requests WHERE {condition} ORDER BY number",  # noqa: S608  # our own words
            arguments,
        ).fetchall()
        return [self._erasure(row) for row in rows]

    def _erasure(self, row: Sequence[object]) -> Erasure:
        values = dict(zip(_COLUMNS.split(", "), row, strict=True))
        connections = self._connection.execute(
            "SELECT connection, state, detail, tries FROM connections WHERE request = ? ORDER BY connection",
            (values["number"],),
        )
        values["connections"] = {name: AtConnection(State(s), detail, tries) for name, s, detail, tries in connections}
        person = values["person"]
        values["person"] = None if person is None else msgspec.json.decode(person, type=Person)  # type: ignore[call-overload]  # a blob
        return msgspec.convert(values, Erasure, strict=False)

    # --- carrying out ---

    def start(self, numbers: Iterable[int]) -> None:
        """Pending requests are in progress from now on."""
        self._change(
            "UPDATE requests SET status = 'in_progress' WHERE number = ? AND status = 'pending'",
            [(number,) for number in numbers],
        )

    def collected(self, erasure: Erasure, found: Identities, shared: Identities | None = None) -> None:
        """Keep what was found of the person, and suppress that as well. `shared` is what partners do not get."""
        assert erasure.person is not None
        person = Person(erasure.person.requested, _lists(found), _lists(shared or {}))
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(
                "UPDATE requests SET person = ?, collected = 1 WHERE number = ?",
                (msgspec.json.encode(person), erasure.number),
            )
            self._suppress(erasure.number, identifiers_beyond(person))

    def wiped(self, numbers: Mapping[int, int]) -> None:
        """Request to the number of batches erased for it; log, held records and dead letters are free of them."""
        self._change(
            "UPDATE requests SET wiped = 1, note = '', batches = batches + ? WHERE number = ?",
            [(batches, number) for number, batches in numbers.items()],
        )

    def note(self, number: int, note: str) -> None:
        """Say what stands in the way."""
        self._change("UPDATE requests SET note = ? WHERE number = ?", [(note, number)])

    def at_connection(self, number: int, name: str, at: AtConnection) -> None:
        """Write down how far a request has come at a connection."""
        self._change(
            "INSERT OR REPLACE INTO connections VALUES (?, ?, ?, ?, ?)",
            [(number, name, at.state.value, at.detail, at.tries)],
        )

    def complete(self, numbers: Iterable[int]) -> None:
        """These people are erased everywhere: forget who they were."""
        now = int(time.time() * 1000)
        self._change(
            "UPDATE requests SET status = 'completed', completed_at_ms = ?, person = NULL WHERE number = ?",
            [(now, number) for number in numbers],
        )
        self.wipe()

    def _change(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(statement, rows)

    def wipe(self) -> None:
        """Leave no older page of the file anywhere. Raises `LogError` if it is too busy."""
        try:
            wipe_free_pages(self._connection)
        except sqlite3.OperationalError as error:
            raise LogError(f"older pages of {self.path} are not overwritten yet: {error}") from error


def _lists(identities: Identities) -> dict[str, list[str]]:
    return {kind: list(values) for kind, values in identities.items()}


def opened(folder: Path) -> closing[ErasureFile]:
    """The file for a `with` block."""
    return closing(ErasureFile(folder))
