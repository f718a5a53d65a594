"""Feeds: inputs for data that no app or page sends. Events of a named feed say where they come from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from router_core.records import Record

SOURCE_FEED: Final = "mParticle Source Feed"
"""The attribute that each event of a custom or partner feed gets, with the feed's name; no filter takes it out."""


def mark_source_feed(records: Iterable[Record], feed: str) -> None:
    """Put the feed's name into the attributes of each event, in place: only records just decoded may be given."""
    for record in records:
        if record.event is not None:
            record.event.custom_attributes = {**(record.event.custom_attributes or {}), SOURCE_FEED: feed}
