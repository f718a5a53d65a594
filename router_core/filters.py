"""Filters of a connection: which data points its destination gets, as mParticle's data filter has them.

Events of a blocked type or name are skipped, attributes and identities of a blocked name are taken out of their
record. What a destination can reach of a filtered record holds no blocked name: the batch comes without its undecoded
`events`, and the context without the received `body`. Custom flags and the other fields that mParticle defines stay.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeVar

import msgspec
from pydantic import model_validator

from router_core.components import setting
from router_core.events import (
    CommerceEvent,
    CustomEvent,
    EventBatch,
    EventData,
    Product,
    ScreenView,
    UserAttributeChange,
    UserIdentity,
    UserIdentityChange,
)
from router_core.feeds import SOURCE_FEED
from router_core.names import AttributeChoice, AttributeTest, Choice, NameTest, name_test
from router_core.outcomes import Outcome, Skip
from router_core.records import PROFILE_UPDATE, BatchContext, Record
from router_core.taxonomy import CommerceType, CustomEventType, commerce_type, user_identity
from router_core.values import Section

DEVICE_IDENTITIES: Final = (
    "android_uuid", "android_advertising_id", "ios_advertising_id", "ios_idfv", "push_token", "fire_advertising_id",
    "roku_advertising_id", "roku_publisher_id", "microsoft_advertising_id", "microsoft_publisher_id", "amp_id",
)  # fmt: skip
DeviceIdentityName = Literal[
    "android_uuid", "android_advertising_id", "ios_advertising_id", "ios_idfv", "push_token", "fire_advertising_id",
    "roku_advertising_id", "roku_publisher_id", "microsoft_advertising_id", "microsoft_publisher_id", "amp_id",
]  # fmt: skip
_DEVICE_ALIASES: Final = {"google_advertising_id": "android_advertising_id"}


class Filters(Section):
    """Which data points go to the destination; each list either allows or blocks."""

    send_new_data_points: bool = setting(
        True, title="Send new data points by default",
        help="Off: what no `allow` list names is not sent, of any kind.",
    )  # fmt: skip
    event_types: Choice[CustomEventType] | None = setting(
        None, title="Event types", help="Custom events by their type.", example={"block": ["location"]}
    )
    event_names: Choice[str] | None = setting(
        None, title="Event names", help="Custom events by name.", example={"block": ["Password Changed"]}
    )
    event_attributes: AttributeChoice | None = setting(
        None, title="Event attributes", help="Attributes by the event's name; `*` is any event.",
        example={"block": {"Video Watched": ["email"]}},
    )  # fmt: skip
    screen_names: Choice[str] | None = setting(
        None, title="Screen names", help="Screen views by name.", example={"block": ["Health"]}
    )
    screen_attributes: AttributeChoice | None = setting(
        None, title="Screen attributes", help="Attributes by the screen's name; `*` is any screen.",
        example={"block": {"Shop Home": ["referrer"]}},
    )  # fmt: skip
    commerce: Choice[CommerceType] | None = setting(
        None, title="Commerce", help="Commerce events by what was done.", example={"block": ["refund"]}
    )
    commerce_attributes: Choice[str] | None = setting(
        None, title="Commerce attributes", help="Custom attributes of commerce events and of their products.",
        example={"block": ["margin"]},
    )  # fmt: skip
    user_attributes: Choice[str] | None = setting(
        None, title="User attributes", help="Also in changes and deletions.", example={"block": ["$Age"]}
    )
    user_identities: Choice[UserIdentity] | None = setting(
        None, title="User identities", help="In any of their spellings.", example={"allow": ["customer_id", "email"]}
    )
    device_identities: Choice[DeviceIdentityName] | None = setting(
        None, title="Device identities", help="By their names in `device_info`.", example={"block": ["android_uuid"]}
    )

    @model_validator(mode="after")
    def _allow_only(self) -> Filters:
        if not self.send_new_data_points:
            for name in type(self).model_fields:
                value = getattr(self, name)
                if isinstance(value, (Choice, AttributeChoice)) and value.block is not None:
                    raise ValueError(
                        f"`{name}` has a `block` list, while `send_new_data_points` is off: list what to `allow` there."
                    )
        return self


EventFilter = Callable[[Any], "Skip | EventData"]
Event = TypeVar("Event", bound=EventData)


class Filtering:
    """The filters of one connection at work. `where` is the setting's path, for the sentences."""

    def __init__(self, filters: Filters, where: str) -> None:
        default = filters.send_new_data_points
        always = (SOURCE_FEED,)
        self._where = where
        self._blames_default = [name for name in Filters.model_fields if getattr(filters, name) is None]
        self._types = name_test(filters.event_types, default)
        self._names = name_test(filters.event_names, default)
        self._attributes = AttributeTest(filters.event_attributes, default, always)
        self._screens = name_test(filters.screen_names, default)
        self._screen_attributes = AttributeTest(filters.screen_attributes, default, always)
        self._commerce = name_test(filters.commerce, default)
        self._commerce_attributes = name_test(filters.commerce_attributes, default, always)
        self._user_attributes = name_test(filters.user_attributes, default)
        self._user_identities = name_test(filters.user_identities, default)
        self._devices = name_test(filters.device_identities, default)
        self._others = self._attributes.of("")
        self._by_type: dict[type, EventFilter] = {
            CustomEvent: self._custom,
            ScreenView: self._screen,
            CommerceEvent: self._commerce_event,
            UserAttributeChange: self._attribute_change,
            UserIdentityChange: self._identity_change,
        }

    def __call__(self, records: Sequence[Record]) -> tuple[list[Record], list[Outcome]]:
        """The filtered records, in order, and a skipped outcome for each that is left out."""
        kept: list[Record] = []
        outcomes: list[Outcome] = []
        seen: EventBatch | None = None
        seen_context: BatchContext | None = None
        for record in records:
            if record.batch is not seen:
                seen = record.batch
                batch = self.batch(seen)
            if record.context is not seen_context:
                seen_context = record.context
                context = msgspec.structs.replace(seen_context, body=b"") if seen_context.body else seen_context
            event: EventData | Skip | None = record.event
            if event is not None:
                event = self._by_type.get(type(event), self._other)(event)
            elif record.event_type == PROFILE_UPDATE and not batch.updates_profile:
                event = Skip("filtered_profile_update", f"{self._where} leaves nothing of it")
            if isinstance(event, Skip):
                outcomes.append(Outcome.skipped(record.id, *event))
            else:
                kept.append(Record(record.id, record.event_type, event, batch, context))
        return kept, outcomes

    def batch(self, batch: EventBatch) -> EventBatch:
        """The batch without blocked names, and without its undecoded events, which hold all of them."""
        clean = copy.copy(batch)
        clean.events = None
        if batch.user_attributes:
            clean.user_attributes = dict(self._user_attributes.kept(batch.user_attributes))
        if batch.deleted_user_attributes:
            clean.deleted_user_attributes = [
                name for name in batch.deleted_user_attributes if self._user_attributes(name)
            ]
        if batch.user_identities and not self._user_identities.passes_all:
            clean.user_identities = {
                name: value for name, value in batch.user_identities.items() if self._passes_identity(name)
            }
        if batch.device_info is not None and not self._devices.passes_all:
            clean.device_info = device = copy.copy(batch.device_info)
            for name in (*DEVICE_IDENTITIES, *_DEVICE_ALIASES):
                if not self._devices(_DEVICE_ALIASES.get(name, name)):
                    setattr(device, name, None)
        return clean

    # --- events -------------------------------------------------------------------------------------------------------

    def _custom(self, event: CustomEvent) -> Skip | EventData:
        if not self._types(str(event.custom_event_type or CustomEventType.UNKNOWN)):
            return self._skip("filtered_event_type", "event_types", "events of its type")
        name = str(event.event_name)
        if not self._names(name):
            return self._skip("filtered_event_name", "event_names", "events of its name")
        return self._with_attributes(event, self._attributes.of(name))

    def _screen(self, event: ScreenView) -> Skip | EventData:
        name = str(event.screen_name or "")
        if not self._screens(name):
            return self._skip("filtered_screen_name", "screen_names", "screens of its name")
        return self._with_attributes(event, self._screen_attributes.of(name))

    def _commerce_event(self, event: CommerceEvent) -> Skip | EventData:
        if not self._commerce(commerce_type(event)):
            return self._skip("filtered_commerce", "commerce", "commerce events of its type")
        event = self._with_attributes(event, self._commerce_attributes)
        for field, passes in (("screen_name", self._screens), ("event_name", self._names)):
            name = getattr(event, field)
            if name is not None and not passes(str(name)):
                event = copy.copy(event)
                setattr(event, field, None)
        return event if self._commerce_attributes.passes_all else self._with_products(event)

    def _attribute_change(self, event: UserAttributeChange) -> Skip | EventData:
        if not self._user_attributes(str(event.user_attribute_name)):
            return self._skip("filtered_user_attribute", "user_attributes", "this user attribute")
        return self._other(event)

    def _identity_change(self, event: UserIdentityChange) -> Skip | EventData:
        sides = [side for side in (event.new, event.old) if side is not None]
        if not all(self._passes_identity(side.identity_type) for side in sides):
            return self._skip("filtered_user_identity", "user_identities", "this user identity")
        return self._other(event)

    def _other(self, event: EventData) -> EventData:
        return self._with_attributes(event, self._others)

    # --- parts --------------------------------------------------------------------------------------------------------

    def _passes_identity(self, name: Any) -> bool:
        return self._user_identities(str(user_identity(name) or name))

    def _with_attributes(self, event: Event, test: NameTest) -> Event:
        attributes = event.custom_attributes
        if attributes and (kept := test.kept(attributes)) is not attributes:
            event = copy.copy(event)
            event.custom_attributes = kept or None
        name = event.lifetime_value_attribute_name
        if name is not None and not self._user_attributes(str(name)):
            event = copy.copy(event)
            event.lifetime_value_attribute_name = None
        return event

    def _with_products(self, event: CommerceEvent) -> CommerceEvent:
        event = copy.copy(event)
        if event.product_action is not None:
            event.product_action = self._holder(event.product_action)
        if event.shopping_cart is not None:
            event.shopping_cart = self._holder(event.shopping_cart)
        if event.product_impressions:
            event.product_impressions = [self._holder(shown) for shown in event.product_impressions]
        return event

    def _holder(self, holder: Any) -> Any:
        """Product action, cart or impression, with filtered products."""
        if not holder.products:
            return holder
        holder = copy.copy(holder)
        holder.products = [self._product(product) for product in holder.products]
        return holder

    def _product(self, product: Product) -> Product:
        attributes = product.custom_attributes
        if not attributes or (kept := self._commerce_attributes.kept(attributes)) is attributes:
            return product
        product = copy.copy(product)
        product.custom_attributes = kept
        return product

    def _skip(self, code: str, setting_name: str, what: str) -> Skip:
        if setting_name in self._blames_default:
            return Skip(code, f"{self._where}.send_new_data_points is off, and no list allows {what}")
        return Skip(code, f"{self._where}.{setting_name} keeps {what} back")
