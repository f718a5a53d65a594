"""No value of a payload and no secret in anything that the router says: planted canaries, looked for everywhere."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from router_clevertap.sandbox import SandboxServer

from .configurations import to_clevertap, with_archive
from .daemon import Daemon, until
from .distributions import distribution

CANARY = "kanarie"
SECRETS = {"input": "kanarie-input-secret", "token": "kanarie-admin-token", "wrong": "kanarie-wrong-secret"}
ECHO = """
    from router_core.components import (
        ConfigurationSettings, ConnectionSettings, Destination, DestinationType, Limits,
    )
    from router_core.hookspecs import hookimpl

    class Echo(Destination):
        async def deliver(self, records):
            raise ValueError("cannot take " + records[0].context.body.decode())

    @hookimpl
    def router_destinations():
        return [DestinationType(
            name="echo", title="Echo", summary="Says what it got.", create=lambda context: Echo(),
            configuration_settings=ConfigurationSettings, connection_settings=ConnectionSettings, limits=Limits(),
        )]
"""
"""A plugin whose errors repeat what it was given."""
_numbers = count()


def canary() -> str:
    """A value like no other."""
    return f"{CANARY}-{next(_numbers)}"


def full_batch() -> dict[str, object]:
    """A value at every place that takes one."""
    product = {"id": canary(), "name": canary(), "price": 1, "quantity": 1, "attributes": {"a": canary()}}
    data = {"custom_attributes": {"a": canary()}, "custom_flags": {"f": canary()}, "session_uuid": canary()}
    return {
        "events": [
            {"event_type": "custom_event", "data": {"event_name": canary(), "custom_event_type": "other", **data}},
            {"event_type": "screen_view", "data": {"screen_name": canary(), **data}},
            {"event_type": "commerce_event", "data": {"product_action": {
                "action": "purchase", "transaction_id": canary(), "total_amount": 1, "products": [product]}, **data}},
            {"event_type": "user_attribute_change", "data": {
                "user_attribute_name": "a", "new": canary(), "old": canary()}},
            {"event_type": "crash_report", "data": {"message": canary(), "stack_trace": canary()}},
            {"event_type": "push_registration", "data": {"register": True, "registration_token": canary()}},
            {"event_type": "custom_event", "data": {"event_name": canary(), "timestamp_unixtime_ms": [canary()]}},
        ],
        "user_identities": {"customer_id": canary(), "email": f"{canary()}@example.com", "other": canary()},
        "user_attributes": {"$FirstName": canary(), "list": [canary()], "$Mobile": canary()},
        "device_info": {"android_advertising_id": canary(), "device_manufacturer": canary()},
        "application_info": {"application_name": canary()},
        "integration_attributes": {"135": {"clevertap_id_integration_setting": canary()}},
        "mp_deviceid": canary(),
        "ip": canary(),
        "source_request_id": canary(),
        "unknown": canary(),
    }  # fmt: skip


def bad_bodies() -> list[bytes]:
    """Refused, each with a value near the fault."""
    text = canary()
    return [
        f'{{"user_attributes": {{"a": "{text}" x'.encode(),
        f'{{"user_attributes": {{"a": "{text}", "a": "{text}"}}}}'.encode(),
        f'{{"user_attributes": {{"a": "{text}\\u0000"}}}}'.encode(),
        f'{{"user_attributes": "{text}"}}'.encode(),
        f'{{"mpid": ["{text}"]}}'.encode(),
        f'{{"events": "{text}"}}'.encode(),
        f'{{"events": ["{text}"]}}'.encode(),
        f'{{"events": [{{"event_type": {{"{text}": 1}}}}]}}'.encode(),
        f'{{"events": [{{"event_type": "custom_event", "data": {{"event_name": ["{text}"]}}}}]}}'.encode(),
        f'{{"deleted_user_attributes": "{text}"}}'.encode(),
        f'{{"integration_attributes": {{"135": "{text}"}}}}'.encode(),
        f'{{"environment": ["{text}"], "consent_state": "{text}", "events": [{{"event_type": "opt_out"}}]}}'.encode(),
        text.encode("utf-16"),
        b"\xff" + text.encode(),
    ]


def test_no_value_and_no_secret_is_in_any_log_line_or_admin_page(
    new_daemon: Callable[..., Daemon], sandbox: SandboxServer, tmp_path: Path
) -> None:
    passcode = tmp_path / "passcode"
    passcode.write_text("kanarie-wrong-passcode")
    config = with_archive(to_clevertap(sandbox.url, passcode=f"${{file:{passcode}}}"), tmp_path / "archive")
    config["inputs"] = {"server": {**config["inputs"]["server"], "secret": SECRETS["input"]}}
    config["outputs"]["echo"] = {"destination": "echo"}
    config["outputs"]["nowhere"] = {"destination": "file", "settings": {"path": str(tmp_path / "no" / "folder")}}
    config["connections"] |= {
        "echo": {"input": "server", "output": "echo"},
        "nowhere": {"input": "server", "output": "nowhere"},
    }
    config |= {
        "admin": {"token": SECRETS["token"]},
        "telemetry": {"log_level": "debug", "log_format": "json"},
    }
    daemon = new_daemon(config, env=distribution(tmp_path / "plugins", "router-echo", ECHO))
    config["admin"]["port"] = daemon.admin_port
    daemon.configure(admin=config["admin"])
    daemon.authorize(SECRETS["token"])
    daemon.start()
    auth = ("key", SECRETS["input"])

    def send(**headers: str) -> None:
        bulk = [full_batch(), *(json.loads(body) for body in bad_bodies() if _is_json(body)), full_batch()]
        assert daemon.post(bulk, path="/v2/bulkevents", auth=auth, **headers).status_code == 202

    send(x_mp_kits=canary(), traceparent=canary(), x_other=canary())
    until("paused", lambda: daemon.connection()["state"] == "paused", told=daemon.output)
    answers = [daemon.post(body, auth=auth) for body in bad_bodies()]
    answers += [daemon.post(b"[" + body + b"]", path="/v2/bulkevents", auth=auth) for body in bad_bodies()]
    answers += [
        daemon.post(b"{}", auth=(canary(), SECRETS["input"])),
        daemon.post(b"{}", auth=("key", SECRETS["wrong"])),
        daemon.post(b"{}", auth=None, authorization=f"Bearer {SECRETS['input']}"),
        daemon.post(b"{}", path=f"/v2/{canary()}", auth=auth),
        daemon.post(b"{}", content_encoding=canary(), auth=auth),
    ]
    for fault in (
        {"status": 500, "body": {"status": "fail", "error": f"cannot store {canary()}"}},
        {"status": 400, "body": {"status": "fail", "error": f"cannot parse {canary()}"}},
        {"status": 429, "body": {"error": canary()}, "retry_after": 0},
        {"not_json": True},
        {"cut": "mid_answer"},
        {"partial": {"positions": [1, 2], "code": 513, "error": f"bad value {canary()}"}},
        {"partial": {"positions": [1], "code": 555, "error": f"bad value {canary()}"}},
    ):
        sandbox.fault(**fault)
    passcode.write_text("demo-passcode")
    for _ in range(3):
        send()
        time.sleep(0.2)
    for name in ("main", "archive", "echo"):
        daemon.settled(name)
    assert daemon.readiness()[0] == 200
    pages = [daemon.readiness(verbose=True)[1], json.dumps(daemon.state()), daemon.metrics()]
    assert daemon.stop() == 0
    assert {"bad_batch", "connection_paused", "call_failed", "dead_letters"} <= {
        line["event"] for line in daemon.lines()
    }
    said = {"log": daemon.output(), "admin pages": "\n".join(pages)}
    said["answers"] = "\n".join(f"{answer.headers} {answer.text}" for answer in answers)
    found = {where: [line for line in text.splitlines() if CANARY in line][:5] for where, text in said.items()}
    assert not any(found.values()), json.dumps(found, indent=2)
    assert CANARY in (tmp_path / "archive").read_text(), "the canaries did fly"


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True
