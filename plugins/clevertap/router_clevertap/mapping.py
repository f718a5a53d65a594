"""`Record` → records of CleverTap's upload API. Pure but for what it remembers: no input or output, no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from router_clevertap.charged import charged_from_attributes
from router_clevertap.choices import NestedValues, NullAttributes, OptOutChoice, ScreenViewName
from router_clevertap.commerce import events_from_commerce
from router_clevertap.commerce_details import PlainEvent
from router_clevertap.device import given_clevertap_id
from router_clevertap.fields import id_text
from router_clevertap.identity import Found, Root, RootFinder, no_identity
from router_clevertap.linking import Links, link
from router_clevertap.marks import Marks
from router_clevertap.names import CHARGED, Remembered, clean_event_name
from router_clevertap.notes import NONE, Note, Notes
from router_clevertap.optout import opted_out, unsubscribed
from router_clevertap.profile import ProfileMapper, Said
from router_clevertap.properties import MAX_PROPERTIES, PropertyCleaner
from router_clevertap.settings import ClevertapConnection
from router_clevertap.times import dated, seconds_of
from router_clevertap.tokens import NoToken, token_of
from router_core.events import (
    IDENTITY_ALIASES,
    CommerceEvent,
    CustomEvent,
    EventBatch,
    OptOut,
    PushRegistration,
    ScreenView,
    UserAttributeChange,
    UserIdentityChange,
)
from router_core.outcomes import Outcome
from router_core.records import PROFILE_UPDATE, Record

Item = Mapping[str, Any]
"""One record of an upload's `d`, ready to be encoded."""
_SDK_CHANNELS: Final = ("javascript", "native")


class Mapped(msgspec.Struct, frozen=True, gc=False):
    """What a record became: items to send, or the outcome of one that is not sent."""

    items: tuple[Item, ...]
    """Usually one; a commerce event may become several."""
    outcome: Outcome | None = None
    """Set if there is nothing to send."""
    notes: Notes = NONE
    """What was changed or left out."""
    linked: str = ""
    """The CleverTap ID that the first item links to a person, if it does."""


