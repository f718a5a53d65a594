"""`router status`: how each connection is doing, from the admin listener of the running router."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from router_core.cli.options import ConfigOption, JsonOption, configuration_of, url_of
from router_core.errors import RouterError

if TYPE_CHECKING:
    from rich.console import Group

    from router_core.configuration import Configuration

WATCH_EVERY: Final = 1.0
"""Seconds; the router's own figures are as old at the most."""
_ANSWER_WITHIN: Final = 5.0
_STYLES: Final = {"ok": "green", "paused": "red", "stopped": "red"}


class NotRunning(RouterError):
    """Nobody answers where the admin listener should be."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def status(
        context: typer.Context,
        config: ConfigOption,
        watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it anew every second, until Ctrl-C.")] = False,
        as_json: JsonOption = False,
    ) -> None:
        """Show what each connection is doing: waiting records, rate, dead letters, the last error."""
        from router_core.cli import FAILED

        configuration = configuration_of(context, config)
        admin = configuration.settings.admin
        url = url_of(admin.host, admin.port, "admin.port")
        if watch:
            with contextlib.suppress(KeyboardInterrupt):
                _watch(configuration, url, as_json=as_json)
            return
        found = _status(configuration, url)
        _print(found, as_json=as_json)
        if not found["running"]:
            raise typer.Exit(FAILED)


def _status(configuration: Configuration, url: str) -> dict[str, Any]:
    """What the running router says of itself, or what its log says of a router that does not run."""
    token = configuration.settings.admin.token
    try:
        answer = _answer_of(url, token.get_secret_value() if token is not None else None)
    except NotRunning as error:
        return {"running": False, "reason": str(error), **_at_rest(configuration)}
    return {"running": True, **answer}


def _answer_of(url: str, token: str | None) -> Mapping[str, Any]:
    import httpx

    headers = {"authorization": f"Bearer {token}"} if token is not None else {}
    try:
        # A proxy of the environment has no business with the token.
        with httpx.Client(trust_env=False, timeout=_ANSWER_WITHIN, headers=headers) as client:
            answer = client.get(f"{url}/status")
    except httpx.ConnectError:
        raise NotRunning(f"the router does not run: nobody answers at {url}.") from None
    except httpx.HTTPError as error:
        raise RouterError(f"no answer from {url}: {error or type(error).__name__}.") from None
    if answer.status_code == 401:
        raise RouterError(f"the router at {url} has another `admin.token`: use the configuration that it runs with.")
    try:
        document = answer.json()
    except ValueError:
        document = None
    if answer.status_code != 200 or not isinstance(document, Mapping) or "connections" not in document:
        raise RouterError(f"what answers at {url} is no router: set `admin.port` to the router's.")
    return document


def _at_rest(configuration: Configuration) -> dict[str, Any]:
    """What waits in the log of a router that does not run."""
    from router_core.cli.eventlog import has_log, opened_log
    from router_core.log.port import LogStats

    async def read() -> LogStats:
        async with opened_log(configuration) as log:
            return await log.stats()

    entries = [
        {"name": name, "input": connection.input.name, "output": connection.output.name, "state": "stopped"}
        for name, connection in configuration.connections.items()
    ]
    if configuration.settings.log.engine == "memory" or not has_log(configuration):
        return {"log": None, "connections": entries}
    stats, now = asyncio.run(read()), time.time()
    merged: list[dict[str, Any]] = []
    for entry in entries:
        merged.append({**entry})
        if (at := stats.connections.get(entry["name"])) is not None:
            age = None if at.oldest_ms is None else round(max(now - at.oldest_ms / 1000, 0.0), 3)
            merged[-1] |= {"depth": at.depth, "age_seconds": age, "held": at.held, "dead_letters": at.letters}
    log = {"head": stats.head, "bytes": stats.bytes, "full": stats.full, "damaged_files": stats.damaged}
    return {"log": log, "connections": merged}


# --- printing ---------------------------------------------------------------------------------------------------------


def _watch(configuration: Configuration, url: str, *, as_json: bool) -> None:
    from rich.live import Live

    from router_core.cli.printing import console, print_json

    terminal = console()
    if as_json or not terminal.is_terminal:
        while True:
            found = _status(configuration, url)
            print_json(found, indent=False) if as_json else terminal.print(_view(found))
            time.sleep(WATCH_EVERY)
    with Live(console=terminal, auto_refresh=False, screen=False) as live:
        while True:
            live.update(_view(_status(configuration, url)), refresh=True)
            time.sleep(WATCH_EVERY)


def _print(found: Mapping[str, Any], *, as_json: bool) -> None:
    from router_core.cli.printing import console, print_error, print_json

    if not found["running"]:
        print_error(found["reason"])
    if as_json:
        print_json(found)
    else:
        console().print(_view(found))


def _view(found: Mapping[str, Any]) -> Group:
    from rich.console import Group
    from rich.text import Text

    from router_core.cli.printing import harmless, table_of

    numbers = ("Waiting", "Oldest", "Rate", "Skipped", "Held", "Dead")
    table = table_of("Connection", "State", *numbers, "Last error", right=numbers, wide=("Last error",))
    for entry in found["connections"]:
        cells = [Text(harmless(cell)) for cell in _cells(entry)]
        cells[1].stylize(_STYLES.get(entry["state"], "yellow"))
        table.add_row(*cells)
    return Group(Text(harmless(_headline(found))), table)


def _headline(found: Mapping[str, Any]) -> str:
    """`ready, up 3 h 2 m; log 1.4 MiB`."""
    from router_core.cli.printing import bytes_text, duration_text

    if not found["running"]:
        parts = ["not running"]
    else:
        parts = [
            f"{'ready' if found.get('ready') else 'not ready'}, up {duration_text(found.get('uptime_seconds', 0))}"
        ]
        parts += [f"the {role} worker is down" for role, at in found.get("workers", {}).items() if not at.get("up")]
    log = found.get("log")
    if log is not None:
        parts.append(f"log {bytes_text(log['bytes'])}{', full' if log['full'] else ''}")
        parts += [f"{log['damaged_files']} damaged log files"] if log["damaged_files"] else []
    return "; ".join(parts)


def _cells(entry: Mapping[str, Any]) -> list[str]:
    from router_core.cli.printing import duration_text

    age, rate, error = entry.get("age_seconds"), entry.get("records_per_second"), entry.get("last_error")
    if error and (at := entry.get("last_error_at")) is not None:
        error = f"{error} ({duration_text(max(time.time() - at, 0.0))} ago)"
    return [
        entry["name"],
        entry["state"],
        _number(entry.get("depth")),
        "–" if age is None else duration_text(age),
        "–" if rate is None else f"{rate:,.1f}/s",
        _number(entry.get("skipped")),
        _number(entry.get("held")),
        _number(entry.get("dead_letters")),
        error or "",
    ]


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
