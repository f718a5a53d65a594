"""The demo: mParticle's real Python client → router → CleverTap sandbox, with a `kill -9` on the way.

Run it with `make demo`; with `KEEP=1` it leaves router and sandbox running, with their pages to look at.
"""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import mparticle
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
WORK = HERE.parent.parent / ".demo"
BIN = Path(sys.executable).parent
USERS = 20
BATCHES = 200
NUMBER = "demo_number"
"""The custom attribute by which an event that was sent twice is known."""
console = Console()


class Demo:
    """The processes, and what was sent through them."""

    def __init__(self) -> None:
        shutil.rmtree(WORK, ignore_errors=True)
        WORK.mkdir()
        ports = [free_port(preferred) for preferred in (8080, 8081, 8901)]
        self.router_url, self.admin_url, self.sandbox_url = (f"http://127.0.0.1:{port}" for port in ports)
        self.environment = {
            **os.environ,
            "ROUTER__LISTEN__PORT": str(ports[0]),
            "ROUTER__ADMIN__PORT": str(ports[1]),
            "CLEVERTAP_URL": self.sandbox_url,
            "ROUTER_DATA": str(WORK / "data"),
            "ARCHIVE": str(WORK / "archive.ndjson"),
        }
        self.sandbox_port = ports[2]
        self.processes: list[subprocess.Popen[bytes]] = []
        self._starting = threading.Lock()
        self._ended = False
        self.sent: Counter[str] = Counter()
        self.acknowledged: Counter[str] = Counter()
        self.acknowledged_batches = 0
        self.repeated = 0

    def start_sandbox(self) -> None:
        """The local stand-in for CleverTap's API."""
        self._start("sandbox", "clevertap", "sandbox", "--port", str(self.sandbox_port))
        wait_for("the sandbox", lambda: fetch(f"{self.sandbox_url}/sandbox/stats") is not None)

    def start_router(self) -> subprocess.Popen[bytes]:
        """`router run`, ready to accept."""
        process = self._start("router", "run", "-c", str(HERE / "router.yaml"))
        wait_for("the router", lambda: fetch(f"{self.admin_url}/readyz") is not None)
        return process

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with self._starting, (WORK / f"{name}.log").open("ab") as log:
            if self._ended:
                raise SystemExit("demo: stopped")
            process = subprocess.Popen(  # our own command, with our own arguments
                [str(BIN / "router"), *arguments], env=self.environment, stdout=log, stderr=log
            )
            self.processes.append(process)
        return process

    def send(self, batches: list[mparticle.Batch]) -> None:
        """Upload with mParticle's client; what gets no answer is sent again, as its documentation asks."""
        configuration = mparticle.Configuration()
        configuration.host = f"{self.router_url}/v2"
        configuration.api_key, configuration.api_secret = "demo-key", "demo-secret"
        api = mparticle.EventsApi(configuration)
        for batch in batches:
            kinds = Counter(event.event_type for event in batch.events)
            self.sent += kinds
            for attempt in range(200):
                try:
                    api.upload_events(batch)
                except Exception:  # the client raises whatever urllib3 raises, and its own ApiException
                    if attempt == 199:
                        raise
                    self.repeated += 1
                    time.sleep(0.05)
                else:
                    self.acknowledged += kinds
                    self.acknowledged_batches += 1
                    break

    def status(self) -> dict[str, Any]:
        """The CleverTap connection as the router sees it."""
        status = fetch(f"{self.admin_url}/status") or {"connections": []}
        found = [entry for entry in status["connections"] if entry["name"] == "shop_to_clevertap"]
        return found[0] if found else {}

    def settled(self) -> bool:
        """Whether nothing waits at any connection."""
        status = fetch(f"{self.admin_url}/status")
        return status is not None and all(entry.get("depth") == 0 for entry in status["connections"])

    def stop(self) -> None:
        """End what was started, the last first; nothing can be started from then on."""
        with self._starting:
            self._ended = True
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in reversed(self.processes):
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def batches() -> list[mparticle.Batch]:
    """A day in a shop, as its server would tell it; the same at each run."""
    chance = random.Random(7)  # a demo's dice
    made = []
    for number in range(BATCHES):
        user = number % USERS
        batch = mparticle.Batch()
        batch.environment = "development"
        batch.source_request_id = f"demo-{time.time_ns()}-{number}"
        identities = mparticle.UserIdentities()
        identities.customerid = f"customer-{user}"
        identities.email = f"customer{user}@example.com"
        batch.user_identities = identities
        batch.user_attributes = {"$firstname": f"Nr{user}", "plan": chance.choice(["free", "gold"])}
        batch.events = events(number, chance)
        made.append(batch)
    return made


