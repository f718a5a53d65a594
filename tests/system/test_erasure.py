"""Erasing a person from a running router: gone from its files and at the partner, and not back with later data."""

from __future__ import annotations

import json
import random
import subprocess
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import mparticle
import orjson
import pytest
from router_clevertap.sandbox import SandboxServer

from .configurations import to_clevertap, with_archive
from .daemon import ROUTER, Daemon, batch, names, until

ADA = {"customer_id": "ada-1815", "email": "ada@Example.com", "mobile_number": "+44 20 7946 0001"}
KIT = {"135": {"clevertap_id_integration_setting": "__ada0ada0ada0ada0ada0ada0ada0ada0"}}
STAMP = "6f0f0e0a-ada0-4ada-8ada-000000001815"
SPELLINGS = ("ada-1815", "example.com", "7946", "__ada0ada0ada0ada0ada0ada0ada0ada0", STAMP, "8123456789012345678")
"""Parts of Ada's values that nobody else has, in lower case."""

Start = Callable[..., Daemon]


def ada(name: str, **fields: Any) -> dict[str, Any]:
    return batch(name, user_identities=ADA, mp_deviceid=STAMP, mpid=8123456789012345678, **fields)


def command(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One of the commands, to its end."""
    return subprocess.run(
        [ROUTER, *arguments, "-c", daemon.file], capture_output=True, text=True, timeout=60, cwd=daemon.folder,
        check=False,
    )  # fmt: skip


def erasures(daemon: Daemon) -> list[dict[str, Any]]:
    done = command(daemon, "erasures", "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def completed(daemon: Daemon, count: int = 1, within: float = 40.0) -> list[dict[str, Any]]:
    def ready() -> list[dict[str, Any]] | None:
        found = erasures(daemon)
        return found if [one["status"] for one in found].count("completed") >= count else None

    return until(f"{count} erasures completed", ready, within, every=0.3, told=daemon.output)


def files_with(folder: Path, *parts: str, apart_from: str = "-") -> list[str]:
    """Files of a data folder that hold one of these texts, in any case."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith(apart_from):
            content = path.read_bytes().lower()
            found += [f"{path.name}: {part}" for part in parts if part.encode() in content]
    return found


def told_nobody(daemon: Daemon) -> None:
    lower = daemon.output().lower() + daemon.metrics().lower() + json.dumps(daemon.state()).lower()
    assert not [part for part in SPELLINGS if part in lower]


def test_an_erased_person_is_gone_everywhere_and_does_not_come_back(router: Start, sandbox: SandboxServer) -> None:
    daemon = router(with_archive(to_clevertap(sandbox.url), Path("archive.ndjson")))
    daemon.send(ada("Before", user_attributes={"$FirstName": "Ada"}), batch("Before", user="bob"))
    daemon.send({"mp_deviceid": STAMP, "integration_attributes": KIT, "events": ada("Anonymous")["events"]})
    daemon.send(ada("With kit", integration_attributes=KIT))
    daemon.settled()
    assert sandbox.profile(identity="ada-1815") is not None
    assert files_with(daemon.data, *SPELLINGS)

    done = command(daemon, "erase", "--yes", "customerid=ada-1815", "--wait")
    assert done.returncode == 0, done.stderr + daemon.output()
    assert "archive" in done.stdout.partition("Not reached")[2]
    (erasure,) = erasures(daemon)
    assert erasure["connections"]["main"]["state"] == "sent"
    assert erasure["connections"]["archive"]["state"] == "skipped"
    assert erasure["batches_erased"] == 3
    assert sandbox.profile(identity="ada-1815") is None
    assert sandbox.profile(object_id="__ada0ada0ada0ada0ada0ada0ada0ada0") is None
    assert sandbox.profile(identity="bob") is not None
    assert files_with(daemon.data, *SPELLINGS) == []

    seen = len(sandbox.records())
    daemon.send(ada("After"), batch("Other spelling", user_identities={"customerid": "ada-1815"}))
    daemon.send(batch("By mail alone", user_identities={"email": "ADA@example.com"}))
    daemon.send({"mp_deviceid": STAMP, "integration_attributes": KIT, "events": ada("Still anonymous")["events"]})
    daemon.send(batch("Shared device", user="carl", mp_deviceid=STAMP), batch("After", user="bob"))
    sandbox.wait_for(seen + 2)
    daemon.settled()
    assert sorted(names(sandbox.records()[seen:])) == ["After", "Shared device"]
    assert sandbox.profile(identity="ada-1815") is None
    daemon.metric_reaches("router_suppressed_batches_total", 4, input="server")
    assert files_with(daemon.data, *(part for part in SPELLINGS if part != STAMP)) == []
    told_nobody(daemon)

    assert command(daemon, "allow-again", "email=ada@example.com").returncode == 0
    until("heard again", lambda: _heard_again(daemon, sandbox), every=0.3)


def _heard_again(daemon: Daemon, sandbox: SandboxServer) -> bool:
    daemon.send(ada("Again"))
    time.sleep(0.3)
    return sandbox.profile(identity="ada-1815") is not None


def test_a_partner_that_was_down_does_not_get_the_erased_person_afterwards(
    router: Start, sandbox: SandboxServer
) -> None:
    daemon = router(to_clevertap(sandbox.url, delivery={"linger": "300ms"}))
    sandbox.fault(status=503, times="forever")
    sandbox.fault(status=503, times="forever", api="delete")
    daemon.send(ada("In hand"), batch("In hand", user="bob"), ada("In hand too"))
    until("calls fail", lambda: daemon.metric("router_calls_total", result="unavailable") >= 2)
    command(daemon, "erase", "--yes", "customer_id=ada-1815")
    until("wiped", lambda: not files_with(daemon.data, *SPELLINGS, apart_from="erasures.db"), 20, every=0.2,
          told=lambda: str(files_with(daemon.data, *SPELLINGS)) + daemon.output())  # fmt: skip
    assert erasures(daemon)[0]["status"] == "in_progress"
    sandbox.clear_faults()
    completed(daemon)
    daemon.settled()
    assert {entry["record"]["identity"] for entry in sandbox.records()} == {"bob"}
    daemon.metric_reaches("router_skipped_records_total", 4, code="suppressed")
    assert not files_with(daemon.data, *SPELLINGS)


def test_dead_letters_and_held_records_of_an_erased_person_are_wiped(router: Start, sandbox: SandboxServer) -> None:
    daemon = router(to_clevertap(sandbox.url))

    def refuse(identity: str, code: int) -> None:
        sandbox.clear_faults()
        refusal = {"identities": [identity], "code": code, "error": f"{identity} is refused"}
        sandbox.fault(partial=refusal, times="forever")

    for number, user in enumerate(("ada-1815", "bob"), 1):
        refuse(user, 513)
        daemon.send(ada("Bad") if user != "bob" else batch("Bad", user=user))
        daemon.settled()
        assert len(daemon.letters()) >= number
    letters = len(daemon.letters())
    refuse("ada-1815", 555)
    daemon.send(ada("Later"))
    until("held", lambda: daemon.held() >= 1)
    command(daemon, "erase", "--yes", "email= ADA@EXAMPLE.com ")
    completed(daemon)
    assert 0 < len(daemon.letters()) < letters
    assert not files_with(daemon.data, *SPELLINGS)
    sandbox.clear_faults()
    daemon.settled()
    assert "ada-1815" not in json.dumps(sandbox.records())


def test_a_request_over_opendsr_from_a_client_with_basic_credentials(new_daemon: Start, sandbox: SandboxServer) -> None:
    daemon = new_daemon(to_clevertap(sandbox.url))
    daemon.configure(admin={"port": daemon.admin_port, "token": "t0ken"})
    daemon.authorize("t0ken")
    daemon.start()
    daemon.send(ada("Before"), batch("Before", user="bob"))
    daemon.settled()
    url, id = f"http://127.0.0.1:{daemon.admin_port}/v3", str(uuid4())
    body = {
        "regulation": "gdpr", "subject_request_id": id, "subject_request_type": "erasure",
        "submitted_time": "2026-11-01T10:00:00Z", "api_version": "3.0", "group_id": "spring",
        "subject_identities": {"controller_customer_id": {"value": "ada-1815", "encoding": "raw"}},
    }  # fmt: skip
    assert httpx.post(f"{url}/requests", json=body, trust_env=False).status_code == 401
    with httpx.Client(auth=("workspace-key", "t0ken"), trust_env=False) as client:
        made = client.post(f"{url}/requests", json=body)
        assert made.status_code == 201, made.text
        assert orjson.loads(b64decode(made.json()["encoded_request"])) == body
        assert client.post(f"{url}/requests", json=body).status_code == 409

        def is_completed() -> bool:
            return bool(client.get(f"{url}/requests/{id}").json()["request_status"] == "completed")

        until("completed", is_completed, 40, every=0.3, told=daemon.output)
        (listed,) = client.get(f"{url}/requests", params={"group_id": "spring"}).json()
        assert listed["extensions"]["router_core"]["connections"]["main"]["status"] == "sent"
        assert client.delete(f"{url}/requests/{id}").status_code == 409
    assert sandbox.profile(identity="ada-1815") is None
    assert sandbox.profile(identity="bob") is not None
    told_nobody(daemon)


def test_mparticles_python_client_of_an_erased_person_hears_nothing_of_it(
    router: Start, sandbox: SandboxServer
) -> None:
    daemon = router(to_clevertap(sandbox.url))
    configuration = mparticle.Configuration()
    configuration.host = f"{daemon.url}/v2"
    configuration.api_key, configuration.api_secret = "key", "secret"
    upload = mparticle.Batch()
    upload.environment = "production"
    upload.user_identities = mparticle.UserIdentities()
    upload.user_identities.customerid = "ada-1815"
    upload.events = [mparticle.AppEvent("Read", "navigation")]
    client = mparticle.EventsApi(configuration)
    client.upload_events(upload)
    daemon.settled()
    assert sandbox.profile(identity="ada-1815") is not None
    assert command(daemon, "erase", "--yes", "customer_id=ada-1815", "--wait").returncode == 0
    client.upload_events(upload)
    daemon.metric_reaches("router_suppressed_batches_total", 1)
    daemon.settled()
    assert sandbox.profile(identity="ada-1815") is None
    assert not files_with(daemon.data, *SPELLINGS)


@pytest.mark.parametrize("victim", ["deliver", "all"])
def test_an_erasure_is_completed_whenever_the_router_is_killed(
    victim: str, new_daemon: Start, sandbox: SandboxServer
) -> None:
    chance = random.Random(1815)
    daemon = new_daemon(to_clevertap(sandbox.url)).start()
    for number in range(30):
        daemon.send(
            *(batch("Load", user=f"u{n}") for n in range(90)), ada(f"Mine {number}", integration_attributes=KIT)
        )
    daemon.settled()
    sandbox.fault(delay=0.5, api="delete", times=4)
    command(daemon, "erase", "--yes", "customer_id=ada-1815")
    for _ in range(5):
        time.sleep(chance.uniform(0.3, 2.6))
        if victim == "all":
            daemon.kill_all()
            daemon.launch()
        else:
            daemon.kill_worker("deliver")
    daemon.wait_ready(30)
    (erasure,) = completed(daemon)
    assert erasure["connections"]["main"]["state"] == "sent"
    assert not files_with(daemon.data, *SPELLINGS)
    assert sandbox.profile(identity="ada-1815") is None
    assert sandbox.profile(identity="u7") is not None
    assert len([body for body in daemon.stored() if body]) == 30 * 90
    daemon.send(ada("After"), batch("After", user="bob"))
    daemon.settled()
    assert sandbox.profile(identity="ada-1815") is None
