"""`router explain`, the installed command: the requests to CleverTap, and each value that was changed or left out."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CONFIG = """
inputs: {shop: {source: events_api, platform: data_feeds, key: k, secret: s}}
outputs: {ct: {destination: clevertap, settings: {account_id: A, passcode: explain-passcode}}}
connections: {shop_to_ct: {input: shop, output: ct}}
"""
KNOWN = {
    "user_identities": {"customer_id": "c-1", "email": "nonsense"},
    "user_attributes": {"plan": "gold", "Age": "old"},
    "events": [
        {"event_type": "custom_event", "data": {"event_name": "Stayed", "custom_attributes": {"a": None, "b.": 1}}},
        {"event_type": "user_attribute_change", "data": {"user_attribute_name": "plan", "new": "gold"}},
        {"event_type": "opt_out", "data": {"is_opted_out": True}},
    ],
}  # fmt: skip
UNKNOWN = {
    "integration_attributes": {"135": {"clevertap_id_integration_setting": "ghost"}},
    "events": [{"event_type": "custom_event", "data": {"event_name": "A"}}],
}


def test_explain_shows_what_is_sent_and_all_that_was_changed_or_left_out(tmp_path: Path) -> None:
    config = tmp_path / "router.yaml"
    config.write_text(CONFIG)
    command = [str(Path(sys.executable).parent / "router"), "explain", "-", "-c", str(config), "--json"]
    batches = "\n".join(json.dumps(batch) for batch in (KNOWN, UNKNOWN))
    done = subprocess.run(command, input=batches, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "explain-passcode" not in done.stdout
    found: dict[str, Any] = json.loads(done.stdout)["connections"][0]
    assert {one["record"]: one["code"] for one in found["records"] if one["code"]} == {"1.2": "kit_only"}
    call, rest = found["requests"]
    assert [item.get("evtName", item["type"]) for item in call["body"]["d"]] == ["profile", "mP Stayed"]
    assert [(note["record"], note["code"], note["key"]) for note in call["notes"]] == [
        ("1.p", "invalid_field", "email"),
        ("1.p", "invalid_field", "Age"),
        ("1.0", "restricted_name", "Stayed"),
        ("1.0", "empty_value", "a"),
        ("1.0", "key_changed", "b."),
    ]
    not_sent = {one["record"]: (one["code"], one["notes"]) for one in rest["not_sent"]}
    ghost = {"record": "2.0", "code": "bad_clevertap_id", "key": "clevertap_id_integration_setting"}
    assert not_sent == {"1.1": ("same_profile", []), "2.0": ("no_identity", [ghost])}
