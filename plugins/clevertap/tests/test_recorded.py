"""Every batch that mParticle's Python, Node and web clients sent when recorded, and what CleverTap gets of it.

`expected` is compared with what mapping makes now; after a deliberate change `python tests/test_recorded.py` in the
plugin's folder writes it anew, to be read in the difference.
"""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from router_clevertap.mapping import RecordMapper
from router_clevertap.sandbox import SandboxServer, SandboxSettings, damage_of
from router_clevertap.sandbox.record_checks import record_refusal
from router_clevertap.settings import ClevertapConnection

from router_core.events import Platform, batch_from_json
from router_core.records import BatchContext, records_from_batch

FILE = Path(__file__).parent / "data" / "recorded_batches.json"
CASES = json.loads(FILE.read_text())
CLIENTS = {"mparticle-python": 34, "mparticle-node": 25, "web-sdk": 58}


def mapped(case: dict[str, Any]) -> list[dict[str, Any]]:
    """What becomes of each record of a recorded batch."""
    mapper = RecordMapper(ClevertapConnection(**case["settings"]))
    is_web = case["name"].startswith("web-sdk")
    context = BatchContext(
        seq=7,
        input="recorded",
        platform=Platform.WEB if is_web else Platform.DATA_FEEDS,
        channel="javascript" if is_web else "server_to_server",
        received_at_ms=1_700_000_100_000,
    )
    records, malformed = records_from_batch(batch_from_json(json.dumps(case["batch"]).encode()), context)
    assert malformed == []
    entries = []
    for record in records:
        found = mapper.map(record)
        entry: dict[str, Any] = {"record": record.id, "items": list(found.items)}
        if found.outcome is not None:
            entry["outcome"] = [found.outcome.disposition, found.outcome.code]
        if found.notes:
            entry["notes"] = [list(note) for note in found.notes]
        entries.append(entry)
    return entries


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in CASES])
def test_a_recorded_batch_is_mapped(case: dict[str, Any]) -> None:
    assert mapped(case) == case["expected"]


def test_all_recordings_are_here() -> None:
    counts = {client: sum(case["name"].startswith(client) for case in CASES) for client in CLIENTS}
    assert counts == CLIENTS


def test_cleverTap_takes_all_that_was_mapped_and_damages_nothing() -> None:
    items = [item for case in CASES for record in case["expected"] for item in record["items"]]
    assert [(item, damage) for item in items if (damage := damage_of(item))] == []
    assert [item for item in items if record_refusal(deepcopy(item), SandboxSettings())] == []
    with SandboxServer() as sandbox:
        answer = sandbox.upload(*items).json()
    assert answer == {"status": "success", "processed": len(items), "unprocessed": []}


if __name__ == "__main__":
    FILE.write_text(json.dumps([case | {"expected": mapped(case)} for case in CASES], indent=1, default=str) + "\n")
