"""`router dead-letters`: look at what was given up, deliver it again, or drop it. Works beside a running router."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from router_core.cli.options import ConfigOption, ConnectionOption, JsonOption, configuration_of

if TYPE_CHECKING:
    from router_core.configuration import Configuration
    from router_core.log.port import DeadLetter, EventLog, StoredBatch

T = TypeVar("T")

Numbers = Annotated[list[int] | None, typer.Argument(help="Numbers of dead letters.", metavar="NUMBER", min=1)]
AllOption = Annotated[bool, typer.Option("--all", help="All of them, or all of one connection.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
_NEXT: Final = "The router delivers {them} again within seconds when it runs."


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    letters = typer.Typer(help="Look at records that were given up, deliver them again, or drop them.")
    _add_looking(letters)
    _add_changing(letters)
    app.add_typer(letters, name="dead-letters", no_args_is_help=True)


def _add_looking(letters: typer.Typer) -> None:
    @letters.command("list")
    def list_(
        context: typer.Context,
        config: ConfigOption,
        connection: ConnectionOption = None,
        limit: Annotated[int, typer.Option("--limit", help="Most to show.", min=1)] = 100,
        after: Annotated[int, typer.Option("--after", help="Only numbers above this one.", min=0)] = 0,
        as_json: JsonOption = False,
    ) -> None:
        """List dead letters, oldest first, without what is in them."""

        async def read(log: EventLog) -> Sequence[tuple[int, DeadLetter]]:
            await _require_known(log, configuration, connection)
            return await log.letters(connection, after=after, limit=limit)

        configuration = configuration_of(context, config)
        _print_list(_with_log(configuration, read, []), limit, as_json=as_json)

    @letters.command()
    def show(
        context: typer.Context,
        number: Annotated[int, typer.Argument(help="Number of the dead letter.", min=1)],
        config: ConfigOption,
        as_json: JsonOption = False,
    ) -> None:
        """Show one dead letter: why it was given up, and the event with its values."""

        async def read(log: EventLog) -> tuple[DeadLetter, StoredBatch] | None:
            return await log.letter(number)

        found = _with_log(configuration_of(context, config), read, None)
        if found is None:
            raise _no_such([number])
        _print_one(number, *found, as_json=as_json)


def _add_changing(letters: typer.Typer) -> None:
    @letters.command()
    def replay(
        context: typer.Context,
        config: ConfigOption,
        numbers: Numbers = None,
        connection: ConnectionOption = None,
        every: AllOption = False,
        yes: YesOption = False,
        as_json: JsonOption = False,
    ) -> None:
        """Deliver dead letters again, after the fault is mended."""
        configuration = configuration_of(context, config)

        async def change(log: EventLog) -> int:
            chosen = await _chosen(log, configuration, numbers, connection, every=every, yes=yes, verb="Deliver again")
            return await log.replay_letters(chosen, connection)

        count = _with_log(configuration, change, 0)
        _tell("replaying", count, _NEXT.format(them="it" if count == 1 else "them") if count else "", as_json=as_json)

    @letters.command()
    def drop(
        context: typer.Context,
        config: ConfigOption,
        numbers: Numbers = None,
        connection: ConnectionOption = None,
        every: AllOption = False,
        yes: YesOption = False,
        as_json: JsonOption = False,
    ) -> None:
        """Delete dead letters for good."""
        configuration = configuration_of(context, config)

        async def change(log: EventLog) -> int:
            chosen = await _chosen(log, configuration, numbers, connection, every=every, yes=yes, verb="Drop for good")
            return await log.drop_letters(chosen, connection)

        _tell("dropped", _with_log(configuration, change, 0), "", as_json=as_json)


def _with_log(configuration: Configuration, use: Callable[[EventLog], Awaitable[T]], without: T) -> T:
    """What `use` gives, or `without` if no router has run with the data folder yet."""
    from router_core.cli.eventlog import has_log, opened_log
    from router_core.cli.printing import print_error

    async def run() -> T:
        async with opened_log(configuration) as log:
            return await use(log)

    if not has_log(configuration):
        print_error(f"no router has run with the data folder {configuration.settings.log.path} yet.", "note")
        return without
    return asyncio.run(run())


# --- choosing ---------------------------------------------------------------------------------------------------------


async def _chosen(
    log: EventLog,
    configuration: Configuration,
    numbers: Sequence[int] | None,
    connection: str | None,
    *,
    every: bool,
    yes: bool,
    verb: str,
) -> Sequence[int] | None:
    """The numbers to act on, None for all. Raises unless each one is there, and somebody agreed to all."""
    if bool(numbers) == every:
        raise typer.BadParameter("name dead letters by number, or all of them by --all.", param_hint="NUMBER")
    await _require_known(log, configuration, connection)
    if numbers:
        missing = [number for number in numbers if not await _is_there(log, number, connection)]
        if missing:
            raise _no_such(missing, connection)
        return numbers
    count = await _count(log, connection)
    if count and not yes:
        _require_consent(f"{verb} {count:,} dead letters{f' of {connection}' if connection else ''}?")
    return None


def _require_consent(question: str) -> None:
    if not _can_ask():
        raise typer.BadParameter("add --yes, as nobody can be asked here.", param_hint="'--all'")
    typer.confirm(question, abort=True, err=True)


def _can_ask() -> bool:
    return sys.stdin.isatty()


async def _is_there(log: EventLog, number: int, connection: str | None) -> bool:
    found = await log.letter(number)
    return found is not None and connection in (None, found[0].connection)


async def _count(log: EventLog, connection: str | None) -> int:
    count = after = 0
    while page := await log.letters(connection, after=after, limit=1000):
        count, after = count + len(page), page[-1][0]
    return count


async def _require_known(log: EventLog, configuration: Configuration, connection: str | None) -> None:
    """A name may be that of a connection that is gone, as long as it left letters behind."""
    from router_core.cli.options import unknown_name

    known = dict.fromkeys([*configuration.connections, *configuration.settings.connections])
    if connection is not None and connection not in known and not await log.letters(connection, limit=1):
        raise unknown_name("connection", connection, known, "'--connection'")


def _no_such(numbers: Sequence[int], connection: str | None = None) -> Exception:
    from router_core.errors import RouterError

    of = f" of {connection}" if connection else ""
    which = ", ".join(str(number) for number in numbers)
    return RouterError(f"no dead letter{of} has the number {which}. Nothing was done.")


# --- printing ---------------------------------------------------------------------------------------------------------


def _as_dict(number: int, letter: DeadLetter) -> dict[str, Any]:
    """All but the message, which may quote a value; times in Unix milliseconds."""
    return {
        "number": number,
        "connection": letter.connection,
        "record": letter.record_id,
        "event_type": letter.event_type,
        "disposition": letter.disposition,
        "code": letter.code,
        "attempts": letter.attempts,
        "received_at_ms": letter.received_at_ms,
        "parked_at_ms": letter.parked_at_ms,
        "replaying": letter.replaying,
    }


def _print_list(found: Sequence[tuple[int, DeadLetter]], limit: int, *, as_json: bool) -> None:
    from router_core.cli.printing import console, harmless, print_json, print_text, table_of, time_text

    if as_json:
        print_json([_as_dict(number, letter) for number, letter in found])
        return
    if not found:
        print_text("no dead letters")
        return
    table = table_of("No.", "Connection", "Event type", "Code", "Tries", "Parked", "", right=("No.", "Tries"))
    for number, letter in found:
        cells = (
            str(number),
            letter.connection,
            letter.event_type,
            letter.code,
            str(letter.attempts),
            time_text(letter.parked_at_ms),
            "replaying" if letter.replaying else letter.disposition,
        )
        table.add_row(*(harmless(cell) for cell in cells))
    console().print(table)
    if len(found) == limit:
        print_text(f"There may be more: add --after {found[-1][0]}.")


def _print_one(number: int, letter: DeadLetter, batch: StoredBatch, *, as_json: bool) -> None:
    from router_core.cli.printing import json_text, print_json, print_text, time_text

    event, rest = _parts(letter, batch.body)
    if as_json:
        about = {"message": letter.message, "input": batch.input, "event": event, "batch": rest}
        print_json(_as_dict(number, letter) | about)
        return
    state = ", is being delivered again" if letter.replaying else ""
    print_text(f"Dead letter {number} of {letter.connection}: {letter.event_type} {letter.record_id}{state}")
    print_text(f"{letter.disposition}: {letter.code}: {letter.message}")
    print_text(
        f"Accepted at {batch.input} {time_text(letter.received_at_ms)}, given up {time_text(letter.parked_at_ms)} "
        f"after {letter.attempts} {'try' if letter.attempts == 1 else 'tries'}."
    )
    for title, part in (("Event", event), ("Its batch" if event is None else "Rest of its batch", rest)):
        if part not in (None, {}):
            print_text(f"\n{title}")
            print_text(part if isinstance(part, str) else json_text(part))


def _parts(letter: DeadLetter, body: bytes) -> tuple[Any, Any]:
    """The event of a record, and its batch without events. What is no JSON object is given as text."""
    import orjson

    try:
        batch = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None, body.decode("utf-8", "replace")
    place = letter.record_id.rpartition(".")[2]
    events = batch.get("events") if isinstance(batch, Mapping) else None
    rest = {name: value for name, value in batch.items() if name != "events"} if isinstance(batch, Mapping) else batch
    if place == "p":
        return None, rest
    if not place.isdecimal() or not isinstance(events, list) or int(place) >= len(events):
        return None, batch
    return events[int(place)], rest


def _tell(what: str, count: int, then: str, *, as_json: bool) -> None:
    from router_core.cli.printing import counted, print_json, print_text

    if as_json:
        print_json({what: count})
    else:
        print_text(f"{counted(count, 'dead letter')} {what}. {then}".strip())
