"""Plugins of strangers, installed as distributions of their own: one that fails, one that is broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from .configurations import to_file
from .daemon import Daemon, batch, until
from .distributions import distribution

New = Callable[..., Daemon]
PICKY = """
    import json
    from pathlib import Path
    from router_core.components import (
        ConfigurationSettings, ConnectionSettings, Destination, DestinationType, Limits, setting,
    )
    from router_core.hookspecs import hookimpl
    from router_core.outcomes import Outcome

    class PickySettings(ConfigurationSettings):
        path: Path = setting(title="Path", help="Where it writes.")

    class Picky(Destination):
        def __init__(self, context):
            self._path = context.settings.path

        async def deliver(self, records):
            lines = []
            for record in records:
                if record.event is not None and record.event.event_name == "Poison":
                    raise KeyError("the plugin did not think of this")
                lines.append(json.dumps([record.id, getattr(record.event, "event_name", None)]))
            with self._path.open("a") as file:
                file.writelines(line + "\\n" for line in lines)
            return [Outcome.delivered(record.id) for record in records]

    PICKY = DestinationType(
        name="picky", title="Picky", summary="Fails on one event.", create=Picky,
        configuration_settings=PickySettings, connection_settings=ConnectionSettings, limits=Limits(records=100),
    )

    @hookimpl
    def router_destinations():
        return [PICKY]
"""
BROKEN = """
    raise RuntimeError("this plugin was made for something else")
"""


def test_a_plugin_that_raises_on_one_record_loses_that_record_to_the_dead_letters_and_no_other(
    new_daemon: New, tmp_path: Path
) -> None:
    env = distribution(tmp_path / "plugins", "router-picky", PICKY)
    config = to_file(tmp_path / "taken")
    config["outputs"]["archive"] |= {"destination": "picky"}
    daemon = new_daemon(config, env=env).start()
    daemon.send(*[batch("Poison" if n in (7, 31) else f"E{n}", user=f"user-{n % 3}") for n in range(50)])
    daemon.settled()
    daemon.send(batch("After"))
    daemon.settled()
    taken = [json.loads(line)[1] for line in (tmp_path / "taken").read_text().splitlines()]
    events = [name for name in taken if name is not None]
    assert sorted(events) == sorted(["After", *(f"E{n}" for n in range(50) if n not in (7, 31))])
    letters = daemon.letters()
    assert [(kind, code) for kind, code, _ in letters] == [("custom_event", "plugin_error")] * 2
    assert letters[0][2].startswith("KeyError: 'the plugin did not think of this' (router_picky.py:")
    assert "Traceback" not in letters[0][2]
    daemon.metric_reaches("router_rejected_records_total", 2, code="plugin_error")


def test_a_broken_plugin_that_nothing_uses_is_a_warning(new_daemon: New, tmp_path: Path) -> None:
    env = distribution(tmp_path / "plugins", "router-broken", BROKEN)
    daemon = new_daemon(to_file(tmp_path / "archive"), env=env).start()
    daemon.send(batch("Hello"))
    until("it arrives", (tmp_path / "archive").exists)
    warnings = [line for line in daemon.output().splitlines() if "router-broken" in line]
    assert warnings, daemon.output()
    assert all("warning" in line for line in warnings)
    assert "this plugin was made for something else" in warnings[0]


def test_a_broken_plugin_that_is_used_stops_the_start_and_names_the_distribution(
    new_daemon: New, tmp_path: Path
) -> None:
    env = distribution(tmp_path / "plugins", "router-broken", BROKEN)
    config = to_file(tmp_path / "archive")
    config["outputs"]["archive"] |= {"destination": "broken"}
    daemon = new_daemon(config, env=env)
    daemon.launch()
    assert daemon.ended() == 2
    assert "router-broken 1.2.3" in daemon.output()
    assert "RuntimeError: this plugin was made for something else" in daemon.output()
    assert "Traceback" not in daemon.output()
