"""Several CleverTap accounts in one router, and CleverTap's own feed as an input: nothing mixes, nothing goes round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from router_clevertap.sandbox import SandboxServer

from .configurations import PATIENCE, SERVER_INPUT
from .daemon import Daemon, batch, names, until

ACCOUNTS = {"SHOP-EU": "eu-pass", "SHOP-IN": "in-pass"}


@pytest.fixture(scope="module")
def _two_accounts() -> Iterator[SandboxServer]:
    with SandboxServer(process=True, accounts=ACCOUNTS) as server:
        yield server


@pytest.fixture
def partner(_two_accounts: SandboxServer) -> SandboxServer:
    _two_accounts.reset()
    return _two_accounts


def account(url: str, name: str, **settings: Any) -> dict[str, Any]:
    passcode = settings.pop("passcode", ACCOUNTS[name])
    given = {"account_id": name, "passcode": passcode, "base_url": url, **settings}
    return {"destination": "clevertap", "settings": given}


def two_shops(url: str) -> dict[str, Any]:
    """Two inputs, two accounts; what comes in as `both` goes to both, by another User ID each."""
    inputs = {name: {**SERVER_INPUT, "key": name, "secret": f"{name}-secret"} for name in ("eu", "in", "both")}
    return {
        "delivery": PATIENCE,
        "inputs": inputs,
        "outputs": {"shop_eu": account(url, "SHOP-EU"), "shop_in": account(url, "SHOP-IN")},
        "connections": {
            "eu": {"input": "eu", "output": "shop_eu"},
            "in": {"input": "in", "output": "shop_in"},
            "both_eu": {"input": "both", "output": "shop_eu"},
            "both_in": {"input": "both", "output": "shop_in", "settings": {"user_id": "email"}},
        },
    }


def test_two_accounts_get_their_own_and_nothing_of_the_other(
    router: Callable[..., Daemon], partner: SandboxServer
) -> None:
    daemon = router(two_shops(partner.url))
    for number in range(20):
        for name in ("eu", "in", "both"):
            person = batch(f"{name} {number}", f"{name}-{number}")
            person["user_identities"]["email"] = f"{name}-{number}@shop.example"
            assert daemon.post(person, auth=(name, f"{name}-secret")).status_code == 202
    arrived = {name: until(f"40 at {name}", partial(events_of, partner, name, 40)) for name in ACCOUNTS}
    for name, own in (("SHOP-EU", "eu"), ("SHOP-IN", "in")):
        assert sorted(names(arrived[name])) == sorted(f"{kind} {n}" for kind in (own, "both") for n in range(20))
    identities = {entry["record"]["identity"] for entry in arrived["SHOP-IN"]}
    assert identities == {f"in-{n}" for n in range(20)} | {f"both-{n}@shop.example" for n in range(20)}


def events_of(partner: SandboxServer, name: str, count: int) -> list[dict[str, Any]] | None:
    found = [entry for entry in partner.records(account=name) if entry["kind"] == "event"]
    return found if len(found) == count else None


def test_a_wrong_passcode_of_one_account_does_not_stop_the_other(
    router: Callable[..., Daemon], partner: SandboxServer
) -> None:
    config = two_shops(partner.url)
    config["outputs"]["shop_in"] = account(partner.url, "SHOP-IN", passcode="eu-pass")
    config["connections"]["both_in"] = {"input": "both", "output": "shop_in"}
    daemon = router(config)
    for number in range(5):
        assert daemon.post(batch(f"n {number}", f"p-{number}"), auth=("both", "both-secret")).status_code == 202
    until("5 at SHOP-EU", lambda: events_of(partner, "SHOP-EU", 5))
    until("both_in is paused", lambda: daemon.connection("both_in")["state"] == "paused")
    assert daemon.connection("both_eu")["state"] == "ok"
    assert partner.records(account="SHOP-IN") == []


def test_clevertaps_own_feed_goes_to_others_and_not_back(router: Callable[..., Daemon], partner: SandboxServer) -> None:
    config = two_shops(partner.url)
    config["inputs"]["both"]["partner_feed"] = "CleverTap"
    config["connections"]["both_in"]["return_to_partner"] = True
    daemon = router(config)
    viewed = batch("Notification Viewed", "c-1")
    viewed["user_identities"]["email"] = "c-1@shop.example"
    assert daemon.post(viewed, auth=("both", "both-secret")).status_code == 202
    assert names(until("one at SHOP-IN", lambda: events_of(partner, "SHOP-IN", 1))) == ["mP Notification Viewed"]
    daemon.metric_reaches("router_skipped_records_total", 2, connection="both_eu", code="own_feed")
    assert partner.records(account="SHOP-EU") == []
