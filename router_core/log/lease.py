"""One reader of the embedded engine: where it is, and what of the log is its."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from router_core.log.port import DeadLetter, HeldRecord, Lease, Settlement, StoredBatch

if TYPE_CHECKING:
    from router_core.log.embedded import EmbeddedLog

POLL_EVERY = 0.01


class EmbeddedLease(Lease):
    """See `Lease`."""

    def __init__(
        self,
        log: EmbeddedLog,
        connection: str,
        source: str,
        partitions: range,
        positions: Mapping[int, tuple[int, int]],
    ) -> None:
        self._log = log
        self.connection = connection
        self._source = source
        self.partitions = partitions
        self._settled = {partition: seq for partition, (seq, _) in positions.items()}
        self._furthest = max(self._settled.values(), default=0)
        self.position, self.total = min(positions.values(), default=(0, 0))
        self._settled_to = self.position

    @property
    def unsettled(self) -> bool:
        return self.position > self._settled_to

    async def read(self, max_records: int, wait: float, *, oversize: bool = True) -> Sequence[StoredBatch]:
        until = time.monotonic() + wait
        while await self._log.grown_beyond(self.position, until - time.monotonic()):
            after = self.position
            # Where lanes were cut in another way before, some partitions came further than the slowest of this lease.
            settled = self._settled if after < self._furthest else None
            try:
                rows, self.position, self.total = self._log.rows_for(
                    self._source, self.partitions, after, self.total, max_records, oversize, settled
                )
            except OSError:  # no file handles left, or the disk does not answer: passes
                if time.monotonic() > until:
                    return []
                await asyncio.sleep(POLL_EVERY)
                continue
            if rows or self.position == after:
                return rows
            await asyncio.sleep(0)  # what was there is of other leases
        return []

    async def settle(self, settlement: Settlement) -> None:
        position = self.position
        await self._log.settle(self, settlement)
        self._settled_to = position

    async def held(self) -> Sequence[HeldRecord]:
        return self._log.held(self.connection, self.partitions)

    async def replays(self) -> Sequence[tuple[DeadLetter, StoredBatch]]:
        return self._log.replays(self.connection, self.partitions)
