"""`router describe`: a source, transform or destination with all its settings. README tables are made from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from router_core.cli.options import JsonOption


class Kind(StrEnum):
    """What can be described."""

    SOURCE = "source"
    TRANSFORM = "transform"
    DESTINATION = "destination"


HEADINGS: Final = {
    "configuration": "Settings of an output",
    "connection": "Settings of a connection",
    "input": "Settings of an input",
    "transform": "Settings of the transform",
}
_ACCEPTS: Final = {
    "platforms": "Platforms",
    "event_types": "Event types",
    "user_identities": "User identities",
    "device_identities": "Device identities",
}


def add_to(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def describe(
        context: typer.Context,
        name: Annotated[str, typer.Argument(help="Name of a source, transform or destination.")],
        kind: Annotated[Kind | None, typer.Option("--kind", help="If two kinds have the same name.")] = None,
        as_json: JsonOption = False,
        as_markdown: Annotated[bool, typer.Option("--markdown", help="Print tables for a README.")] = False,
    ) -> None:
        """Tell what a component takes, its limits, and all its settings."""
        from router_core.cli.description import descriptions_of, known_names
        from router_core.cli.options import unknown_name
        from router_core.cli.printing import print_error, print_json, print_text

        if as_json and as_markdown:
            raise typer.BadParameter("choose one of --json and --markdown.")
        found = descriptions_of(context.obj, name, kind)
        if not found:
            raise unknown_name(kind or "component", name, known_names(context.obj, kind), "NAME")
        if as_json:
            print_json(found)
        elif as_markdown:
            print_text("\n\n".join(markdown_of(about) for about in found))
        else:
            for about in found:
                _print(about)
        for about in found:
            if about["error"]:
                print_error(about["error"], "warning")


# --- for people -------------------------------------------------------------------------------------------------------


def _print(about: Mapping[str, Any]) -> None:
    from router_core.cli.printing import console, harmless, print_text, table_of

    plugin = about["plugin"]
    print_text(f"{about['title']}: {about['kind']} `{about['name']}`, {about['stability']}")
    print_text(f"{about['summary']}")
    print_text(f"From {plugin['distribution']} {plugin['version']}, plugin contract {about['contract']}.")
    for label, text in _facts(about):
        console().print(f"{label + ':':<20} {harmless(text)}", soft_wrap=True)
    for part, rows in about["settings"].items():
        print_text()
        print_text(f"{HEADINGS[part]}" + ("" if rows else ": none"))
        if rows:
            table = table_of("Setting", "Type", "Default", "Meaning", wide=("Type", "Default", "Meaning"))
            for row in rows:
                table.add_row(*(harmless(cell) for cell in (row["name"], row["type"], _default(row), _meaning(row))))
            console().print(table)
    print_text()


def _facts(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Label and text of what there is to say besides the settings."""
    if "accepts" in about:
        for name, label in _ACCEPTS.items():
            yield label, _listed(name, about["accepts"][name])
        yield "Profile updates", "yes" if about["accepts"]["profile_updates"] else "no"
        yield "Erasure", "yes" if about["erases"] else "no"
    if about.get("kit"):
        kit = about["kit"]
        yield "Only by its kit", f"{', '.join(kit['event_types']) or 'nothing'} (module id {kit['module_id']})"
    if "limits" in about:
        limits = about["limits"]
        yield (
            "Limits",
            f"{limits['records']} records a call, {limits['calls_in_flight']} calls at once, "
            f"{limits['timeout_seconds']:g} s a call" + (" (by its settings)" if limits["depend_on_settings"] else ""),
        )
    if "channel" in about:
        needs = [name for name in ("key", "secret") if about[f"needs_{name}"]]
        yield "An input needs", " and ".join(needs) or "neither key nor secret"
        yield "Channel", about["channel"]


def _listed(name: str, values: Sequence[str]) -> str:
    from router_core.events import DeviceIdentity, EventType, Platform, UserIdentity

    whole = {"platforms": Platform, "event_types": EventType, "user_identities": UserIdentity,
             "device_identities": DeviceIdentity}[name]  # fmt: skip
    return "all" if len(values) == len(whole) else ", ".join(values) or "none"


def _default(row: Mapping[str, Any]) -> str:
    return "required" if row["required"] else _value(row["default"])


def _value(value: Any) -> str:
    """As one would write it in the file."""
    if value is None or value in ("", [], {}):
        return "empty"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _meaning(row: Mapping[str, Any], quote: str = "") -> str:
    parts = [row["help"]]
    if row["secret"]:
        parts.append("A secret.")
    if row["platforms"]:
        parts.append(f"Only for {', '.join(row['platforms'])}.")
    if row["example"] is not None:
        parts.append(f"Example: {quote}{_value(row['example'])}{quote}.")
    return " ".join(part for part in parts if part)


# --- for READMEs ------------------------------------------------------------------------------------------------------


def markdown_of(about: Mapping[str, Any]) -> str:
    """What it takes and its settings, as Markdown tables below headings of the second level."""
    sections = []
    facts = [f"| {label} | {_cell(text)} |" for label, text in _facts(about)]
    if facts:
        sections.append("\n".join(["## What it takes", "", "| | |", "| --- | --- |", *facts]))
    for part, rows in about["settings"].items():
        table = _table(rows) if rows else ["None."]
        sections.append("\n".join([f"## {HEADINGS[part]}", "", *table]))
    return "\n\n".join(sections)


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| Setting | Default | Type | Meaning |", "| --- | --- | --- | --- |"]
    for row in rows:
        default = _default(row)
        quoted = default if default in ("required", "empty") else f"`{default}`"
        cells = (f"`{row['name']}`", quoted, row["type"], _meaning(row, "`"))
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return lines


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
