"""The event log as a command sees it: beside a running router or without one, and without changing who reads what."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from router_core.errors import RouterError

if TYPE_CHECKING:
    from router_core.configuration import Configuration
    from router_core.log.port import EventLog


def has_log(configuration: Configuration) -> bool:
    """Whether a router has run with this data folder; a command must not be the one that makes it."""
    settings = configuration.settings.log
    if settings.engine == "memory":
        raise RouterError("log.engine is memory: what it holds cannot be seen from outside, and goes with the router.")
    return settings.engine != "embedded" or (settings.path / "lock").exists()


@asynccontextmanager
async def opened_log(configuration: Configuration) -> AsyncIterator[EventLog]:
    """The log, opened without naming inputs or connections, so that no cursor is made or moved.

    Raises `RouterError` with a sentence, also if the log is too busy or damaged.
    """
    from router_core.worker import log_for

    log = log_for(configuration)
    await log.open([], {})
    try:
        yield log
    except (sqlite3.Error, OSError) as error:
        raise RouterError(f"the event log cannot be used right now: {error}. Try again.") from error
    finally:
        await log.close()
