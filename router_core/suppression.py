"""Who is not to be kept or delivered any more, because somebody asked for the person's erasure.

Both workers hold this set in memory and look once in a while whether the file has a newer one. It knows people only by
salted hashes, so it can stay when all else of an erasure is gone. Without an erasure there is no file, and asking
costs one attribute.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

from router_core.errors import LogError
from router_core.identifiers import CUSTOMER_ID, USER_TYPES, Identifier, Identifiers, identifiers_in, identifiers_of
from router_core.log.files import open_precious
from router_core.log.port import StoredBatch
from router_core.logs import logger
from router_core.records import Record

CODE: Final = "suppressed"
"""The code of records that are skipped for this reason."""
REASON: Final = "an erasure was asked for this user"


class Reach(IntEnum):
    """In which batches an identifier stands for its person."""

    REQUESTED = 0
    """In all: the request names it."""
    FOUND = 1
    """Found beside a requested one. Not in a batch with the customer id of somebody else."""
    DEVICE = 2
    """Found, but of a device, which others may use: only in batches without any user identity."""


class Known(NamedTuple):
    """One hash: whose it is, and in which batches."""

    request: int
    reach: Reach


class Hashes:
    """Identifiers of people by request, as salted hashes."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._known: dict[bytes, list[Known]] = {}
        self._customers: dict[int, set[bytes]] = {}

    def __bool__(self) -> bool:
        return bool(self._known)

    def digest(self, identifier: Identifier) -> bytes:
        """Sixteen bytes that stand for an identifier in this data folder, and nowhere else."""
        text = f"{identifier[0]}\0{identifier[1]}".encode("utf-8", "surrogatepass")
        return blake2b(text, digest_size=16, key=self._salt).digest()

    def add(self, digest: bytes, request: int, reach: Reach, *, is_customer_id: bool) -> None:
        """Take in one hash."""
        self._known.setdefault(digest, []).append(Known(request, reach))
        if is_customer_id:
            self._customers.setdefault(request, set()).add(digest)

    def whose(self, found: Identifiers, received: Identifiers | None = None) -> set[int]:
        """The requests whose person a batch with these identifiers is about.

        `received`: what it named as it came in, if `found` is what transforms and filters made of it. Whose customer it
        is, and whether it is of somebody unknown on a device, is then told by that: a filter may have taken it out.
        """
        own = [self.digest(identifier) for identifier in found.own]
        hits = [known for digest in own for known in self._known.get(digest, ())]
        hits += [
            known
            for identifier in found.in_events
            for known in self._known.get(self.digest(identifier), ())
            if known.reach is Reach.REQUESTED
        ]
        if not hits:
            return set()
        people = {known.request for known in hits if known.reach is Reach.REQUESTED}
        if all(known.request in people for known in hits):
            return people
        named = found.own if received is None else [*found.own, *received.own]
        customers = {self.digest(identifier) for identifier in named if identifier[0] == CUSTOMER_ID}
        by_device = received is None and not any(kind in USER_TYPES for kind, _ in named)
        for request, reach in hits:
            fits = by_device if reach is Reach.DEVICE else not self._is_another(request, customers)
            if fits:
                people.add(request)
        return people

    def _is_another(self, request: int, customers: set[bytes]) -> bool:
        """Whether a batch names a customer, and not the one of this request."""
        known = self._customers.get(request)
        return bool(customers and known) and customers.isdisjoint(known or ())


