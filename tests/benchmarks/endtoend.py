"""Whole runs: generator, router, partner. All that was accepted is counted at the other end, or the run fails."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from .bodies import Shape
from .generator import Latency, Plan, Sent
from .partner import PARTNERS, Arrived, Partner
from .processes import Memory, Sampler, cpu_seconds, machine_busy_seconds, mib, peak_rss_bytes
from .product import KEY, SECRET, Product, Trouble, write_configuration

_ROOT = Path(__file__).resolve().parents[2]
_STALLED_AFTER = 60.0
_COUNTED_WITHIN = 10.0
_LOOK_EVERY = 0.05
_WATCH_START = 10.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What all runs have in common."""

    folder: Path
    destination: str = "clevertap"
    connections: int = 64
    seconds: float = 10.0
    warmup: float = 2.0
    single_process: bool = False


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    name: str
    shape: Shape
    rate: float = 0.0
    """Requests a second, in an open loop; 0 for as fast as it goes, in a closed loop."""
    seconds: float = 0.0
    """0 for what the options say."""
    window: float = 0.0
    """Compare stretches of so many seconds with each other."""


class Minute(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of a long run."""

    at: float
    """Seconds since the start."""
    latency: Latency
    rss: dict[str, float]
    """Mean memory of each process, MiB."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one run came to. CPU is in µs; of the router, per event from the first request to the last delivery."""

    scenario: str
    requests: int
    events: int
    profiles: int
    skipped: int
    body_bytes: int
    send_seconds: float
    drain_seconds: float
    """From the last answer to the last delivery."""
    delivered_per_second: float
    requests_per_second: float
    cpu_ingest: float
    cpu_deliver: float
    cpu_supervisor: float
    cpu_generator_per_request: float
    cpu_sandbox: float
    cpu_ingest_per_request: float
    others: float
    """Share of all cores that was busy with anything but this run; above a few percent, look again."""
    ack: Latency
    lateness: Latency
    memory: dict[str, Memory]
    minutes: list[Minute] = []
    seconds_to_ready: float = 0.0

    @property
    def cpu(self) -> float:
        """The whole router."""
        return self.cpu_ingest + self.cpu_deliver + self.cpu_supervisor


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """A start with many events waiting."""

    events: int
    batches: int
    log_mib: float
    fill_seconds: float
    seconds_to_ready: float
    seconds_to_ready_empty: float
    first_delivery_seconds: float
    """From the start of the command to the first call that was seen at the partner."""
    peak_first_seconds: dict[str, float]
    """Largest memory of each process in the first ten seconds, MiB."""
    memory: dict[str, Memory]
    drain_per_second: float
    """Events delivered a second until nothing waited, from the start of the command."""
    cpu_deliver: float
    """µs per event."""


class Ledger:
    """What was accepted, and whether all of it has come out."""

    def __init__(self, partner: Partner) -> None:
        self._partner = partner
        self.events = 0
        self.records = 0
        self.batches = 0

    def add(self, sent: Sent, shape: Shape) -> None:
        """Enter what a generator reports. Raises `Trouble` if requests were refused or are of unknown fate."""
        if sent.refused or sent.unanswered:
            raise Trouble(f"of {sent.requests} requests, refused: {sent.refused}, unanswered: {sent.unanswered}")
        self.events += sent.accepted * shape.events_per_request
        self.records += sent.accepted * shape.records_per_request
        self.batches += sent.accepted * shape.batches

    def drain(self) -> Arrived:
        """Wait until the last accepted event has arrived. Raises `Trouble` if nothing more comes, or too much."""
        seen, moved = -1, time.monotonic()
        while (arrived := self._partner.arrived()).events < self.events:
            if arrived.events != seen:
                seen, moved = arrived.events, time.monotonic()
            if time.monotonic() - moved > _STALLED_AFTER:
                raise Trouble(f"{self.events - seen} of {self.events} accepted events have not arrived")
            time.sleep(_LOOK_EVERY)
        if arrived.events > self.events:
            raise Trouble(f"{arrived.events - self.events} more events arrived than the {self.events} accepted ones")
        return arrived

    def balance(self, product: Product, *, restarted: bool = False) -> Mapping[str, int]:
        """Compare with the router's own counters, which are a second late; returns them. Raises `Trouble`."""
        expected = {"delivered_records + skipped_records": self.records}
        if not restarted:
            expected |= {"accepted_events": self.events, "accepted_batches": self.batches}
        deadline = time.monotonic() + _COUNTED_WITHIN
        while True:
            counters = product.counters()
            found = {name: sum(counters.get(part, 0) for part in name.split(" + ")) for name in expected}
            odd = {name: counters[name] for name in _ODD if counters.get(name)}
            if found == expected and not odd:
                return counters
            if time.monotonic() > deadline:
                raise Trouble(f"the router's counters say {found} and {odd}; expected are {expected} and nothing else")
            time.sleep(_LOOK_EVERY)


_ODD = ("rejected_records", "expired_records", "unreported_records", "duplicate_batches", "invalid_batches")


def generate(plan: Plan) -> Sent:
    """Run the generator in its own process."""
    assert __package__
    done = subprocess.run(
        [sys.executable, "-m", f"{__package__}.generator"],
        input=msgspec.json.encode(plan),
        stdout=subprocess.PIPE,
        cwd=_ROOT,
        check=False,
    )
    if done.returncode:
        raise Trouble("the load generator failed; its message stands above")
    return msgspec.json.decode(done.stdout, type=Sent)


def run_scenario(scenario: Scenario, options: Options) -> Result:
    """One run, from an empty log to an empty log. Raises `Trouble` if the counts do not match."""
    with TemporaryDirectory(prefix="router-bench-", dir=options.folder) as name:
        folder = Path(name)
        with PARTNERS[options.destination](folder) as partner:
            config = write_configuration(folder, partner.output, {"max_bytes": "4GiB"})
            with Product(config, single_process=options.single_process) as product:
                try:
                    return _measured(scenario, options, partner, product)
                except Trouble as trouble:
                    raise Trouble(f"{trouble}\n{product.output()}") from None


def _measured(scenario: Scenario, options: Options, partner: Partner, product: Product) -> Result:
    shape, seconds = scenario.shape, scenario.seconds or options.seconds
    plan = Plan(
        port=product.port, key=KEY, secret=SECRET, shape=shape, connections=options.connections, rate=scenario.rate
    )
    ledger = Ledger(partner)
    ledger.add(generate(msgspec.structs.replace(plan, seconds=options.warmup)), shape)
    warm = ledger.drain()
    pids = dict(product.pids) | dict(partner.pids)
    spent, busy, started = {name: -cpu_seconds(pid) for name, pid in pids.items()}, -machine_busy_seconds(), time.time()
    own = -time.process_time()
    with Sampler(pids) as sampler:
        sent = generate(msgspec.structs.replace(plan, seconds=seconds, window=scenario.window))
        ledger.add(sent, shape)
        arrived = ledger.drain()
    for process, pid in pids.items():
        spent[process] += cpu_seconds(pid)
    busy += machine_busy_seconds()
    own += time.process_time()
    elapsed = time.time() - started
    counters = ledger.balance(product)
    events = arrived.events - warm.events
    ours = sum(spent.values()) + sent.cpu_seconds + own
    per_event = 1e6 / max(events, 1)
    ingest = spent.get("ingest", 0.0)
    return Result(
        scenario=scenario.name,
        requests=sent.accepted,
        events=events,
        profiles=arrived.profiles - warm.profiles,
        skipped=counters.get("skipped_records", 0),
        body_bytes=sent.body_bytes,
        send_seconds=round(sent.seconds, 3),
        drain_seconds=round(max(arrived.last_at - sent.first_at - sent.seconds, 0.0), 3),
        delivered_per_second=round(events / (arrived.last_at - sent.first_at), 1),
        requests_per_second=round(sent.accepted / sent.seconds, 1),
        cpu_ingest=round(ingest * per_event, 2),
        cpu_deliver=round((spent.get("deliver", 0.0) + spent.get("router", 0.0)) * per_event, 2),
        cpu_supervisor=round(_supervisor(spent, product) * per_event, 2),
        cpu_generator_per_request=round(sent.cpu_seconds * 1e6 / max(sent.requests, 1), 2),
        cpu_sandbox=round(spent.get("sandbox", 0.0) * per_event, 2),
        cpu_ingest_per_request=round(ingest * 1e6 / max(sent.accepted, 1), 2),
        others=round(max(busy - ours, 0.0) / elapsed / _cores(), 3),
        ack=sent.latency,
        lateness=sent.lateness,
        memory=sampler.memory(),
        minutes=_minutes(scenario, sent, sampler),
        seconds_to_ready=round(product.seconds_to_ready, 2),
    )


def _supervisor(spent: Mapping[str, float], product: Product) -> float:
    """The supervisor's CPU, unless it is the one process that does everything."""
    return 0.0 if "router" in product.pids else spent["supervisor"]


def _cores() -> int:
    return len([line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("cpu")]) - 1


def _minutes(scenario: Scenario, sent: Sent, sampler: Sampler) -> list[Minute]:
    size = scenario.window
    return [
        Minute(
            at=round(index * size, 1),
            latency=latency,
            rss=sampler.mean_mib(sent.first_at + index * size, sent.first_at + (index + 1) * size),
        )
        for index, latency in enumerate(sent.windows)
        if latency.count > 1
    ]


def run_backlog(events: int, options: Options) -> Backlog:
    """Let events pile up behind a partner that is down, stop, and start again with the partner up."""
    shape = Shape(events=3, batches=20)
    with TemporaryDirectory(prefix="router-bench-", dir=options.folder) as name:
        folder = Path(name)
        with PARTNERS[options.destination](folder) as partner:
            config = write_configuration(folder, partner.output, {"max_bytes": "20GiB"})
            ledger = Ledger(partner)
            partner.refuse(True)
            with Product(config) as product:
                sent = generate(
                    Plan(
                        port=product.port, key=KEY, secret=SECRET, shape=shape, connections=options.connections,
                        seconds=3600, requests=max(events // shape.events_per_request, 1),
                    )
                )  # fmt: skip
                ledger.add(sent, shape)
                empty = product.seconds_to_ready
            partner.refuse(False)
            return _started_again(config, options, partner, ledger, sent, empty)


def _started_again(
    config: Path, options: Options, partner: Partner, ledger: Ledger, sent: Sent, empty: float
) -> Backlog:
    size = sum(path.stat().st_size for path in (config.parent / "data" / "log").iterdir())
    started, started_at = time.monotonic(), time.time()
    with Product(config, single_process=options.single_process) as product, Sampler(product.pids) as sampler:
        before = {name: cpu_seconds(pid) for name, pid in product.pids.items()}
        while not partner.arrived().events and time.monotonic() - started < _STALLED_AFTER:
            time.sleep(0.01)
        first = time.monotonic() - started
        time.sleep(max(_WATCH_START - (time.monotonic() - started), 0.0))
        peaks = {name: mib(peak_rss_bytes(pid)) for name, pid in product.pids.items()}
        try:
            arrived = ledger.drain()
            delivering = "deliver" if "deliver" in before else "router"
            cpu = cpu_seconds(product.pids[delivering]) - before[delivering]
            ledger.balance(product, restarted=True)
        except Trouble as trouble:
            raise Trouble(f"{trouble}\n{product.output()}") from None
        ready = product.seconds_to_ready
    return Backlog(
        events=ledger.events,
        batches=ledger.batches,
        log_mib=mib(size),
        fill_seconds=round(sent.seconds, 1),
        seconds_to_ready=round(ready, 2),
        seconds_to_ready_empty=round(empty, 2),
        first_delivery_seconds=round(first, 2),
        peak_first_seconds=peaks,
        memory=sampler.memory(),
        drain_per_second=round(arrived.events / (arrived.last_at - started_at), 1),
        cpu_deliver=round(cpu * 1e6 / arrived.events, 2),
    )
