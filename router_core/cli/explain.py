"""`router explain`: what would become of a batch at each connection, and why, without sending anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router_core.cli.options import ConfigOption, ConnectionOption, JsonOption, configuration_of

if TYPE_CHECKING:
    from router_core.cli.rehearsal import Rehearsal
    from router_core.configuration import Configuration, ConfiguredConnection
    from router_core.log.port import StoredBatch


def add_to(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def explain(
        context: typer.Context,
        file: Annotated[
            str, typer.Argument(help="Batches: one alone, one a line, a list, or a recorded request. - is stdin.")
        ],
        config: ConfigOption,
        input_name: Annotated[
            str | None, typer.Option("--input", help="The input; needed if there is more than one.", metavar="NAME")
        ] = None,
        connection: ConnectionOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Show which records of a batch each connection sends or skips, why, and the exact requests.

        Nothing is sent and nothing is kept. Transforms that remember earlier batches start without memory here.
        """
        from router_core.cli import FAILED
        from router_core.cli.batches import read_uploads
        from router_core.cli.options import chosen_input
        from router_core.cli.printing import print_json
        from router_core.cli.rehearsal import accepted_batches
        from router_core.logs import configure_logs

        configuration = configuration_of(context, config)
        source = chosen_input(configuration, input_name)
        chosen = _chosen(configuration, source.name, connection)
        configure_logs(configuration.settings.telemetry.log_format, "warning")
        batches, verdicts = accepted_batches(read_uploads(file), source)
        found = _rehearse(chosen, batches)
        document = {
            "input": source.name,
            "platform": source.platform.value,
            "channel": source.channel,
            "batches": [asdict(verdict) for verdict in verdicts],
            "connections": [asdict(one) for one in found],
            "disabled": _disabled(configuration, source.name),
        }
        if as_json:
            print_json(document)
        else:
            _print(document)
        if any(verdict.refused for verdict in verdicts) or any(one.fault for one in found):
            raise typer.Exit(FAILED)


def _chosen(configuration: Configuration, source: str, name: str | None) -> Sequence[ConfiguredConnection]:
    from router_core.cli.options import unknown_name

    found = [one for one in configuration.connections.values() if one.input.name == source]
    if name is None:
        return found
    if name not in (one.name for one in found):
        raise unknown_name(f"connection of {source}", name, [one.name for one in found], "'--connection'")
    return [one for one in found if one.name == name]


def _disabled(configuration: Configuration, source: str) -> list[str]:
    entries = configuration.settings.connections.items()
    return [name for name, entry in entries if entry.input == source and not entry.enabled]


def _rehearse(connections: Sequence[ConfiguredConnection], batches: Sequence[StoredBatch]) -> Sequence[Rehearsal]:
    import asyncio

    from router_core.cli.rehearsal import rehearse_all

    return asyncio.run(rehearse_all(connections, batches))


# --- printing ---------------------------------------------------------------------------------------------------------


def _print(document: Mapping[str, Any]) -> None:
    from router_core.cli.printing import counted, print_error, print_text

    where = f"{document['input']} ({document['platform']})"
    for verdict in document["batches"]:
        if verdict["refused"] is None:
            print_text(f"Batch {verdict['batch']}: {where} accepts it: {counted(verdict['records'], 'record')}")
        else:
            print_error(f"batch {verdict['batch']}: {where} refuses it: {verdict['refused']}")
    if any(verdict["refused"] is None for verdict in document["batches"]):
        for connection in document["connections"]:
            _print_connection(connection)
    for name in document["disabled"]:
        print_text(f"\nConnection {name} is off.")
    if not document["connections"] and not document["disabled"]:
        print_text("No connection has this input: what it accepts goes nowhere.")


def _print_connection(connection: Mapping[str, Any]) -> None:
    from router_core.cli.printing import console, harmless, json_text, print_error, print_text, table_of

    print_text(f"\nConnection {connection['connection']} to {connection['output']} ({connection['destination']})")
    table = table_of("Record", "Event type", "Result", "Why", wide=("Why",))
    for one in connection["records"]:
        why = ": ".join(part for part in (one["code"], one["message"]) if part)
        if any(note.startswith(f"{one['code']} (") and note.endswith(f": {one['message']}") for note in one["notes"]):
            why = ""  # the note says the same, and the policy as well
        why = "\n".join(part for part in (why, *one["notes"]) if part)
        table.add_row(*(harmless(cell) for cell in (one["record"], one["event_type"], one["result"], why)))
    if connection["records"]:
        console().print(table)
    selected = any(one["result"] == "selected" for one in connection["records"])
    for number, request in enumerate(connection["requests"], start=1):
        print_text(f"Request {number} of {len(connection['requests'])}")
        print_text(json_text(request))
    if connection["fault"]:
        print_error(f"connection {connection['connection']}: {connection['fault']}")
    elif selected and not connection["requests"]:
        print_text(f"The destination {connection['destination']} shows no requests.")
    elif not selected:
        print_text("Nothing is sent.")
