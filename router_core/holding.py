"""The hold lane: records to be tried again, with all later ones of their users behind them, in order."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from router_core.log.port import HeldRecord
from router_core.records import Record
from router_core.retry import LONGEST_RETRY_AFTER


@dataclass(frozen=True, kw_only=True)
class HoldLimits:
    """Beyond either, a lane takes up nothing new until the hold lane has drained."""

    users: int = 10_000
    records: int = 100_000


class HoldLane:
    """What one lane holds; a copy in memory of what the log has on file."""

    def __init__(self, limits: HoldLimits) -> None:
        self._limits = limits
        self._count = 0
        self.users: dict[int, dict[str, HeldRecord]] = {}
        """User hash to the user's held records by id, oldest first. Never an empty entry."""

    def load(self, records: Iterable[HeldRecord]) -> None:
        """Take in what the log holds, in its order."""
        for record in records:
            self._add(record)

    @property
    def full(self) -> bool:
        """Whether a limit is reached."""
        return len(self.users) >= self._limits.users or self._count >= self._limits.records

    def behind(self, record: Record) -> HeldRecord:
        """A new record of a held user, put behind the others; it is not on file before its group is settled."""
        held = HeldRecord(
            seq=record.context.seq,
            record_id=record.id,
            user=record.context.user,
            not_before_ms=0,
            attempts=0,
            code="behind",
            message="waits for an earlier record of its user",
        )
        self._add(held)
        return held

    def seconds_to_due(self, now: float) -> float:
        """Seconds until the first user's turn; infinite if nobody is held."""
        heads = (next(iter(records.values())) for records in self.users.values())
        return min((0.0 if _is_due(head, now) else head.not_before_ms / 1000 - now for head in heads), default=math.inf)

    def take_due(self, now: float, limit: int) -> Sequence[HeldRecord]:
        """The held records of users whose turn has come, in order per user, about `limit` in all."""
        due: list[HeldRecord] = []
        for records in self.users.values():
            if len(due) >= limit:
                break
            due.extend(islice(_in_turn(records.values(), now), limit - len(due)))
        return due

    def settle(self, released: Collection[str], held: Sequence[HeldRecord]) -> None:
        """Bring memory in line with a settlement that is on file."""
        if released:
            gone = set(released)
            for user, records in list(self.users.items()):
                for record_id in gone & records.keys():
                    del records[record_id]
                    self._count -= 1
                if not records:
                    del self.users[user]
        for record in held:
            self._add(record)

    def _add(self, record: HeldRecord) -> None:
        records = self.users.setdefault(record.user, {})
        self._count += record.record_id not in records
        records[record.record_id] = record  # a known id keeps its place in the order


def _in_turn(records: Iterable[HeldRecord], now: float) -> Iterator[HeldRecord]:
    """Those of one user whose time has come, from the first on. Put-off ones go without the untried ones behind them:
    were one put off again, these would overtake it."""
    tried: bool | None = None
    for record in records:
        if not _is_due(record, now) or tried not in (None, record.attempts > 0):
            return
        tried = record.attempts > 0
        yield record


def _is_due(record: HeldRecord, now: float) -> bool:
    """Also if the wait is longer than any that we hand out: then the clock was wrong before, or is now."""
    left = record.not_before_ms / 1000 - now
    return left <= 0 or left > LONGEST_RETRY_AFTER + 60