def events(number: int, chance: random.Random) -> list[mparticle.EventBase]:
    """Three events of one visit; every fifth visit ends with a purchase."""
    now = int(time.time() * 1000)
    seen = mparticle.ScreenViewEvent()
    seen.screen_name, seen.timestamp_unixtime_ms = chance.choice(["Home", "Shoes", "Cart"]), now
    read = mparticle.AppEvent("Article Read", "navigation")
    read.timestamp_unixtime_ms = now
    read.custom_attributes = {"category": chance.choice(["news", "sport"]), "words": chance.randint(100, 900)}
    last: mparticle.EventBase = mparticle.SessionStartEvent()  # CleverTap does not take it: skipped, and counted
    if number % 5 == 0:
        product = mparticle.Product()
        product.id, product.name, product.price, product.quantity = "sku-1", "Red shoes", 49.5, 1
        action = mparticle.ProductAction("purchase")
        action.transaction_id, action.total_amount, action.products = f"order-{number}", 49.5, [product]
        last = mparticle.CommerceEvent(action)
    last.timestamp_unixtime_ms = now
    visit: list[mparticle.EventBase] = [seen, read, last]
    for place, event in enumerate(visit):
        event.custom_attributes = {**(event.custom_attributes or {}), NUMBER: 3 * number + place}
    return visit


def kill_and_start_again(demo: Demo, router: subprocess.Popen[bytes]) -> None:
    """What a crash does: no warning, no last words."""
    time.sleep(0.1)
    router.kill()
    router.wait()
    demo.start_router()


def show(demo: Demo) -> bool:
    """Print what happened; returns whether it all adds up."""
    stats = fetch(f"{demo.sandbox_url}/sandbox/stats") or {}
    archived, in_file_again = in_archive()
    held, at_partner_again = at_clevertap(demo)
    table = Table(
        title="Events, by type",
        caption="An event whose delivery was under way at the kill is delivered once more: at least once, never less.",
        caption_justify="left",
    )
    for column in ("", "sent", "answered 202", "in the file", "at CleverTap", "twice, because of the kill"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=not column)
    whole = True
    for kind in ("custom_event", "screen_view", "commerce_event", "session_start"):
        acknowledged, skipped = demo.acknowledged[kind], kind == "session_start"
        whole = whole and archived[kind] >= acknowledged and (skipped or held[kind] >= acknowledged)
        there = ("not its type", "") if skipped else (str(held[kind]), str(at_partner_again[kind]))
        table.add_row(kind, str(demo.sent[kind]), str(acknowledged), str(archived[kind]), *there)
    console.print(table)
    status = demo.status()
    profiles = len({f"customer-{user}" for user in range(USERS) if person(demo, f"customer-{user}")})
    summary = Table(title="The way")
    summary.add_column("what")
    summary.add_column("how many", justify="right")
    summary.add_row("batches acknowledged after an fsync", str(demo.acknowledged_batches))
    summary.add_row("uploads that the client repeated while the router was killed", str(demo.repeated))
    summary.add_row("records that CleverTap holds, profiles and twice sent ones too", str(records_held(stats)))
    summary.add_row("events that stand twice in the file, because of the kill", str(in_file_again.total()))
    summary.add_row("profiles at CleverTap", str(profiles))
    summary.add_row("records waiting", str(status.get("depth")))
    summary.add_row("dead letters", str(status.get("dead_letters")))
    console.print(summary)
    return whole and profiles == USERS and status.get("dead_letters") == 0


def in_archive() -> tuple[Counter[str], Counter[str]]:
    """By type, how many events the file has, each counted once, and how many stand there again."""
    found = []
    for line in (WORK / "archive.ndjson").read_text().splitlines():
        record = json.loads(line)
        if "data" in record:  # a profile update has none
            found.append((record["event_type"], record["data"]["custom_attributes"][NUMBER]))
    return once_and_again(found)


