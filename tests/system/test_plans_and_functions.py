"""A running router with a data plan at its input, and a function of a user's that never comes back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .configurations import to_file
from .daemon import Daemon

PLAN = """\
events:
  custom_event:
    Bought: {properties: {price: {type: number}}}
    Hangs: {}
    Spins: {}
"""
FUNCTION = """\
import time

def patient(record):
    name = record.event.event_name
    if name == "Hangs":
        time.sleep(3600)
    while name == "Spins":
        pass
    return record
"""


def event(name: str, **attributes: Any) -> dict[str, Any]:
    return {
        "event_type": "custom_event",
        "data": {"event_name": name, "custom_event_type": "other", "custom_attributes": attributes},
    }


def test_the_plan_counts_exactly_and_a_function_that_never_ends_stops_nobody(
    tmp_path: Path, router: Callable[..., Daemon]
) -> None:
    folder = tmp_path / "router"  # of the YAML file: relative paths start there
    folder.mkdir()
    (folder / "plan.yaml").write_text(PLAN)
    (folder / "never_ends.py").write_text(FUNCTION)
    policies = {"unknown_events": "park", "unknown_attributes": "strip", "wrong_values": "refuse"}
    config = to_file(tmp_path / "main.ndjson", data_plan={"path": "plan.yaml", **policies})
    config["outputs"]["other"] = {"destination": "file", "settings": {"path": str(tmp_path / "other.ndjson")}}
    config["connections"]["other"] = {"input": "server", "output": "other"}
    settings = {"function": "never_ends:patient", "time_limit": "200ms"}
    config["transforms"] = {"patient": {"transform": "python", "settings": settings}}
    config["connections"]["main"]["transforms"] = ["patient"]
    daemon = router(config, folder=folder)

    answer = daemon.post({"events": [event("Bought", price="much")]})
    assert answer.status_code == 400
    assert "(at $.events[0].data.custom_attributes.price)" in answer.text

    sent = [event("Hangs"), event("Bought", price=1, colour="red"), event("Spins"), event("Nobody planned it")]
    for number in range(3):
        daemon.send({"user_identities": {"customer_id": f"user-{number}"}, "events": sent})
    for name in ("main", "other"):
        daemon.settled(name)
    counts = {"plan_unknown_attribute": "strip", "plan_unknown_event": "park"}
    for name in ("main", "other"):
        for code, policy in counts.items():
            daemon.metric_reaches("router_data_plan_breaches_total", 3, connection=name, code=code, policy=policy)
    daemon.metric_reaches("router_data_plan_refusals_total", 1, input="server", code="plan_wrong_value")
    daemon.metric_reaches("router_transform_failures_total", 6, connection="main", code="transform_timeout")
    codes = Counter(code for _, code, _ in daemon.letters())  # of both connections; a profile update has no name
    assert codes == {"plan_unknown_event": 6, "transform_error": 3, "transform_timeout": 6}
    lines = [json.loads(line) for line in (tmp_path / "main.ndjson").read_text().splitlines()]
    assert [line["data"]["custom_attributes"] for line in lines if line["event_type"] == "custom_event"] == [
        {"price": 1}
    ] * 3
    assert daemon.stop() == 0
