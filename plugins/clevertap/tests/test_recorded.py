"""Batches that mParticle's Python, Node and web clients really sent, and what CleverTap gets of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from router_clevertap.mapping import RecordMapper
from router_clevertap.sandbox import SandboxServer
from router_clevertap.settings import ClevertapConnection

from router_core.events import Platform, batch_from_json
from router_core.records import BatchContext, records_from_batch

CASES = json.loads((Path(__file__).parent / "data" / "recorded_batches.json").read_text())


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in CASES])
def test_a_recorded_batch_is_mapped(case: dict[str, Any]) -> None:
    assert _mapped(case) == case["expected"]


def test_cleverTap_takes_all_that_was_mapped() -> None:
    items = [item for case in CASES for record in case["expected"] for item in record["items"]]
    with SandboxServer() as sandbox:
        answer = sandbox.upload(*items).json()
    assert answer == {"status": "success", "processed": len(items), "unprocessed": []}


def _mapped(case: dict[str, Any]) -> list[dict[str, Any]]:
    mapper = RecordMapper(ClevertapConnection(**case["settings"]))
    context = BatchContext(seq=7, input="recorded", platform=Platform.WEB, received_at_ms=1_700_000_100_000)
    records, malformed = records_from_batch(batch_from_json(json.dumps(case["batch"]).encode()), context)
    assert malformed == []
    entries = []
    for record in records:
        mapped = mapper.map(record)
        entry: dict[str, Any] = {"record": record.id, "items": list(mapped.items)}
        if mapped.outcome is not None:
            entry["outcome"] = [mapped.outcome.disposition, mapped.outcome.code]
        if mapped.notes:
            entry["notes"] = [list(note) for note in mapped.notes]
        entries.append(entry)
    return entries
