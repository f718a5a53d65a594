"""What is allowed and yet probably not meant, or not safe: findings about a configuration that works."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path

from router_core.configtree import KeyPath, Origin
from router_core.configuration import Configuration, Finding, Severity
from router_core.draft import Draft, UnknownPlace
from router_core.kitfilters import kit_filters


def findings_of(configuration: Configuration, draft: Draft) -> Iterator[Finding]:
    """All findings, in the order of the rules below."""
    yield from _no_connection(configuration, draft)
    yield from _unused(configuration, draft)
    yield from _broken_plugins(configuration)
    yield from _platforms(configuration, draft)
    yield from _deaf_kits(configuration, draft)
    yield from _plain_secrets(draft)
    yield from _open_doors(configuration, draft)
    yield from _closed_folder(configuration, draft)


def _finding(draft: Draft, path: KeyPath, what: str, mend: str, severity: Severity = Severity.WARNING) -> Finding:
    problem = draft.problem(path, what, mend)
    return Finding(where=problem.where, path=problem.path, what=what, mend=mend, severity=severity)


def _no_connection(configuration: Configuration, draft: Draft) -> Iterator[Finding]:
    if not configuration.settings.connections:
        mend = "Add `connections:` with an input and an output."
        yield _finding(draft, ("connections",), "no connection: nothing will be delivered.", mend)


def _unused(configuration: Configuration, draft: Draft) -> Iterator[Finding]:
    settings = configuration.settings
    connections = settings.connections.values()  # those that are off count: they are kept on purpose
    used = {
        "inputs": {connection.input for connection in connections},
        "outputs": {connection.output for connection in connections},
        "transforms": {name for connection in connections for name in connection.transforms},
    }
    for section, names in used.items():
        for name in getattr(settings, section):
            if name not in names:
                mend = "Name it in a connection, or remove it."
                yield _finding(draft, (section, name), "no connection uses it.", mend, Severity.NOTE)


def _broken_plugins(configuration: Configuration) -> Iterator[Finding]:
    for plugin in configuration.plugins.found:
        if plugin.error is not None:  # one that is used would have been a problem
            mend = f"Mend or uninstall {plugin.distribution}."
            what = f"the plugin {plugin.name!r} does not load: {plugin.error}."
            yield Finding(where=plugin.origin, path="", what=what, mend=mend)


def _platforms(configuration: Configuration, draft: Draft) -> Iterator[Finding]:
    for name, entry in configuration.settings.connections.items():
        source = configuration.inputs[entry.input]
        platform = source.platform
        destination = configuration.outputs[entry.output].type
        if not destination.accepts.takes(platform, is_feed=source.is_feed):
            what = f"{destination.title} takes nothing from the platform {platform}, so nothing will be sent."
            yield _finding(draft, ("connections", name, "input"), what, "Use an input of another platform.")
        yield from _bound_settings(draft, ("connections", name), platform)
    for name, settings in configuration.settings.inputs.items():
        yield from _bound_settings(draft, ("inputs", name), settings.platform)


def _bound_settings(draft: Draft, path: KeyPath, platform: str) -> Iterator[Finding]:
    node = draft.root.at(path)
    for place, _ in node.walk(path) if node else ():
        try:
            field = draft.slot(place)[1].field
        except UnknownPlace:
            continue
        extra = field.json_schema_extra if field else None
        platforms = extra.get("platforms") if isinstance(extra, dict) else None
        if isinstance(platforms, list) and platform not in platforms:
            what = f"means something for {', '.join(map(str, platforms))} only; the input's platform is {platform}."
            yield _finding(draft, place, what, "Remove it.", Severity.NOTE)


def _deaf_kits(configuration: Configuration, draft: Draft) -> Iterator[Finding]:
    for path, connection in {one.path: one for one in configuration.connections.values()}.items():
        kit, channel = connection.output.type.kit, connection.input.channel
        by_page = channel == "javascript" and not getattr(connection.settings, "forward_web_requests_server_side", True)
        if connection.filters is None or kit is None or not (by_page or channel == "native"):
            continue
        for setting in kit_filters(connection.filters).unexpressed:
            what = f"the {kit.name} kit in an app or page cannot keep this filter: it sends for itself, unfiltered."
            place = (*path.split("."), "filters", setting)
            yield _finding(draft, place, what, "Block single names, or let the router forward in the kit's place.")


def _plain_secrets(draft: Draft) -> Iterator[Finding]:
    for path, node in draft.root.walk():
        if node.origin is Origin.FILE and isinstance(node.value, str) and draft.is_secret(path):
            mend = "Write ${env:NAME} or ${file:/path} instead."
            yield _finding(draft, path, "a secret stands in the file as plain text.", mend)


def _open_doors(configuration: Configuration, draft: Draft) -> Iterator[Finding]:
    settings = configuration.settings
    if not _is_loopback(settings.listen.host):
        for name, entry in configuration.inputs.items():
            # A client's key is public by nature, so an app or a page has no secret to give; a server has.
            if entry.secret is None and (entry.key is None or entry.type.channel == "server_to_server"):
                what = "has no secret, while `listen.host` is open to other machines: anybody can send."
                yield _finding(draft, ("inputs", name), what, "Give it a `secret`, or listen on 127.0.0.1.")
    if not _is_loopback(settings.admin.host) and settings.admin.token is None:
        what = "is open to other machines, and `admin.token` is not set: they get the probes only."
        yield _finding(draft, ("admin", "host"), what, "Set `admin.token`, or use 127.0.0.1.")


def _closed_folder(configuration: Configuration, draft: Draft) -> Iterator[Finding]:
    log = configuration.settings.log
    if log.engine == "embedded" and not _can_be_made(log.path):
        what = "this user cannot make or write this folder, so the router will not start here."
        yield _finding(draft, ("log", "path"), what, "Make it writable, or choose another one.")


def _can_be_made(folder: Path) -> bool:
    """Whether the folder, or the nearest one above it that there is, can be written to."""
    # os.path says no where Path raises: at a name that is too long, or in a folder that cannot be searched.
    there = next((str(path) for path in (folder, *folder.parents) if os.path.lexists(path)), os.sep)
    return os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
