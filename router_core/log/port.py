"""The event log as the rest of core sees it: a port behind which engines stand.

What a caller may rely on, whatever the engine:

- `append` returns when the batches would survive a power cut; an append that raises kept nothing.
- Batches of one user are in one partition, and a lease reads them in the order of their acceptance.
- A batch is read again after a crash until a settlement that covers it has returned; never after.
- Records that were held or parked come back, by `held` and `letters`, until they are released or dropped.
- Each connection has cursors of its own; nothing that one does delays another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

PARTITIONS: Final = 64
"""Fixed for ever: a user's partition must not change while its records wait."""


def user_hash(user_key: str) -> int:
    """Stable 63-bit hash of a user key."""
    return int.from_bytes(blake2b(user_key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1


def partition_of(user: int) -> int:
    """The partition of a user hash."""
    return user % PARTITIONS


class NewBatch(msgspec.Struct, frozen=True, gc=False):
    """One batch to append."""

    input: str
    user: int
    records: int
    """Records in it: events, plus one if it updates the profile."""
    body: bytes
    """As received."""
    headers: bytes = b""
    """JSON object of the request headers to keep, or empty."""
    request_key: bytes | None = None
    """Hash of (input, source request id); a key that was appended within the deduplication time is a duplicate."""


class StoredBatch(msgspec.Struct, frozen=True, gc=False):
    """One batch as the log holds it. An empty `body` means that its user was erased."""

    seq: int
    """Position in the log; rises with acceptance."""
    input: str
    user: int
    records: int
    total: int
    """Records accepted at this input up to and with this batch."""
    received_at_ms: int
    headers: bytes
    body: bytes


class HeldRecord(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A record that is to be tried again later, or that waits behind such a record of its user."""

    seq: int
    record_id: str
    user: int
    not_before_ms: int
    """Unix milliseconds; 0 for records that only wait for their user's turn."""
    attempts: int
    code: str
    message: str


class DeadLetter(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A record that was rejected or expired. The batch it came in is kept with it."""

    connection: str
    seq: int
    record_id: str
    event_type: str
    user: int
    disposition: str
    code: str
    message: str
    attempts: int
    received_at_ms: int
    parked_at_ms: int
    replaying: bool = False


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """How all that a lease has read so far ended: done, but for what is named here. Letters are durable first."""

    held: Sequence[HeldRecord] = ()
    """Added, or replaced by record id."""
    released: Collection[str] = ()
    """Record ids that leave the hold lane."""
    letters: Sequence[tuple[DeadLetter, StoredBatch]] = ()
    replayed: Collection[str] = ()
    """Record ids whose dead letter is delivered or skipped now, and goes."""


class ConnectionStats(msgspec.Struct, frozen=True, kw_only=True):
    """What waits at one connection."""

    depth: int
    """Records that are accepted and not settled, at most a group per lane too many."""
    oldest_ms: int | None
    """Acceptance of the oldest batch that is not settled, Unix milliseconds."""
    held: int
    letters: int


class LogStats(msgspec.Struct, frozen=True, kw_only=True):
    """The log as a whole."""

    head: int
    """`seq` of the newest batch."""
    bytes: int
    full: bool
    damaged: int
    """Files found damaged; what could be read of them was delivered, and they are kept."""
    connections: Mapping[str, ConnectionStats]


class Lease(ABC):
    """One reader's right to some partitions of one connection. A lane holds one."""

    @abstractmethod
    async def read(self, max_records: int, wait: float, *, oversize: bool = True) -> Sequence[StoredBatch]:
        """The next batches in order, as many as fit into `max_records` records.

        Waits up to `wait` seconds for the first. A first batch that is larger is given alone with `oversize`, else
        nothing is. Does not move the cursor: only `settle` does.
        """

    @abstractmethod
    async def settle(self, settlement: Settlement) -> None:
        """Move the cursor to where `read` has come; durable on return. Raises `LogFull`: then try again later."""

    @abstractmethod
    async def held(self) -> Sequence[HeldRecord]:
        """What this lease's partitions hold, in order of acceptance; called once at the start."""

    @abstractmethod
    async def replays(self) -> Sequence[tuple[DeadLetter, StoredBatch]]:
        """Dead letters of these partitions that somebody asked to replay, oldest first."""

    @property
    @abstractmethod
    def unsettled(self) -> bool:
        """Whether `read` has come further than the last settlement, be it only past batches of other leases."""


class EventLog(ABC):
    """The port. One process appends, one or more read; both open the same log by its settings."""

    @abstractmethod
    async def open(self, inputs: Collection[str], connections: Mapping[str, str]) -> None:
        """Make ready. `connections` maps connection to input; a new connection starts at the end of the log."""

    @abstractmethod
    async def append(self, batches: Sequence[NewBatch]) -> Sequence[bool]:
        """Durable on return; one flag per batch, False for a duplicate, which is as durable as its first.

        Raises `LogFull`.
        """

    @abstractmethod
    def lease(self, connection: str, partitions: range) -> Lease:
        """The right to read these partitions for this connection from where the last settlement left off."""

    @abstractmethod
    async def fetch(self, seqs: Collection[int]) -> Mapping[int, StoredBatch]:
        """Batches by position, for held records; those that are gone are missing."""

    @abstractmethod
    async def seek(self, connection: str, seq: int) -> None:
        """Set all cursors of a connection so that the batch after `seq` is read next, by leases made from now on."""

    @abstractmethod
    async def erase(self, is_theirs: Callable[[bytes], bool]) -> int:
        """Overwrite everything of some people: what waits, is held, is parked, or only kept. Returns how many batches.

        `is_theirs` says of a body whether its batch goes. It is asked once for each kept copy of a batch, from a
        thread, at a pace that leaves deliveries their time; saying no to all makes this a walk through all that is
        kept. What it raises ends the walk and comes through. May be repeated after any error or crash. Raises
        `LogDamaged`, when all the rest is done, if a damaged file may hold more, and `LogError`.
        """

    @abstractmethod
    async def letters(
        self, connection: str | None = None, *, after: int = 0, limit: int = 100
    ) -> Sequence[tuple[int, DeadLetter]]:
        """Dead letters with their number, oldest first."""

    @abstractmethod
    async def letter(self, number: int) -> tuple[DeadLetter, StoredBatch] | None:
        """One dead letter with its batch."""

    @abstractmethod
    async def replay_letters(self, numbers: Collection[int] | None, connection: str | None = None) -> int:
        """Ask for another delivery of these letters (None: of all, or of all of one connection). Returns how many."""

    @abstractmethod
    async def drop_letters(self, numbers: Collection[int] | None, connection: str | None = None) -> int:
        """Delete these letters for good. Returns how many."""

    @abstractmethod
    async def stats(self) -> LogStats:
        """Cheap enough to call every second, whatever waits."""

    @abstractmethod
    async def close(self) -> None:
        """Commit what is under way and let go of all files."""
