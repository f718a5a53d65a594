"""`router send`: recorded batches to an input."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router_core.cli.options import JsonOption

if TYPE_CHECKING:
    from router_core.cli.posting import Tally, Target

_FIRST_REASONS = 5


def add_to(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def send(
        context: typer.Context,
        file: Annotated[
            str, typer.Argument(help="Batches: one a line, a list, one alone, or a recorded request. - is stdin.")
        ],
        url: Annotated[
            str | None, typer.Option("--url", help="Where the router listens.", show_default="http://127.0.0.1:8080")
        ] = None,
        key: Annotated[str | None, typer.Option("--key", help="The input's key.", show_default=False)] = None,
        secret: Annotated[
            str | None,
            typer.Option("--secret", help="The input's secret.", envvar="ROUTER_SEND_SECRET", show_default=False),
        ] = None,
        config: Annotated[
            Path | None,
            typer.Option("--config", "-c", help="Take address, key and secret from this YAML file.", metavar="FILE"),
        ] = None,
        input_name: Annotated[
            str | None, typer.Option("--input", help="The input in the YAML file.", metavar="NAME")
        ] = None,
        bulk: Annotated[int, typer.Option("--bulk", help="Batches in one bulk request; 0: no bulk.", min=0)] = 0,
        concurrency: Annotated[
            int, typer.Option("--concurrency", help="Requests at once; with more than 1 the order is lost.", min=1)
        ] = 1,
        repeat: Annotated[
            int, typer.Option("--repeat", help="Times to send it all; batches with a request id count once.", min=1)
        ] = 1,
        as_json: JsonOption = False,
    ) -> None:
        """Post recorded batches to an input, coming again when it asks for that (429, 503)."""
        from router_core.cli import FAILED
        from router_core.cli.batches import read_uploads
        from router_core.cli.posting import in_bulk

        target = _target(context, config, input_name, url=url, key=key, secret=secret)
        once = read_uploads(file)
        batches = repeat * sum(len(upload.batches) for upload in once)
        repeated = (upload for _ in range(repeat) for upload in once)
        with _progress(batches) as advance:
            tally, seconds = _post(target, in_bulk(repeated, bulk) if bulk else repeated, concurrency, advance)
        _tell(tally, seconds, as_json=as_json)
        if tally.accepted < batches:
            raise typer.Exit(FAILED)


def _target(
    context: typer.Context,
    config: Path | None,
    name: str | None,
    *,
    url: str | None,
    key: str | None,
    secret: str | None,
) -> Target:
    """What is given on the command line goes before what the configuration says."""
    import httpx

    from router_core.cli.options import chosen_input, configuration_of, url_of
    from router_core.cli.posting import Target

    if config is None and name is not None:
        raise typer.BadParameter("it needs -c FILE too.", param_hint="'--input'")
    if config is not None:
        configuration = configuration_of(context, config)
        source, listen = chosen_input(configuration, name), configuration.settings.listen
        url = url or url_of(listen.host, listen.port, "listen.port")
        key = key if key is not None else source.key
        if secret is None and source.secret is not None:
            secret = source.secret.get_secret_value()
    url = url or "http://127.0.0.1:8080"
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo:
        raise typer.BadParameter("it must look like http://127.0.0.1:8080.", param_hint="'--url'")
    return Target(url=url, key=key, secret=secret)


def _post(
    target: Target, uploads: Iterator[Any], concurrency: int, advance: Callable[[int], None]
) -> tuple[Tally, float]:
    """Post all; what was done until a Ctrl-C is told too."""
    import asyncio
    import time

    import httpx

    from router_core.cli.posting import Poster
    from router_core.clock import SystemClock

    posters: list[Poster] = []

    async def post() -> None:
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        async with httpx.AsyncClient(timeout=60.0, limits=limits, headers={"user-agent": "router-send"}) as client:
            posters.append(Poster(client, target, SystemClock(), advance))
            await posters[0].post(uploads, concurrency)

    started = time.monotonic()
    try:
        asyncio.run(post())
    except KeyboardInterrupt:
        if not posters:
            raise
    return posters[0].tally, time.monotonic() - started


@contextmanager
def _progress(batches: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from router_core.cli.printing import console

    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(sys.stderr), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("sending", total=batches)
        yield lambda count: progress.advance(task, count)


def _tell(tally: Tally, seconds: float, *, as_json: bool) -> None:
    from router_core.cli.printing import counted, duration_text, print_error, print_json, print_text

    if as_json:
        counts = {name: getattr(tally, name) for name in ("accepted", "refused", "not_sent", "requests", "retries")}
        print_json(counts | {"seconds": round(seconds, 3), "reasons": dict(tally.reasons)})
        return
    rate = f", {tally.accepted / seconds:,.0f} a second" if tally.accepted > 1 else ""
    again = f", {counted(tally.retries, 'retry', 'retries')}" if tally.retries else ""
    print_text(f"{counted(tally.accepted, 'batch', 'batches')} accepted in {duration_text(seconds)}{rate}{again}")
    if tally.refused:
        print_text(f"{counted(tally.refused, 'batch', 'batches')} refused")
    for reason, count in list(tally.reasons.items())[:_FIRST_REASONS]:
        print_error(f"{reason} ({counted(count, 'batch', 'batches')})", "refused")
    if len(tally.reasons) > _FIRST_REASONS:
        print_error(f"{len(tally.reasons) - _FIRST_REASONS} more reasons", "refused")
    if tally.not_sent:
        print_error(f"{counted(tally.not_sent, 'batch', 'batches')} not sent: none would be accepted", "refused")
