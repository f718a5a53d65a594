"""Every accepted record in arrival order, the last `maximum` of them."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from router_clevertap.sandbox.person import Person


@dataclass(frozen=True, slots=True)
class Entry:
    """One accepted record. `raw` is its JSON as the server holds it (see the checks' conversions)."""

    n: int
    """Number of the record since start or reset, from 1, without gaps."""
    at: float
    """Arrival, epoch seconds."""
    call: int
    """Number of the upload call since start or reset, from 1."""
    account: str
    kind: str
    raw: bytes
    person: Person

    def as_json(self) -> dict[str, Any]:
        """For orjson: `n`, `at`, `call`, `account`, `kind`, `record`, and `erased: true` after a deletion."""
        shown = {
            "n": self.n,
            "at": self.at,
            "call": self.call,
            "account": self.account,
            "kind": self.kind,
            "record": orjson.Fragment(self.raw),
        }
        return shown | {"erased": True} if self.person.current().erased else shown

    def as_shown(self) -> dict[str, Any]:
        """As `as_json`, but what was erased is not shown again: its `record` is None."""
        shown = self.as_json()
        return shown | {"record": None} if "erased" in shown else shown


class Ledger:
    """Entries with growing numbers; the oldest fall out. Holds JSON instead of objects, to stay small."""

    def __init__(self, maximum: int) -> None:
        self._entries: deque[Entry] = deque(maxlen=maximum)
        self._last_n = 0

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, *, at: float, call: int, account: str, kind: str, raw: bytes, person: Person) -> Entry:
        self._last_n += 1
        entry = Entry(self._last_n, at, call, account, kind, raw, person)
        self._entries.append(entry)
        return entry

    def after(self, n: int) -> Iterator[Entry]:
        """The entries kept with a number above `n`, oldest first."""
        oldest = self._last_n - len(self._entries) + 1
        return islice(self._entries, max(0, n + 1 - oldest), None)

    def newest(self) -> Iterator[Entry]:
        """The entries kept, newest first."""
        return reversed(self._entries)