class Suppression:
    """The set of one process, in step with the file `erasures.db`."""

    def __init__(self, path: Path | None = None) -> None:
        """Without a path nobody is ever suppressed."""
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._data_version = -1
        self._epoch = -1
        self._through = 0
        self._hashes: Hashes | None = None
        self._failing = False
        self.version = 0
        """Rises with every change of the set."""
        self.active = False
        """Whether anybody is suppressed at all."""
        self.met = False
        """Whether a batch of somebody suppressed came out of the log, where an erasure should have left none."""

    def open(self) -> None:
        """Read the file for the first time. Raises `LogError`: without it we would deliver what must not be."""
        if self._path is not None and self._path.exists():
            self._read()

    def refresh(self) -> bool:
        """Look whether the file says anything new. If it cannot be read now, the set stays as it is: returns False."""
        if self._path is None or (self._connection is None and not self._path.exists()):
            return True
        try:
            self._read()
            self._failing = False
        except (LogError, sqlite3.Error) as error:
            if not self._failing:
                logger(part="suppression").error("suppression_not_read", error=str(error))
            self._failing = True
        return not self._failing

    def _read(self) -> None:
        connection = self._opened()
        data_version = connection.execute("PRAGMA data_version").fetchone()[0]
        if data_version == self._data_version:
            return
        connection.execute("BEGIN")
        try:
            meta = dict(connection.execute("SELECT name, value FROM meta"))
            epoch = int(meta["epoch"])
            is_new = epoch != self._epoch or self._hashes is None
            rows = connection.execute(
                "SELECT number, digest, request, reach, is_customer_id FROM suppressed WHERE number > ? "
                "ORDER BY number",
                (0 if is_new else self._through,),
            ).fetchall()
        finally:
            connection.execute("COMMIT")
        # Nothing can fail any more: after an error above, the set before stays as it was.
        hashes = Hashes(meta["salt"]) if is_new or self._hashes is None else self._hashes
        through = rows[-1][0] if rows else 0 if is_new else self._through
        for _, digest, request, reach, is_customer_id in rows:
            hashes.add(digest, request, Reach(reach), is_customer_id=bool(is_customer_id))
        changed = is_new or bool(rows)
        self._hashes, self._epoch, self._through = hashes, epoch, through
        self._data_version = data_version
        self.active = bool(self._hashes)
        self.version += changed

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            from router_core.erasurefile import MEND, SCHEMA, lay_down

            assert self._path is not None
            self._connection = open_precious(self._path, SCHEMA, holds="who was erased", mend=MEND)
            lay_down(self._connection)
        return self._connection

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- asking ---

    def covers_body(self, body: bytes) -> bool:
        """Whether a batch as received is of somebody suppressed. One that nobody can read is not."""
        if self._hashes is None or not self.active:
            return False
        found = identifiers_in(body)
        return found is not None and bool(self._hashes.whose(found))

    def suppressed_of(self, records: Iterable[Record], batches: Mapping[int, StoredBatch]) -> set[str]:
        """The ids of those records that are of somebody suppressed, as they are and as they were received.

        `batches` holds their batches by position: filters may have taken from a record what tells whose it is. Records
        of one batch come one behind the other; it is looked at once.
        """
        if self._hashes is None or not self.active:
            return set()
        found: set[str] = set()
        seq, batch, covered, is_covered = -1, None, False, False
        received = _NOBODY
        for record in records:
            if record.context.seq != seq:
                seq, batch = record.context.seq, None
                received = identifiers_in(batches[seq].body) or _NOBODY
                covered = bool(self._hashes.whose(received))
            if record.batch is not batch:
                batch = record.batch
                is_covered = covered or bool(self._hashes.whose(identifiers_of(batch), received))
            if is_covered:
                found.add(record.id)
        return found


_NOBODY: Final = Identifiers([], [])


def hashes_of(salt: bytes, people: Mapping[int, Iterable[tuple[Identifier, Reach]]]) -> Hashes:
    """The hashes of some requests, from their plain identifiers."""
    made = Hashes(salt)
    for request, identifiers in people.items():
        for identifier, reach in identifiers:
            made.add(made.digest(identifier), request, reach, is_customer_id=identifier[0] == CUSTOMER_ID)
    return made


def holds_any(values: Iterable[str]) -> Callable[[bytes], bool]:
    """Whether a body that is no JSON has one of these values in it, as it is or as JSON would write it."""
    wanted = {form.encode("utf-8", "surrogatepass").lower() for value in values if len(value) > 3
              for form in (value, json.dumps(value)[1:-1])}  # fmt: skip

    def holds(body: bytes) -> bool:
        lower = body.lower()
        return any(value in lower for value in wanted)

    return holds