def at_clevertap(demo: Demo) -> tuple[Counter[str], Counter[str]]:
    """The same of the sandbox."""
    found = []
    for record in records(demo):
        name = record.get("evtName", "")
        kind = {"Article Read": "custom_event", "Charged": "commerce_event"}.get(name, "screen_view")
        if name:
            found.append((kind, record["evtData"][NUMBER]))
    return once_and_again(found)


def once_and_again(found: list[tuple[str, Any]]) -> tuple[Counter[str], Counter[str]]:
    """By type: different events, and repetitions."""
    once = Counter(kind for kind, _ in set(found))
    return once, Counter(kind for kind, _ in found) - once


def records(demo: Demo) -> Iterator[dict[str, Any]]:
    """What the sandbox holds."""
    after = 0
    while True:
        page = fetch(f"{demo.sandbox_url}/sandbox/records?after={after}&limit=1000")
        found = page["records"] if isinstance(page, dict) else page or []
        if not found:
            return
        yield from (item["record"] for item in found)
        after = found[-1]["n"]


def records_held(stats: dict[str, Any]) -> int:
    """Records that the sandbox has accepted."""
    return (
        int(stats.get("records", 0)) if not isinstance(stats.get("records"), dict) else sum(stats["records"].values())
    )


def person(demo: Demo, identity: str) -> bool:
    """Whether CleverTap has a profile of this customer."""
    request = urllib.request.Request(  # our own sandbox on loopback
        f"{demo.sandbox_url}/1/profile.json?identity={identity}",
        headers={
            "X-CleverTap-Account-Id": "DEMO-ACCOUNT",
            "X-CleverTap-Passcode": "demo-passcode",
            "Content-Type": "application/json",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return False


def fetch(url: str) -> Any:
    """A JSON document (or True for plain text), None if there is no good answer."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # loopback
            body = answer.read()
    except OSError:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return True


def wait_for(what: str, holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Poll until it holds. Ends the demo with a sentence if it does not."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"demo: {what} did not come within {seconds:.0f} seconds; see {WORK}/*.log")
        time.sleep(0.05)


def free_port(preferred: int) -> int:
    """The preferred port if it is free, else any other."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit("demo: no free port")


@contextmanager
def running() -> Iterator[Demo]:
    """A demo whose processes end with it, unless they are to be kept."""
    demo = Demo()
    keep = os.environ.get("KEEP") not in (None, "", "0")
    try:
        yield demo
        if keep:
            console.print("\nStill running; Ctrl-C ends it.")
            console.print(f"What arrived:  {demo.sandbox_url}/", soft_wrap=True)
            console.print(f"The router:    {demo.admin_url}/status", soft_wrap=True)
            console.print(f"Send more to:  {demo.router_url}/v2/events", soft_wrap=True)
            console.print("               with demo-key and demo-secret")
            signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # a second one must not cut short what the first one began
        demo.stop()


def end(number: int, frame: object) -> NoReturn:
    """Leave through the context manager, so that no process stays behind."""
    raise SystemExit(128 + number)


def main() -> int:
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    logging.disable(logging.ERROR)  # urllib3 reports each refused connection while the router is down
    with running() as demo:
        console.print("[bold]1[/] starting the CleverTap sandbox and the router")
        demo.start_sandbox()
        router = demo.start_router()
        made = batches()
        console.print(f"[bold]2[/] sending {BATCHES} batches of 3 events with mParticle's Python client")
        demo.send(made[: BATCHES // 2])
        console.print("[bold]3[/] kill -9 of the router, and sending on while it starts again")
        again = threading.Thread(target=kill_and_start_again, args=(demo, router), daemon=True)
        again.start()
        demo.send(made[BATCHES // 2 :])
        again.join()
        demo.send(made[:5])  # the same batches once more: acknowledged, and not delivered twice
        for batch in made[:5]:
            kinds = Counter(event.event_type for event in batch.events)
            demo.sent -= kinds
            demo.acknowledged -= kinds
        console.print("[bold]4[/] waiting until all of it is delivered\n")
        wait_for("the end of the deliveries", demo.settled)
        whole = show(demo)
        if whole:
            console.print("[green]Every acknowledged event arrived.[/]")
        else:
            console.print("[red]Something is missing.[/]")
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
