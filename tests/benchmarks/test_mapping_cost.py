"""A guard on what mapping costs, as a ratio to a reference measured in the same moments: the machine's speed varies."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Final

from router_clevertap.mapping import RecordMapper
from router_clevertap.plan import plan_of
from router_clevertap.settings import ClevertapConnection

from router_core.events import Platform, batch_from_json
from router_core.records import BatchContext, records_from_batch

from .bodies import Shape, bodies

_MOST: Final = 2.5
"""Times `json.loads` of the same batches, user attributes included. Measured: 1.3; it was 1.5 with half the rules."""


def test_mapping_costs_little_more_than_reading_json() -> None:
    wires = bodies(Shape(3, 1, attributes=True), 256)
    records = []
    for number, wire in enumerate(wires):
        context = BatchContext(
            seq=number, input="bench", platform=Platform.DATA_FEEDS, received_at_ms=1_700_000_000_000, user=number
        )
        records += records_from_batch(batch_from_json(wire), context)[0]
    mapper = RecordMapper(ClevertapConnection())
    assert len([item for call in plan_of(records, mapper, 1000).calls for item in call.items]) == 4 * len(wires)
    ratios = [_cpu(lambda: plan_of(records, mapper, 1000)) / _cpu(lambda: _read(wires)) for _ in range(9)]
    assert min(ratios) < _MOST, ratios


def _read(wires: list[bytes]) -> None:
    for wire in wires:
        json.loads(wire)


def _cpu(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
