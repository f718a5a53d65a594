"""The command line: which runs, how long, and where the figures go."""

from __future__ import annotations

import argparse
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from . import report
from .bodies import Shape
from .endtoend import Backlog, Options, Result, Scenario, run_backlog, run_scenario
from .partner import PARTNERS
from .processes import Machine, folder_for_data, machine
from .product import Trouble
from .stages import Figure, measure

SCENARIOS: Final = (
    Scenario(name="1 event", shape=Shape(1)),
    Scenario(name="3 events", shape=Shape(3)),
    Scenario(name="20 events", shape=Shape(20)),
    Scenario(name="bulk of 20 x 3", shape=Shape(3, 20)),
    Scenario(name="3 events and attributes", shape=Shape(3, 1, attributes=True)),
)
PARTS: Final = ("stages", "1", "3", "20", "bulk", "attributes", "open", "backlog")
_STANDARD: Final = Shape(3)


class Figures(msgspec.Struct, kw_only=True):
    """All of one run of the tool, as `--json` writes it."""

    started_at: str
    machine: Machine
    destination: str
    stages: dict[str, list[Figure]] = {}
    results: list[Result] = []
    backlog: Backlog | None = None
    soak: Result | None = None
    trouble: str | None = None


def main() -> None:
    """Run what the command line asks for; status 1 if something did not add up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended too
    arguments = _parser().parse_args()
    if arguments.quick:
        arguments.seconds, arguments.warmup = min(arguments.seconds, 2.0), min(arguments.warmup, 0.5)
        arguments.backlog, arguments.rounds = min(arguments.backlog, 60_000), min(arguments.rounds, 3)
    folder = arguments.folder or folder_for_data()
    figures = Figures(
        started_at=datetime.now().astimezone().isoformat(timespec="seconds"),
        machine=machine(folder),
        destination=arguments.destination,
    )
    report.show_machine(figures.machine)
    options = Options(
        folder=folder,
        destination=arguments.destination,
        connections=arguments.connections,
        seconds=arguments.seconds,
        warmup=arguments.warmup,
        single_process=arguments.single_process,
    )
    try:
        _run(arguments, options, figures)
    except Trouble as trouble:
        figures.trouble = str(trouble)
        report.console.print("[bold red]FAILED[/]", markup=True)
        report.console.print(str(trouble), markup=False, style="red")
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
    sys.exit(1 if figures.trouble else 0)


def _run(arguments: argparse.Namespace, options: Options, figures: Figures) -> None:
    wanted = arguments.only or (["soak"] if arguments.soak else list(PARTS))
    if "stages" in wanted:
        for shape in (_STANDARD, Shape(3, 1, attributes=True)):
            found = measure(shape, arguments.rounds, options.folder)
            figures.stages["attributes" if shape.attributes else "events"] = found
            report.show_stages(shape, found)
    for part, scenario in zip(PARTS[1:6], SCENARIOS, strict=True):
        if part in wanted:
            chosen = msgspec.structs.replace(scenario, rate=arguments.rate)
            figures.results.append(_announced(chosen, options))
    if "open" in wanted:
        rate = arguments.rate or _half_of_capacity(options, figures)
        name = f"3 events at {rate:,.0f}/s"
        figures.results.append(_announced(Scenario(name=name, shape=_STANDARD, rate=rate), options))
    if figures.results:
        report.show_results(figures.results)
    if "backlog" in wanted and options.destination == "clevertap":
        report.console.print(f"… {arguments.backlog:,} events waiting at the start", style="dim")
        figures.backlog = run_backlog(arguments.backlog, options)
        report.show_backlog(figures.backlog)
    if arguments.soak:
        rate = arguments.rate or _half_of_capacity(options, figures)
        figures.soak = _announced(
            Scenario(
                name="soak", shape=_STANDARD, rate=rate, seconds=arguments.soak, window=min(60.0, arguments.soak / 4)
            ),
            options,
        )
        report.show_results([figures.soak])
        report.show_soak(figures.soak)


def _announced(scenario: Scenario, options: Options) -> Result:
    report.console.print(f"… {scenario.name}", style="dim")
    return run_scenario(scenario, options)


def _half_of_capacity(options: Options, figures: Figures) -> float:
    """Half the requests a second that were delivered with three events each, in this run or in one made for it."""
    full = next((result for result in figures.results if result.scenario == "3 events"), None)
    if full is None:
        full = _announced(SCENARIOS[1], options)
        report.show_results([full])
    return round(full.delivered_per_second / _STANDARD.events / 2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measures the installed router, end to end and stage by stage.")
    parser.add_argument("--quick", action="store_true", help="about a minute: does it run, and do the counts match?")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each scenario sends")
    parser.add_argument("--warmup", type=float, default=2.0, help="seconds of load before the figures begin")
    parser.add_argument("--connections", type=int, default=64, help="keep-alive connections of the generator")
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second in an open loop, for all scenarios")
    parser.add_argument("--backlog", type=int, default=1_000_000, help="events that wait at a start")
    parser.add_argument("--soak", type=float, default=0.0, metavar="SECONDS", help="a long run at half capacity")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of the stage measurements")
    parser.add_argument("--destination", choices=list(PARTNERS), default="clevertap", help="what stands at the end")
    parser.add_argument("--single-process", action="store_true", help="run the router in one process")
    parser.add_argument("--folder", type=Path, help="where data folders are made; a real disk, please")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    return parser
