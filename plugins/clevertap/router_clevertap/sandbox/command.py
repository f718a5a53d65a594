"""`router clevertap sandbox`: the sandbox in the foreground."""

import gc
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from router_clevertap.sandbox.faults import Fault, problems_of
from router_clevertap.sandbox.rules import UPLOADS_AT_ONCE
from router_clevertap.sandbox.settings import DEMO_ACCOUNT, DEMO_PASSCODE, SandboxSettings

app = typer.Typer(add_completion=False)


def _account(text: str) -> tuple[str, str]:
    name, colon, passcode = text.partition(":")
    if not (name and colon and passcode):
        raise typer.BadParameter("expected ID:PASSCODE")
    return name, passcode


def _fault(text: str) -> Fault:
    try:
        return Fault.model_validate_json(text)
    except ValidationError as error:
        raise typer.BadParameter(problems_of(error)) from None


@app.command()
def sandbox(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8901,
    account: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID:PASSCODE", help=f"An account. Repeatable. Without it: {DEMO_ACCOUNT}:{DEMO_PASSCODE}."
        ),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Only count what arrives: a sink for benchmarks.")] = False,
    record: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Append every accepted record to this file, a JSON line each."),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="JSON", help='A fault, such as {"status": 503, "times": 3}. Repeatable.'),
    ] = None,
    max_events: Annotated[int, typer.Option(min=1, help="Records kept in memory.")] = 100_000,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Uploads of one account at once before 429.")
    ] = UPLOADS_AT_ONCE,
    device: Annotated[
        list[str] | None,
        typer.Option(metavar="OBJECTID", help="A CleverTap ID that an app has made; others are ghosts. Repeatable."),
    ] = None,
    discard: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="An event discarded on the dashboard (528). Repeatable."),
    ] = None,
) -> None:
    """Run a local stand-in for CleverTap's API, with a page that shows what arrives."""
    accounts = dict(_account(text) for text in account or [f"{DEMO_ACCOUNT}:{DEMO_PASSCODE}"])
    try:
        settings = SandboxSettings(
            accounts=accounts,
            fast=fast,
            record_file=record,
            faults=tuple(_fault(text) for text in fault or ()),
            max_events=max_events,
            concurrency=concurrency,
            devices=frozenset(device or ()),
            discarded_events=frozenset(discard or ()),
        )
    except ValueError as problem:
        raise _ended(str(problem)) from None
    _serve(settings, host, port)


def _serve(settings: SandboxSettings, host: str, port: int) -> None:
    # Here, for uvicorn is slow to import and the listing of commands is not to wait for it.
    from router_clevertap.sandbox.serving import Serving, listening_socket, url_of

    try:
        bound = listening_socket(host, port)
    except OSError as problem:
        raise _ended(f"Cannot listen on {host} port {port}: {problem.strerror}.") from None
    with bound:
        try:
            serving = Serving(settings, bound, lambda: typer.echo(_greeting(settings, url_of(bound))))
        except OSError as problem:
            raise _ended(f"Cannot write {problem.filename}: {problem.strerror}.") from None
        if settings.fast:
            gc.freeze()
            gc.set_threshold(100_000, 50, 100)  # a parsed body is thousands of objects and never a cycle
        serving.run_to_end(obey_signals=True)


def _greeting(settings: SandboxSettings, url: str) -> str:
    names = ", ".join(
        f"account {name} with passcode {passcode if name == DEMO_ACCOUNT else 'as given'}"
        for name, passcode in settings.accounts.items()
    )
    return f"CleverTap sandbox{' (fast)' if settings.fast else ''} on {url} for {names}. Ctrl+C stops it."


def _ended(sentence: str) -> typer.Exit:
    typer.echo(sentence, err=True)
    return typer.Exit(1)
