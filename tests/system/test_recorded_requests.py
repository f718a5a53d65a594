"""Requests recorded from the real clients, replayed byte for byte: all are taken, and each record ends as promised."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from router_clevertap.sandbox import SandboxServer

from .configurations import to_clevertap
from .daemon import Daemon, running, until
from .distributions import OBSERVER, distribution

DATA = Path(__file__).parent.parent / "data"
FILES = {client: sorted((DATA / client).glob("*.json")) for client in ("mparticle-python", "mparticle-node")}
END_OF_TYPE = {
    "application_state_transition": "kit_only",
    "opt_out": "kit_only",
    "push_message": "kit_only",
    "push_registration": "kit_only",
    "session_start": "unsupported_event_type",
    "session_end": "unsupported_event_type",
    "crash_report": "unsupported_event_type",
    "first_run": "unsupported_event_type",
    "breadcrumb": "unsupported_event_type",
    "network_performance": "unsupported_event_type",
    "profile": "unsupported_event_type",
}
"""Why records of a type are not sent; the other types are."""


class Replay:
    """A router with an observer that writes down how records end."""

    def __init__(self, daemon: Daemon, sandbox: SandboxServer, observed: Path) -> None:
        self.daemon = daemon
        self.sandbox = sandbox
        self._observed = observed
        self._read = 0

    def send(self, recorded: dict[str, Any]) -> bytes:
        """The recorded request on a socket, as it was; returns the first line of the answer."""
        head = [f"{recorded['method']} {recorded['path']} HTTP/1.1"]
        head += [f"{name}: {value}" for name, value in recorded["headers"]]
        with socket.create_connection(("127.0.0.1", self.daemon.port), timeout=10) as connection:
            connection.sendall("\r\n".join([*head, "", ""]).encode() + recorded["body_text"].encode())
            return connection.makefile("rb").readline()

    def ends(self, records: int) -> Counter[str]:
        """How the records of the last request ended: `delivered`, or the code of the skip, the retry, the rejection."""
        return until(f"{records} records settled", lambda: self._ends(records))

    def _ends(self, records: int) -> Counter[str] | None:
        found: Counter[str] = Counter()
        lines = self._observed.read_text().splitlines() if self._observed.exists() else []
        for line in lines[self._read :]:
            report = json.loads(line)
            found["delivered"] += report["delivered"]
            for kind in ("skipped", "retried", "rejected"):
                found.update(report[kind])
        if found.total() < records:
            return None
        self._read = len(lines)
        return found


@pytest.fixture(scope="module", params=["mparticle-python", "mparticle-node"])
def replay(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, _sandbox_process: SandboxServer
) -> Iterator[Replay]:
    """A router for each client: both send the same request id once."""
    folder = tmp_path_factory.mktemp(request.param)
    env = distribution(folder / "plugins", "router-observer", OBSERVER) | {"OBSERVED": str(folder / "observed")}
    config = to_clevertap(_sandbox_process.url)
    config["inputs"] = {"server": {**config["inputs"]["server"], "key": "test-key", "secret": "test-secret"}}
    with running(Daemon(folder, config, env)) as daemon:
        yield Replay(daemon, _sandbox_process, folder / "observed")


def test_all_recordings_are_here() -> None:
    assert len(FILES["mparticle-python"]) == 33
    assert len(FILES["mparticle-node"]) == 24


def test_every_recorded_request_is_taken_and_each_record_ends_as_its_type_says(replay: Replay) -> None:
    client = "mparticle-python" if "python" in replay.daemon.folder.name else "mparticle-node"
    wrong = {file.stem: found for file in FILES[client] if (found := _difference(json.loads(file.read_text()), replay))}
    assert not wrong, json.dumps(wrong, indent=2, default=str)
    assert replay.daemon.letters() == []


def _difference(recorded: dict[str, Any], replay: Replay) -> dict[str, Any]:
    """Send one recording; returns what came out other than it should, empty if nothing did."""
    batches = recorded["body_json"] if isinstance(recorded["body_json"], list) else [recorded["body_json"]]
    events = [(one, event) for one in batches for event in one.get("events") or []]
    profiles = [one for one in batches if one.get("user_identities") or one.get("user_attributes")]
    replay.sandbox.reset()
    answer = replay.send(recorded)
    expected = Counter(_expected_end(event) for _, event in events) + Counter(delivered=len(profiles))
    found: dict[str, tuple[Any, Any]] = {
        "answer": (answer[:13], b"HTTP/1.1 202 "),
        "ends": (+replay.ends(expected.total()), expected),
    }
    kept = replay.daemon.stored()[-len(batches) :]
    found["kept as received"] = (all(one in recorded["body_text"].encode() for one in kept), True)
    found["kept"] = ([json.loads(one) for one in kept], batches)
    records = replay.sandbox.records()
    arrived = sorted((e["record"]["identity"], e["record"]["evtName"]) for e in records if e["kind"] == "event")
    wanted = sorted(
        (one["user_identities"]["customerid"], name) for one, event in events for name in _names_at_clevertap(event)
    )
    found["arrived"] = (arrived, wanted)
    people = {e["record"]["identity"] for e in records if e["kind"] == "profile"}
    found["profiles"] = (people, {one["user_identities"]["customerid"] for one in profiles})
    found["refused by CleverTap"] = (replay.sandbox.refusals(), [])
    found["damaged in silence"] = (replay.sandbox.damage(), [])
    return {name: pair for name, pair in found.items() if pair[0] != pair[1]}


def _type_of(event: dict[str, Any]) -> str:
    if "class_name" in event["data"]:
        return "crash_report"  # which the Python client calls a commerce event
    kind: str = event["event_type"]
    return kind


def _expected_end(event: dict[str, Any]) -> str:
    return END_OF_TYPE.get(_type_of(event), "delivered")


def _names_at_clevertap(event: dict[str, Any]) -> list[str]:
    kind, data = _type_of(event), event["data"]
    if kind == "custom_event":
        return [data["event_name"]]
    if kind == "screen_view":
        return [f"Screen Viewed {data['screen_name']}"]
    if kind != "commerce_event":
        return []
    if data.get("product_impressions"):
        return ["eCommerce - Impression - Item"]
    action = (data.get("product_action") or data["promotion_action"])["action"].replace("wish_list", "wishlist")
    if action == "purchase":
        return ["Charged"]
    item = f"eCommerce - {action} - Item"
    return [item, f"eCommerce - {action} - Total"] if action == "refund" else [item]


def test_a_crash_report_that_calls_itself_a_commerce_event_is_no_purchase(replay: Replay) -> None:
    client = "mparticle-python"
    recorded = json.loads((DATA / client / "crash_report.json").read_text())
    replay.sandbox.reset()
    assert recorded["body_json"]["events"][0]["event_type"] == "commerce_event"
    assert replay.send(recorded).startswith(b"HTTP/1.1 202 ")
    assert replay.ends(2) == {"delivered": 1, "unsupported_event_type": 1}
    assert replay.sandbox.stats()["records"]["event"] == 0


def test_a_batch_without_events_and_identities_is_kept_and_has_nothing_to_deliver(replay: Replay) -> None:
    recorded = json.loads((DATA / "mparticle-python" / "raw_dict_batch.json").read_text())
    before = replay.daemon.stored()
    assert replay.send(recorded).startswith(b"HTTP/1.1 202 ")
    assert replay.daemon.stored() == [*before, recorded["body_text"].encode()]
    replay.daemon.settled()
