"""Six inputs, one for each platform that CleverTap takes, three connections each: what arrives, and what is counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from router_clevertap.sandbox import SandboxServer

from .configurations import PATIENCE, SERVER_INPUT
from .daemon import Daemon, until

PLATFORMS = ("android", "data_feeds", "ios", "smart_tv", "tvos", "web")
ACCOUNTS = {"SHOP": "pass", "SHOP-TEST": "test-pass", "SHOP-NAVIGATION": "navigation-pass"}
CONSENT = {"gdpr": {"marketing": {"consented": True, "timestamp_unixtime_ms": 1}}}
GAID, IDFA = "38400000-8cf0-11bd-b23e-10b96e40000d", "6D92078A-8246-4BA4-AE5B-76104861E7DC"


@pytest.fixture(scope="module")
def accounts() -> Iterator[SandboxServer]:
    with SandboxServer(process=True, accounts=ACCOUNTS) as server:
        yield server


def account(url: str, name: str) -> dict[str, Any]:
    return {"account_id": name, "passcode": ACCOUNTS[name], "base_url": url}


def configuration(url: str, archive: Path) -> dict[str, Any]:
    inputs: dict[str, Any] = {
        name: {**SERVER_INPUT, "platform": name, "key": name, "secret": f"{name}-secret"} for name in PLATFORMS
    }
    inputs["data_feeds"]["custom_feed"] = "Orders"
    inputs["ios"]["att_status"] = "not_determined"
    connections: dict[str, Any] = {}
    for name in PLATFORMS:
        connections[f"{name}_archive"] = {
            "input": name, "output": "archive",
            "filters": {
                "event_names": {"block": ["Password Changed"]},
                "event_attributes": {"block": {"*": ["email"], "Viewed": ["shade"]}},
                "user_attributes": {"block": ["ssn"]},
                "user_identities": {"allow": ["customer_id"]},
            },
        }  # fmt: skip
        connections[f"{name}_shop"] = {"input": name, "output": "shop"}
        connections[f"{name}_navigation"] = {
            "input": name, "output": "navigation",
            "filters": {"event_types": {"allow": ["navigation"]}},
            "rules": {
                "environments": ["production"],
                "consent": {"on_match": "include", "any_of": [{"gdpr": "Marketing"}]},
                **({"minimum_app_version": "2.0"} if name != "data_feeds" else {}),
            },
        }  # fmt: skip
    return {
        "delivery": PATIENCE,
        "inputs": inputs,
        "outputs": {
            "archive": {"destination": "file", "settings": {"path": str(archive)}},
            "shop": {
                "destination": "clevertap",
                "settings": account(url, "SHOP"),
                "development_settings": account(url, "SHOP-TEST"),
            },
            "navigation": {"destination": "clevertap", "settings": account(url, "SHOP-NAVIGATION")},
        },
        "connections": connections,
    }


def upload(name: str, user: str, *, kind: str = "navigation", **fields: Any) -> dict[str, Any]:
    """One event and a profile update."""
    attributes = {"colour": "red", "email": "ann@shop.example"}
    data = {"event_name": name, "custom_event_type": kind, "custom_attributes": attributes}
    return {
        "events": [{"event_type": "custom_event", "data": data}],
        "user_identities": {"customer_id": user, "email": f"{user}@shop.example"},
        "user_attributes": {"plan": "gold", "ssn": "078-05-1120"},
        "application_info": {"application_version": "2.10"},
        "device_info": {"ios_advertising_id": IDFA, "android_advertising_id": GAID, "limit_ad_tracking": True},
        "consent_state": CONSENT,
        "environment": "production",
        **fields,
    }


def test_what_arrives_and_what_is_counted(
    router: Callable[..., Daemon], accounts: SandboxServer, tmp_path: Path
) -> None:
    archive = tmp_path / "archive.ndjson"
    daemon = router(configuration(accounts.url, archive))
    for name in PLATFORMS:
        for uploaded in (
            upload("Viewed", name),
            upload("Password Changed", name),
            upload("Ordered", name, kind="transaction"),
            upload("Tested", name, environment="development"),
            upload("Refused", name, consent_state={"gdpr": {"marketing": {"consented": False}}}),
            upload("Dated", name, application_info={"application_version": "1.9"}),
        ):
            assert daemon.post(uploaded, auth=(name, f"{name}-secret")).status_code == 202

    each = len(PLATFORMS)
    until("the archive has all", lambda: len(lines(archive)) == each * (6 + 5) or None)
    counts = {
        "SHOP": dict.fromkeys(("Viewed", "Password Changed", "Ordered", "Refused", "Dated"), each),
        "SHOP-TEST": {"Tested": each},
        "SHOP-NAVIGATION": {"Viewed": each, "Password Changed": each, "Dated": 1},  # a feed has no app, and no version
    }
    for shop, wanted in counts.items():
        until(f"{shop} has its events", lambda shop=shop, wanted=wanted: arrived(accounts, shop) == wanted or None)  # type: ignore[misc]

    # Nothing of a blocked name is anywhere in the archive; nor is an id that may not be used, or a name's value.
    text = archive.read_text()
    assert not [word for word in ("Password", "078-05", "ssn", "@shop.example", GAID, IDFA) if word in text]
    feeds = Counter(
        line["data"]["custom_attributes"].get("mParticle Source Feed") for line in lines(archive) if "data" in line
    )
    assert feeds == {None: 25, "Orders": 5}

    # Two records a batch: the event and the profile update.
    for name in PLATFORMS:
        skipped = {
            (f"{name}_archive", "filtered_event_name"): 1,
            (f"{name}_shop", "other_environment"): 2,
            (f"{name}_shop.development", "other_environment"): 10,
            (f"{name}_navigation", "filtered_event_type"): 1,
            (f"{name}_navigation", "other_environment"): 2,
            (f"{name}_navigation", "no_consent"): 2,
            (f"{name}_navigation", "old_app_version"): 0 if name == "data_feeds" else 2,
        }
        for (connection, code), count in skipped.items():
            daemon.metric_reaches("router_skipped_records_total", count, connection=connection, code=code)
            assert daemon.metric("router_skipped_records_total", connection=connection, code=code) == count
    assert daemon.letters() == []


def lines(archive: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in archive.read_text().splitlines()] if archive.exists() else []


def arrived(accounts: SandboxServer, name: str) -> dict[str, int]:
    found = [entry["record"]["evtName"] for entry in accounts.records(account=name) if entry["kind"] == "event"]
    return dict(Counter(found))


def test_wrong_credentials_for_development_do_not_hold_up_production(
    router: Callable[..., Daemon], accounts: SandboxServer, tmp_path: Path
) -> None:
    accounts.reset()
    config = configuration(accounts.url, tmp_path / "archive.ndjson")
    config["outputs"]["shop"]["development_settings"]["passcode"] = "wrong"
    daemon = router(config)
    for uploaded in (upload("Tested", "ann", environment="development"), upload("Viewed", "ann")):
        assert daemon.post(uploaded, auth=("web", "web-secret")).status_code == 202
    until("it is paused", lambda: daemon.connection("web_shop.development")["state"] == "paused")
    until("Viewed arrives", lambda: arrived(accounts, "SHOP") == {"Viewed": 1} or None)
    assert daemon.connection("web_shop")["state"] == "ok"
    assert arrived(accounts, "SHOP-TEST") == {}
