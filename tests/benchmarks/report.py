"""The figures as tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from .bodies import Shape
from .endtoend import Backlog, Result
from .processes import Machine
from .stages import Figure

console = Console()


def show_machine(machine: Machine) -> None:
    """Where the figures come from, and a warning if the machine is not alone."""
    console.print(
        f"{machine.processor}, {machine.cores} cores, {machine.kernel}, Python {machine.python}; "
        f"data on {machine.folder_filesystem}; load average {machine.load}"
    )
    if machine.folder_filesystem in ("tmpfs", "ramfs"):
        console.print("[yellow]The data folder is in memory: syncing to it costs nothing, so the figures flatter.[/]")
    if machine.load > 0.5:
        console.print("[yellow]Something else is running here: absolute figures will be low.[/]")


def show_stages(shape: Shape, figures: Sequence[Figure]) -> None:
    """CPU by stage."""
    table = _table(f"Stages, batches of {shape.events} events{', with user attributes' if shape.attributes else ''}")
    table.add_column("stage")
    for heading in ("µs/batch", "µs/event", "ratio to json.loads"):
        table.add_column(heading, justify="right")
    for figure in figures:
        table.add_row(figure.stage, f"{figure.per_batch:.2f}", f"{figure.per_event:.2f}", f"{figure.ratio:.3f}")
    console.print(table)


_ROWS: Final[Mapping[str, Callable[[Result], str]]] = {
    "delivered ev/s": lambda r: f"{r.delivered_per_second:,.0f}",
    "requests/s": lambda r: f"{r.requests_per_second:,.0f}",
    "body bytes": lambda r: f"{r.body_bytes:,}",
    "drain s": lambda r: f"{r.drain_seconds:.2f}",
    "ingest µs/ev": lambda r: f"{r.cpu_ingest:.1f}",
    "deliver µs/ev": lambda r: f"{r.cpu_deliver:.1f}",
    "router µs/ev": lambda r: f"{r.cpu:.1f}",
    "ingest µs/request": lambda r: f"{r.cpu_ingest_per_request:.1f}",
    "generator µs/request": lambda r: f"{r.cpu_generator_per_request:.1f}",
    "sandbox µs/ev": lambda r: f"{r.cpu_sandbox:.1f}",
    "ack p50 ms": lambda r: f"{r.ack.p50:.2f}",
    "ack p90 ms": lambda r: f"{r.ack.p90:.2f}",
    "ack p99 ms": lambda r: f"{r.ack.p99:.2f}",
    "ack max ms": lambda r: f"{r.ack.max:.1f}",
    "others": lambda r: f"{r.others:.0%}",
}


def show_results(results: Sequence[Result]) -> None:
    """Throughput, CPU and memory of whole runs."""
    table = _table("End to end; everything accepted was delivered")
    table.add_column("")
    for result in results:
        table.add_column(result.scenario, justify="right")
    for name, value in _ROWS.items():
        table.add_row(name, *(value(result) for result in results))
    for name in dict.fromkeys(name for result in results for name in result.memory):
        found = [result.memory.get(name) for result in results]
        table.add_row(f"{name} MiB, end / most", *(f"{m.end:.0f} / {m.max:.0f}" if m else "" for m in found))
    console.print(table)
    for result in results:
        _show_lateness(result)


def _show_lateness(result: Result) -> None:
    late = result.lateness
    if not late.count:
        return
    console.print(
        f"{result.scenario}: requests went out p50 {late.p50:.2f}, p99 {late.p99:.2f} ms after the times from which "
        "their latencies count"
    )
    if late.p50 > 100:
        console.print("[yellow]This rate is more than the machine can take just now.[/]")


def show_backlog(backlog: Backlog) -> None:
    """A start with events waiting."""
    table = _table(f"Start with {backlog.events:,} events waiting ({backlog.log_mib:,.0f} MiB of log)")
    table.add_column("figure")
    table.add_column("value", justify="right")
    rows = {
        "seconds to ready": f"{backlog.seconds_to_ready:.2f}",
        "seconds to ready, empty log": f"{backlog.seconds_to_ready_empty:.2f}",
        "seconds to the first delivery": f"{backlog.first_delivery_seconds:.2f}",
        "delivered ev/s until nothing waited": f"{backlog.drain_per_second:,.0f}",
        "deliver µs/event": f"{backlog.cpu_deliver:.1f}",
    }
    rows |= {f"most MiB in 10 s, {name}": f"{size:.0f}" for name, size in backlog.peak_first_seconds.items()}
    rows |= {f"most MiB, {name}": f"{memory.max:.0f}" for name, memory in backlog.memory.items()}
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def show_soak(result: Result) -> None:
    """Whether the last minute looks like the first."""
    names = list(result.memory)
    table = _table(f"Soak, {result.send_seconds:,.0f} s at {result.requests_per_second:,.0f} requests/s")
    for heading in ("from s", "ack p50 ms", "p99 ms", "max ms", *(f"{name} MiB" for name in names)):
        table.add_column(heading, justify="right")
    for minute in result.minutes:
        ack = minute.latency
        table.add_row(
            f"{minute.at:.0f}", f"{ack.p50:.2f}", f"{ack.p99:.2f}", f"{ack.max:.1f}",
            *(f"{minute.rss[name]:.1f}" for name in names),
        )  # fmt: skip
    console.print(table)
    if len(result.minutes) > 1:
        first, last = result.minutes[0], result.minutes[-1]
        grown = ", ".join(f"{name} {last.rss[name] - first.rss[name]:+.1f} MiB" for name in names)
        console.print(f"last against first stretch: {grown}; ack p99 {first.latency.p99} to {last.latency.p99} ms")


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold")
