"""Exact counts of what arrived, for one account or for all."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Tally:
    """Counts since start or reset. They stay exact when the records themselves fall out of memory."""

    calls: int = 0
    """Uploads with good credentials, whatever became of them."""
    dry_runs: int = 0
    bytes: int = 0
    """Bytes of the bodies of uploads that were processed."""
    other_calls: Counter[str] = field(default_factory=Counter)
    """Calls of the other APIs by name."""
    answers: Counter[str] = field(default_factory=Counter)
    """Answers of all APIs by HTTP status; `cut` counts connections closed by a fault."""
    records: Counter[str] = field(default_factory=Counter)
    """Accepted records by kind."""
    refused: Counter[int] = field(default_factory=Counter)
    """Refused records by code."""
    damage: Counter[str] = field(default_factory=Counter)
    """Silent damage of accepted records by code."""
    at_once: Counter[str] = field(default_factory=Counter)
    """The most calls that were under way at the same time, by API; counted for accounts only."""
    first_arrival: float | None = None
    last_arrival: float | None = None
    """Arrival of the first and the last accepted record, epoch seconds."""

    def arrived(self, records: Counter[str], refused: Counter[int], size: int, at: float) -> None:
        """Count one processed upload of `size` bytes."""
        self.bytes += size
        self.records += records
        self.refused += refused
        if records:
            self.first_arrival = self.first_arrival or at
            self.last_arrival = at

    def as_json(self) -> dict[str, Any]:
        kinds = {"event": 0, "profile": 0, "token": 0}
        return {
            "calls": self.calls,
            "dry_runs": self.dry_runs,
            "other_calls": dict(self.other_calls),
            "answers": dict(self.answers),
            "bytes": self.bytes,
            "accepted": self.records.total(),
            "records": kinds | self.records,
            "refused": {str(code): count for code, count in sorted(self.refused.items())},
            "damage": dict(sorted(self.damage.items())),
            "at_once": dict(self.at_once),
            "first_arrival": self.first_arrival,
            "last_arrival": self.last_arrival,
        }
