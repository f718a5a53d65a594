"""Batches of people, and data folders in which somebody is to be forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from router_core.erasure import Erasure, folded
from router_core.erasurefile import FILE, opened
from router_core.suppression import Suppression

ID = "11111111-1111-4111-8111-111111111111"


def batch(customer: str | None = None, *, events: int = 1, **fields: Any) -> bytes:
    """An upload with some events, of a customer if one is named."""
    event = {"event_type": "custom_event", "data": {"event_name": "Read", "custom_event_type": "other"}}
    identities = {} if customer is None else {"user_identities": {"customer_id": customer}}
    return orjson.dumps({"events": [event] * events, **identities, **fields})


def ask(folder: Path, *identities: tuple[str, str], id: str = ID, **about: Any) -> Erasure:
    """Store a request."""
    with opened(folder) as file:
        return file.add(id, folded(identities), source="command", **about)


def suppression_of(folder: Path) -> Suppression:
    """The set of a process that has just looked."""
    found = Suppression(folder / FILE)
    found.refresh()
    return found


def erasure_of(folder: Path, id: str = ID) -> Erasure:
    """A request as it stands on file."""
    with opened(folder) as file:
        return file.get(id)
