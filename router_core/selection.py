"""Which records go to a connection's destination, and why the others do not.

The rules, in order; the first that matches names the code:

| code | rule |
|---|---|
| own_feed | the records come from this partner's own feed |
| unsupported_platform | the destination does not take the input's platform |
| sent_by_kit | the partner's kit in the app or page has sent it already |
| kit_only | a type of event that only the partner's kit forwards |
| unsupported_event_type | the destination does not take this type of event |

Forwarding rules (`rules`) and filters (`filters`) come after these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from router_core.components import DestinationType
from router_core.events import Platform
from router_core.outcomes import Outcome, Skip
from router_core.records import PROFILE_UPDATE, BatchContext, Record

Stage = Callable[[Sequence[Record]], tuple[list[Record], list[Outcome]]]
"""The records to go on with, in order, and a skipped outcome for each other."""


class Selection:
    """The decisions of one connection; those that depend on the type of event alone are made once."""

    def __init__(
        self,
        destination: DestinationType,
        connection_settings: Any,
        platform: Platform,
        *,
        own_feed: bool = False,
        is_feed: bool = False,
        stages: Sequence[Stage] = (),
        path: str = "connections.…",
    ) -> None:
        """`own_feed`: what comes in here is the partner's own, and must not go back. `path` is for the sentences."""
        self._type = destination
        self._path = path
        self._stages = stages
        self._forward_web = getattr(connection_settings, "forward_web_requests_server_side", True)
        self._kit_types = _kit_types(destination, connection_settings)
        self._skip_all: Skip | None = None
        if own_feed:
            self._skip_all = Skip(
                "own_feed",
                f"it came from {destination.title}'s own feed and does not go back: {path}.return_to_partner is off",
            )
        elif not destination.accepts.takes(platform, is_feed=is_feed):
            self._skip_all = Skip(
                "unsupported_platform",
                f"{destination.title} does not take platform {platform.value}, which is that of {path}.input",
            )
        self._by_type: dict[str, Skip | None] = {}

    def __call__(self, records: Sequence[Record]) -> tuple[list[Record], list[Outcome]]:
        """The records to send, in order, and a skipped outcome for each other."""
        kept: list[Record] = []
        outcomes: list[Outcome] = []
        for record in records:
            skip = self.reason(record)
            if skip is None:
                kept.append(record)
            else:
                outcomes.append(Outcome.skipped(record.id, *skip))
        for stage in self._stages:
            kept, skipped = stage(kept)
            outcomes += skipped
        return kept, outcomes

    def reason(self, record: Record) -> Skip | None:
        """Why the destination is not to get a record, or None if it may; rules and filters are asked later."""
        if self._skip_all is not None:
            return self._skip_all
        if self._type.kit is not None and record.context.channel != "server_to_server":
            by_kit = self._kit_skip(record.context)
            if by_kit is not None:
                return by_kit
        try:
            return self._by_type[record.event_type]
        except KeyError:
            skip = self._type_skip(record.event_type)
            if len(self._by_type) < 1000:  # senders can make up types without end
                self._by_type[record.event_type] = skip
            return skip

    def _kit_skip(self, context: BatchContext) -> Skip | None:
        assert self._type.kit is not None
        title = self._type.title
        if context.channel == "javascript" and not self._forward_web:
            where = f"{self._path}.settings.forward_web_requests_server_side"
            return Skip("sent_by_kit", f"the {title} kit in the page sends it: {where} is off")
        if context.channel == "native":
            kits = context.headers.get("x-mp-kits", "").replace(" ", "").split(",")
            if str(self._type.kit.module_id) in kits:
                return Skip("sent_by_kit", f"the {title} kit in the app sends it: x-mp-kits names it")
        return None

    def _type_skip(self, event_type: str) -> Skip | None:
        accepts, kit = self._type.accepts, self._type.kit
        if event_type == PROFILE_UPDATE:
            if accepts.profile_updates:
                return None
        elif event_type in self._kit_types:
            return Skip("kit_only", f"only the {self._type.title} kit in an app or page forwards {event_type}")
        elif event_type in accepts.event_types or (kit is not None and event_type in kit.event_types):
            return None
        return Skip("unsupported_event_type", f"{self._type.title} does not take {event_type}")


def _kit_types(destination: DestinationType, connection_settings: Any) -> frozenset[str]:
    """Types of events that are left to the partner's kit."""
    kit = destination.kit
    if kit is None:
        return frozenset()
    return frozenset(kit.event_types) - frozenset(
        kit.also_from_here(connection_settings) if kit.also_from_here is not None else ()
    )
