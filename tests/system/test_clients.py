"""mParticle's real Python and Node clients: what they send arrives, what they are answered they understand."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mparticle
import mparticle.rest
import pytest
from mparticle.models.user_attribute_change_event import UserAttributeChangeEvent
from router_clevertap.sandbox import SandboxServer

from .configurations import to_clevertap, to_file
from .daemon import Daemon, names

NODE = Path(__file__).parent / "node"
NOT_FORWARDED = {"kit_only": 4, "unsupported_event_type": 7}
"""Of one of each typed event, by the code of the skip."""


@pytest.fixture
def python_client() -> Iterator[Callable[[Daemon], Any]]:
    """`python_client(daemon)`: an `EventsApi`. What it remembers of a 429, for all instances, is wiped."""

    def make(daemon: Daemon, secret: str = "secret") -> Any:
        configuration = mparticle.Configuration()
        configuration.host = f"{daemon.url}/v2"
        configuration.api_key, configuration.api_secret = "key", secret
        return mparticle.EventsApi(configuration)

    yield make
    mparticle.rest.RESTClientObject.latest_response = None


def batch_of(user: str, *events: Any) -> Any:
    batch = mparticle.Batch()
    batch.environment = "development"
    batch.user_identities = mparticle.UserIdentities()
    batch.user_identities.customerid = user
    batch.events = list(events)
    return batch


def app_event(name: str, **attributes: Any) -> Any:
    event = mparticle.AppEvent(name, "navigation")
    event.custom_attributes = attributes
    return event


def purchase() -> Any:
    product = mparticle.Product(id="sku-1", name="Shoe", price=9.5, quantity=2)
    action = mparticle.ProductAction("purchase")
    action.transaction_id, action.total_amount, action.products = "order-1", 19, [product]
    return mparticle.CommerceEvent(product_action=action, currency_code="EUR")


def one_of_each() -> list[Any]:
    transition = mparticle.ApplicationStateTransitionEvent.create_install_event()
    return [
        app_event("From Python", colour="blue"),
        mparticle.ScreenViewEvent(screen_name="Home"),
        purchase(),
        UserAttributeChangeEvent(user_attribute_name="plan", new="gold", old="silver"),
        mparticle.SessionStartEvent(),
        mparticle.SessionEndEvent(session_duration_ms=1000),
        mparticle.FirstRunEvent(),
        mparticle.CrashReportEvent(class_name="ValueError", message="boom", severity="fatal"),
        mparticle.BreadcrumbEvent(session_number=1, label="crumb"),
        mparticle.NetworkPerformanceEvent(http_verb="GET", url="https://example.com", time_elapsed=5),
        mparticle.ProfileEvent(profile_name="a", profile_event_type="login"),
        transition,
        mparticle.OptOutEvent(is_opted_out=True),
        mparticle.PushMessageEvent(
            push_message_token="token", push_message_type="received", application_state="background"
        ),
        mparticle.PushRegistrationEvent(register=True, registration_token="token"),
    ]


def uploads_until_refused(client: Any, upload: Any) -> tuple[int, Any]:
    """How many times the batch was taken, and the exception of the time that it was not."""
    for accepted in range(500):
        try:
            client.upload_events(upload)
        except mparticle.rest.ApiException as refused:
            return accepted, refused
    raise AssertionError("nothing was refused")


def skips(daemon: Daemon) -> dict[str, float]:
    return {code: daemon.metric("router_skipped_records_total", code=code) for code in NOT_FORWARDED}


def test_the_python_client_sends_one_of_each_event_and_what_is_forwarded_arrives(
    router: Callable[..., Daemon], sandbox: SandboxServer, python_client: Callable[..., Any]
) -> None:
    daemon = router(to_clevertap(sandbox.url))
    client = python_client(daemon)
    client.upload_events(batch_of("py-single", *one_of_each()))
    sandbox.wait_for(4)
    daemon.settled()
    records = sandbox.records(identity="py-single")
    assert names(records) == ["From Python", "Screen Viewed Home", "Charged"]
    assert records[0]["record"]["evtData"] == {"colour": "blue"}
    assert records[2]["record"]["evtData"]["Amount"] == 19
    profile = sandbox.profile(identity="py-single")
    assert profile is not None
    assert profile["profileData"]["plan"] == "gold"
    daemon.metric_reaches("router_skipped_records_total", 11)
    assert skips(daemon) == NOT_FORWARDED


def test_the_python_client_sends_batches_in_bulk(
    router: Callable[..., Daemon], sandbox: SandboxServer, python_client: Callable[..., Any]
) -> None:
    client = python_client(router(to_clevertap(sandbox.url)))
    client.bulk_upload_events([batch_of(f"py-bulk-{n}", app_event(f"Bulk {n}")) for n in range(100)])
    sandbox.wait_for(100)
    assert [names(sandbox.records(identity=f"py-bulk-{n}")) for n in range(100)] == [[f"Bulk {n}"] for n in range(100)]
    with pytest.raises(mparticle.rest.ApiException) as refused:
        client.bulk_upload_events([batch_of("py-bulk", app_event("Bulk")) for _ in range(101)])
    assert refused.value.status == 400


def test_the_python_client_understands_429_and_keeps_still_as_long_as_it_is_told(
    router: Callable[..., Daemon], tmp_path: Path, python_client: Callable[..., Any]
) -> None:
    daemon = router(to_file(tmp_path / "archive", max_batches_per_second=2))
    client = python_client(daemon)
    accepted, throttled = uploads_until_refused(client, batch_of("py-429", app_event("Fast")))
    assert throttled.status == 429
    assert throttled.headers["Retry-After"].isdigit()
    assert throttled.headers["X-mp-rate-limit-exceeded"] == "feed"
    assert json.loads(throttled.body)["errors"][0]["code"] == "TOO_MANY_REQUESTS"
    with pytest.raises(mparticle.rest.ApiException):
        client.upload_events(batch_of("py-429", app_event("Fast")))  # raised by the client, which sends nothing
    assert len(daemon.stored()) == accepted


def test_the_python_client_understands_a_wrong_secret(
    router: Callable[..., Daemon], tmp_path: Path, python_client: Callable[..., Any]
) -> None:
    client = python_client(router(to_file(tmp_path / "archive")), secret="wrong")
    with pytest.raises(mparticle.rest.ApiException) as refused:
        client.upload_events(batch_of("py-403", app_event("Hello")))
    assert refused.value.status == 403
    assert json.loads(refused.value.body)["errors"][0]["code"] == "FORBIDDEN"


def test_the_python_client_understands_503(
    router: Callable[..., Daemon], tmp_path: Path, python_client: Callable[..., Any]
) -> None:
    config = to_file(tmp_path / "no" / "archive")
    daemon = router({**config, "log": {"max_bytes": "1MiB"}})  # nothing leaves it: the archive has no folder
    client = python_client(daemon)
    accepted, full = uploads_until_refused(client, batch_of("py-503", app_event("Fill", text="x" * 4000)))
    assert full.status == 503
    assert full.headers["Retry-After"].isdigit()
    assert json.loads(full.body)["errors"][0]["code"] == "SERVICE_UNAVAILABLE"
    assert len(daemon.stored()) == accepted


@pytest.fixture(scope="session")
def why_no_node() -> str | None:
    """Why the Node client cannot run; None if it can. Installs it when it is not there."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None:
        return "there is no node"
    if not (NODE / "node_modules" / "mparticle").is_dir():
        if npm is None:
            return "there is no npm to install the client mparticle"
        install = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(install, cwd=NODE, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            return f"npm ci failed: {done.stderr[-500:]}"
    return None


def test_the_node_client_sends_one_of_each_event_single_and_in_bulk_and_what_is_forwarded_arrives(
    router: Callable[..., Daemon],
    sandbox: SandboxServer,
    why_no_node: str | None,
    skip_or_fail: Callable[[str], None],
) -> None:
    if why_no_node is not None:
        skip_or_fail(why_no_node)
    daemon = router(to_clevertap(sandbox.url))
    done = subprocess.run(
        ["node", "send.js", f"{daemon.url}/v2", "key", "secret"],
        cwd=NODE, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "NODE_OPTIONS": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"single": 202, "bulk": 202, "bad": 400}
    sandbox.wait_for(5)
    records = sandbox.records(identity="node-single")
    assert names(records) == ["From Node", "Screen Viewed Home", "Charged"]
    assert records[0]["record"]["evtData"] == {"colour": "green"}
    assert [names(sandbox.records(identity=f"node-bulk-{n}")) for n in (1, 2)] == [["Bulk 1"], ["Bulk 2"]]
    daemon.settled()
    daemon.metric_reaches("router_skipped_records_total", 11)
    assert skips(daemon) == NOT_FORWARDED