class RecordMapper:
    """Maps the records of one connection; remembers names it cleaned and the last batch's identity.

    `links` says which CleverTap IDs may be linked to whom; `suppressed` are the users of whom nothing is sent, which
    opt-outs change.
    """

    def __init__(
        self,
        settings: ClevertapConnection,
        max_properties: int = MAX_PROPERTIES,
        *,
        links: Links | None = None,
        suppressed: Marks | None = None,
    ) -> None:
        flatten = settings.nested_values is NestedValues.FLATTEN
        self._settings = settings
        self._links = links if links is not None else Links()
        self._suppressed = suppressed if suppressed is not None else Marks("suppressed")
        self._suppresses = settings.opt_out is OptOutChoice.SUPPRESS
        self._screen_name = "{}" if settings.screen_view_name is ScreenViewName.BARE else "Screen Viewed {}"
        self._names = Remembered(clean_event_name)
        self._properties = PropertyCleaner(max_properties, flatten=flatten, convert_dates=settings.convert_dates)
        self._profiles = ProfileMapper(
            phone_region=settings.phone_region, flatten=flatten, convert_dates=settings.convert_dates
        )
        self._roots = RootFinder(settings)
        self._batch: EventBatch | None = None
        self._found = Found(None)
        self._handlers: Mapping[type, Callable[[Record, Root, Any], Mapped]] = {
            ScreenView: self._screen_view,
            CommerceEvent: self._commerce,
            UserAttributeChange: self._attribute_change,
            UserIdentityChange: self._identity_change,
            PushRegistration: self._push_registration,
            OptOut: self._opt_out,
        }

    def found(self, batch: EventBatch) -> Found:
        """Who the records of a batch are about."""
        if batch is not self._batch:
            self._found = self._roots.find(batch)
            self._batch = batch
        return self._found

    def map(self, record: Record) -> Mapped:
        """The items of one record, or its outcome. Never raises for odd data of a user."""
        found = self._found if record.batch is self._batch else self.found(record.batch)
        root = found.root
        if root is None:
            outcome = no_identity(record.id, record.batch, self._settings.user_id)
            return Mapped((), outcome, found.notes)
        event = record.event
        if self._suppresses and root.value in self._suppressed and type(event) is not OptOut:
            return self._skipped(record, "opted_out", "The user opted out.")
        if type(event) is CustomEvent:  # most records are custom events
            return self._event(record, root, event.event_name, event.custom_attributes)
        handler = self._handlers.get(type(event))
        if handler is not None:
            return handler(record, root, event)
        if record.event_type == PROFILE_UPDATE:
            return self._profile_update(record, root)
        return self._skipped(record, "unsupported_event", "CleverTap takes this event from apps only.")

    # --- events -------------------------------------------------------------------------------------------------------

    def _screen_view(self, record: Record, root: Root, event: ScreenView) -> Mapped:
        """A custom event: the SDKs' page message does not exist in the API, and it loses the attributes."""
        given = event.screen_name not in (None, "")
        name = self._screen_name.format(event.screen_name) if given else "Screen Viewed"
        return self._event(record, root, name, event.custom_attributes)

    def _event(self, record: Record, root: Root, raw_name: Any, attributes: Mapping[str, Any] | None) -> Mapped:
        raw = raw_name if type(raw_name) is str else "" if raw_name is None else str(raw_name)
        name = self._names[raw]
        if not name.text:
            text = "The event's name is empty, or nothing is left of it without the characters that CleverTap forbids."
            return Mapped((), Outcome.rejected(record.id, "no_event_name", text), self._found.notes)
        name_notes = (Note(name.note, raw),) if name.note else NONE
        if name.text == CHARGED:
            return self._events(record, root, charged_from_attributes(attributes, self._properties), name_notes)
        data, notes = self._properties.properties(attributes)
        ts, stamp_notes = self._stamp(record)
        item: dict[str, Any] = {"type": "event", root.key: root.value, "evtName": name.text, "evtData": data}
        return Mapped((dated(item, ts),), None, name_notes + notes + stamp_notes)

    def _commerce(self, record: Record, root: Root, event: CommerceEvent) -> Mapped:
        plain = events_from_commerce(event, self._properties)
        if not plain:
            return self._skipped(
                record, "nothing_to_say", "The commerce event has no product action, promotion or impression."
            )
        return self._events(record, root, plain, NONE)

    def _events(self, record: Record, root: Root, plain: list[PlainEvent], notes: Notes) -> Mapped:
        ts, stamp_notes = self._stamp(record)
        items = []
        for name, data, more in plain:
            clean = self._names[name]
            items.append(dated({"type": "event", root.key: root.value, "evtName": clean.text, "evtData": data}, ts))
            notes += (Note(clean.note, name), *more) if clean.note else more
        return Mapped(tuple(items), None, notes + stamp_notes)

    def _stamp(self, record: Record) -> tuple[int, Notes]:
        """The record's time in Unix seconds, and the notes that go with its items."""
        seconds, is_good = seconds_of(record)
        if is_good:
            return seconds, self._found.notes
        return seconds, (*self._found.notes, Note("bad_timestamp", "timestamp_unixtime_ms"))

    # --- profiles -----------------------------------------------------------------------------------------------------

    def _profile_update(self, record: Record, root: Root) -> Mapped:
        batch = record.batch
        said = self._profiles.from_batch(
            root,
            batch.identities,
            batch.user_attributes or {},
            batch.deleted_user_attributes or (),
            nulls_are_tags=self._nulls_are_tags(record),
        )
        return self._profile(record, root, said, root.value if root.key == "identity" else "")

    def _nulls_are_tags(self, record: Record) -> bool:
        """SDKs write a tag as an attribute that is null (recorded); of a server, null may mean anything."""
        how = self._settings.null_attributes
        return how is NullAttributes.TAG or (
            how is NullAttributes.BY_SOURCE and record.context.channel in _SDK_CHANNELS
        )

    def _attribute_change(self, record: Record, root: Root, event: UserAttributeChange) -> Mapped:
        """One attribute. A null that is not called a deletion is mParticle's tag: an attribute without a value."""
        name = "" if event.user_attribute_name is None else str(event.user_attribute_name)
        others = record.batch.user_attributes or {}
        if event.deleted is True or (event.new is None and event.deleted is None):
            return self._profile(record, root, self._profiles.from_deletion(name, others))
        return self._profile(record, root, self._profiles.from_attribute(name, event.new, others))

    def _identity_change(self, record: Record, root: Root, event: UserIdentityChange) -> Mapped:
        """One identity; gone if the new side is missing or holds nothing."""
        new = event.new if event.new is not None and event.new.identity not in (None, "") else None
        side = new or event.old
        identity = IDENTITY_ALIASES.get(str(side.identity_type).lower()) if side is not None else None
        if identity is None:
            return self._profile(record, root, ({}, NONE))
        value = str(new.identity) if new is not None else None
        said = self._profiles.from_identity(root, identity, value)
        person: str | None = root.value
        if root.key != "identity":  # the batch itself does not know who logged in
            person = id_text(value) if identity.value == self._settings.user_id.value else None
        return self._profile(record, root, said, person or "")

    def _profile(self, record: Record, root: Root, said: Said, person: str = "") -> Mapped:
        """A profile record, and before it the one that links the device to `person` if that was not done yet."""
        data, notes = said
        device = self._found.device
        linked = device if device and person and self._links.allows(device, person) else ""
        if not data and not linked:
            return self._skipped(record, "nothing_to_say", "It would leave CleverTap's profile as it is.", notes)
        ts, stamp_notes = self._stamp(record)
        items = [dated(link(linked, person), ts)] if linked else []
        if data:
            items.append(dated({"type": "profile", root.key: root.value, "profileData": data}, ts))
        return Mapped(tuple(items), None, notes + stamp_notes, linked)

    # --- what only kits forward, unless a setting says otherwise ------------------------------------------------------

    def _push_registration(self, record: Record, root: Root, event: PushRegistration) -> Mapped:
        if not self._settings.forward_push_registrations:
            return self._skipped(record, "kit_only", "The setting forward_push_registrations is off.")
        token = token_of(event, given_clevertap_id(record.batch)[0])
        return (
            self._skipped(record, *token) if isinstance(token, NoToken) else Mapped((token,), None, self._found.notes)
        )

    def _opt_out(self, record: Record, root: Root, event: OptOut) -> Mapped:
        if self._settings.opt_out is OptOutChoice.KIT_ONLY:
            return self._skipped(record, "kit_only", "The setting opt_out is kit_only.")
        out = opted_out(event)
        if self._suppresses:
            self._suppressed.mark(root.value, marked=out)
        if not out:
            return self._skipped(record, "nothing_to_say", "An opt-in subscribes nobody who has unsubscribed.")
        return self._profile(record, root, (unsubscribed(), NONE))

    def _skipped(self, record: Record, code: str, message: str, notes: Notes = NONE) -> Mapped:
        return Mapped((), Outcome.skipped(record.id, code, message), notes + self._found.notes)


def map_record(record: Record, settings: ClevertapConnection) -> Mapped:
    """Map one record with nothing remembered; a connection keeps its `RecordMapper`."""
    return RecordMapper(settings).map(record)
