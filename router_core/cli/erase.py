"""`router erase`: forget a person, here and at the partners, for good. Works beside a running router."""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from router_core.cli.identities import IdentitiesArgument, identities_of, require_folder
from router_core.cli.options import ConfigOption, JsonOption, configuration_of

if TYPE_CHECKING:
    from router_core.configuration import Configuration
    from router_core.erasure import Erasure

_LOOK_EVERY: Final = 0.5


class Regulation(StrEnum):
    """By which law somebody asks."""

    GDPR = "gdpr"
    CCPA = "ccpa"


def add_to(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def erase(
        context: typer.Context,
        identities: IdentitiesArgument,
        config: ConfigOption,
        regulation: Annotated[Regulation, typer.Option(help="By which law it is asked for.")] = Regulation.GDPR,
        wait: Annotated[bool, typer.Option("--wait", help="Return when it is complete.")] = False,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
        as_json: JsonOption = False,
    ) -> None:
        """Erase a person from the router's data and at the partners, and keep nothing of them from now on."""
        configuration = configuration_of(context, config)
        wanted = identities_of(identities)
        require_folder(configuration)
        if not yes:
            _require_consent(wanted)
        made, is_new = _requested(configuration, wanted, regulation.value)
        runs = is_running(configuration.settings.log.path)
        if not as_json:
            _tell(configuration, made, is_new=is_new, runs=runs)
        if wait:
            made = _awaited(configuration, made, runs=runs)
        _print(made, runs=runs, as_json=as_json, waited=wait)


def _require_consent(wanted: dict[str, list[str]]) -> None:
    import sys

    if not sys.stdin.isatty():
        raise typer.BadParameter("add --yes, as nobody can be asked here.", param_hint="'IDENTITY'")
    typer.confirm(f"Erase the person with this {', '.join(wanted)} for good?", abort=True, err=True)


def _requested(configuration: Configuration, wanted: dict[str, list[str]], regulation: str) -> tuple[Erasure, bool]:
    """The request, and whether it is a new one: asking twice does no harm."""
    from uuid import uuid4

    from router_core.erasure import Conflict
    from router_core.erasurefile import opened

    with opened(configuration.settings.log.path) as file:
        try:
            return file.add(str(uuid4()), wanted, source="command", regulation=regulation), True
        except Conflict as known:
            return file.get(known.id), False


def is_running(folder: Path) -> bool:
    """Whether a router holds the data folder now."""
    import fcntl

    try:
        with (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _tell(configuration: Configuration, made: Erasure, *, is_new: bool, runs: bool) -> None:
    from router_core.cli.printing import print_text

    connections = configuration.connections.items()
    asked = [name for name, connection in connections if connection.output.type.erases]
    others = [name for name, connection in connections if not connection.output.type.erases]
    print_text(f"Erasure {made.id}" + ("" if is_new else " of the same identities is under way already."))
    print_text("From now on nothing of this person is kept or delivered (`router allow-again` lifts that).")
    print_text("The router wipes the event log, held records and dead letters" + (" now." if runs else "."))
    print_text(f"Then the partners forget the person at: {', '.join(asked) or 'no connection'}.")
    if others:
        print_text(f"Not reached, as these cannot erase: {', '.join(others)}.")
    if not runs:
        print_text("No router is running with this data folder: it begins when one is started.")


def _awaited(configuration: Configuration, made: Erasure, *, runs: bool) -> Erasure:
    """The request when it is complete. Raises `RouterError` if no router carries it out."""
    from router_core.erasure import Status
    from router_core.erasurefile import opened
    from router_core.errors import RouterError

    folder = configuration.settings.log.path
    with opened(folder) as file:
        while made.status in (Status.PENDING, Status.IN_PROGRESS):
            if not runs and not is_running(folder):
                raise RouterError(f"erasure {made.id} is stored, but no router is running that would carry it out.")
            time.sleep(_LOOK_EVERY)
            runs = False  # it may stop while we wait
            made = file.get(made.id)
    return made


def _print(made: Erasure, *, runs: bool, as_json: bool, waited: bool) -> None:
    from router_core.cli.printing import counted, print_json, print_text

    if as_json:
        print_json(as_dict(made) | {"running": runs})
    elif waited:
        print_text(f"{made.status}: {counted(made.batches, 'batch', 'batches')} erased here. {states_text(made)}")
    else:
        print_text("Follow it with `router erasures`.")


def as_dict(erasure: Erasure) -> dict[str, Any]:
    """Without the identities; times in Unix milliseconds."""
    return {
        "id": erasure.id,
        "status": erasure.status.value,
        "source": erasure.source,
        "regulation": erasure.regulation,
        "group_id": erasure.group_id,
        "submitted_at_ms": erasure.submitted_at_ms,
        "received_at_ms": erasure.received_at_ms,
        "completed_at_ms": erasure.completed_at_ms,
        "batches_erased": erasure.batches,
        "note": erasure.note or None,
        "connections": {
            name: {"state": at.state.value, "detail": at.detail or None, "tries": at.tries}
            for name, at in erasure.connections.items()
        },
    }


def states_text(erasure: Erasure) -> str:
    """`shop_to_clevertap: sent; archive: skipped (the destination file cannot erase)`."""
    states: Sequence[str] = [
        f"{name}: {at.state.value}" + (f" ({at.detail})" if at.detail else "")
        for name, at in erasure.connections.items()
    ]
    return "; ".join([*states, *([erasure.note] if erasure.note else [])])
