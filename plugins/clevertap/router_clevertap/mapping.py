"""`Record` → records of CleverTap's upload API. Pure: no input or output, no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from router_clevertap.commerce import events_from_commerce
from router_clevertap.identity import Root, no_identity, root_of
from router_clevertap.names import Remembered, clean_event_name
from router_clevertap.notes import NONE, Note, Notes
from router_clevertap.profile import ProfileMapper
from router_clevertap.properties import PropertyCleaner
from router_clevertap.settings import ClevertapConnection
from router_core.events import (
    IDENTITY_ALIASES,
    CommerceEvent,
    CustomEvent,
    EventBatch,
    ScreenView,
    UserAttributeChange,
    UserIdentityChange,
)
from router_core.outcomes import Outcome
from router_core.records import PROFILE_UPDATE, Record

Item = Mapping[str, Any]
"""One record of an upload's `d`, ready to be encoded."""
_EARLIEST: Final = 1_000_000_000  # Unix seconds; ten digits, so that a time in the wrong unit does not pass
_LATEST: Final = 9_999_999_999


class Mapped(msgspec.Struct, frozen=True, gc=False):
    """What a record became: items to send, or the outcome of one that is not sent."""

    items: tuple[Item, ...]
    """Usually one; a commerce event may become several."""
    outcome: Outcome | None = None
    """Set if there is nothing to send."""
    notes: Notes = NONE
    """What was changed or left out."""


class RecordMapper:
    """Maps the records of one connection; remembers names it cleaned and the last batch's identity."""

    def __init__(self, settings: ClevertapConnection) -> None:
        self._user_id = settings.user_id
        self._names = Remembered(clean_event_name)
        self._properties = PropertyCleaner()
        self._profiles = ProfileMapper()
        self._batch: EventBatch | None = None
        self._root: Root | None = None
        self._root_notes: Notes = NONE
        self._handlers: Mapping[type, Callable[[Record, Root, Any], Mapped]] = {
            ScreenView: self._screen_view,
            CommerceEvent: self._commerce,
            UserAttributeChange: self._attribute_change,
            UserIdentityChange: self._identity_change,
        }

    def map(self, record: Record) -> Mapped:
        """The items of one record, or its outcome. Never raises for odd data of a user."""
        if record.batch is not self._batch:
            self._root, self._root_notes = root_of(record.batch, self._user_id)
            self._batch = record.batch
        root = self._root
        if root is None:
            return Mapped((), no_identity(record.id, record.batch, self._user_id), self._root_notes)
        event = record.event
        if type(event) is CustomEvent:  # most records are custom events
            return self._event(record, root, event.event_name, event.custom_attributes)
        handler = self._handlers.get(type(event))
        if handler is not None:
            return handler(record, root, event)
        if record.event_type == PROFILE_UPDATE:
            return self._profile_update(record, root)
        return Mapped((), Outcome.skipped(record.id, "unsupported_event", "CleverTap takes this event from apps only."))

    def _screen_view(self, record: Record, root: Root, event: ScreenView) -> Mapped:
        """A custom event: the SDKs' page message does not exist in the API, and it loses the attributes."""
        given = event.screen_name not in (None, "")
        name = f"Screen Viewed {event.screen_name}" if given else "Screen Viewed"  # a colon would be taken out
        return self._event(record, root, name, event.custom_attributes)

    def _event(self, record: Record, root: Root, raw_name: Any, attributes: Mapping[str, Any] | None) -> Mapped:
        raw = raw_name if type(raw_name) is str else "" if raw_name is None else str(raw_name)
        name = self._names[raw]
        if not name.text:
            text = "The event's name is empty, or nothing is left of it without the characters that CleverTap forbids."
            return Mapped((), Outcome.rejected(record.id, "no_event_name", text))
        data, notes = self._properties.properties(attributes)
        if name.note:
            notes = (Note(name.note, raw), *notes)
        key, value = root
        item = {"type": "event", key: value, "evtName": name.text, "evtData": data}
        more = self._stamp(record, item)
        return Mapped((item,), None, notes + more if more else notes)

    def _commerce(self, record: Record, root: Root, event: CommerceEvent) -> Mapped:
        plain = events_from_commerce(event, self._properties)
        if not plain:
            text = "The commerce event has no product action, promotion or impression."
            return Mapped((), Outcome.skipped(record.id, "nothing_to_say", text))
        items = []
        notes: Notes = NONE
        for one in plain:
            item = {"type": "event", root.key: root.value, "evtName": self._names[one.name].text, "evtData": one.data}
            notes += one.notes + self._stamp(record, item)
            items.append(item)
        return Mapped(tuple(items), None, notes)

    def _stamp(self, record: Record, item: dict[str, Any]) -> Notes:
        """Put `ts` into the item if the record's time is one. Returns the notes that go with every item."""
        seconds = record.occurred_at_ms // 1000
        if _EARLIEST <= seconds <= _LATEST:
            item["ts"] = seconds
            return self._root_notes
        seconds = record.context.received_at_ms // 1000  # nearer to the event than CleverTap's time of arrival
        if _EARLIEST <= seconds <= _LATEST:
            item["ts"] = seconds
        return (*self._root_notes, Note("bad_timestamp", "timestamp_unixtime_ms"))

    def _profile_update(self, record: Record, root: Root) -> Mapped:
        batch = record.batch
        data, notes = self._profiles.from_batch(
            root, batch.identities, batch.user_attributes or {}, batch.deleted_user_attributes or ()
        )
        return self._profile(record, root, data, notes)

    def _attribute_change(self, record: Record, root: Root, event: UserAttributeChange) -> Mapped:
        """One attribute. A null that is not called a deletion is mParticle's tag: an attribute without a value."""
        name = "" if event.user_attribute_name is None else str(event.user_attribute_name)
        if event.deleted is True or (event.new is None and event.deleted is None):
            return self._profile(record, root, *self._profiles.from_deletion(name))
        others = record.batch.user_attributes or {}
        return self._profile(record, root, *self._profiles.from_attribute(name, event.new, others))

    def _identity_change(self, record: Record, root: Root, event: UserIdentityChange) -> Mapped:
        """One identity; gone if the new side is missing or holds nothing."""
        new = event.new if event.new is not None and event.new.identity not in (None, "") else None
        side = new or event.old
        identity = IDENTITY_ALIASES.get(str(side.identity_type).lower()) if side is not None else None
        if identity is None:
            return self._profile(record, root, {}, NONE)
        value = str(new.identity) if new is not None else None
        return self._profile(record, root, *self._profiles.from_identity(root, identity, value))

    def _profile(self, record: Record, root: Root, data: dict[str, Any], notes: Notes) -> Mapped:
        if not data:
            text = "It would leave CleverTap's profile as it is."
            return Mapped((), Outcome.skipped(record.id, "nothing_to_say", text), self._root_notes + notes)
        item = {"type": "profile", root.key: root.value, "profileData": data}
        return Mapped((item,), None, notes + self._stamp(record, item))


def map_record(record: Record, settings: ClevertapConnection) -> Mapped:
    """Map one record with nothing remembered."""
    return RecordMapper(settings).map(record)
