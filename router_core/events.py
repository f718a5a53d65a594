"""mParticle's event batch as it travels on the wire, typed.

Real clients break the published schema (they send `customerid`, purposes as a map, nested custom flags), so the types
here are a catalogue of fields, not a gate: a scalar that may come as text or number is `Scalar`, every field may be
missing or null, and unknown fields are passed over here while the received bytes stay in the log.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

import msgspec
from msgspec import Raw, Struct, field

Scalar = str | int | float | bool | None
"""A value that mParticle's clients send as text, number, boolean or null."""
Attributes = dict[str, Any]
"""Attribute name to a scalar or a list of scalars; real traffic also holds nested values."""


class Platform(StrEnum):
    """What an input speaks for. It belongs to the input's credentials, not to what a device says of itself."""

    ANDROID = "android"
    DATA_FEEDS = "data_feeds"
    IOS = "ios"
    TVOS = "tvos"
    SMART_TV = "smart_tv"
    WEB = "web"
    ROKU = "roku"
    XBOX = "xbox"
    ALEXA = "alexa"
    FIRE_TV = "fire_tv"
    DESKTOP = "desktop"
    OUT_OF_BAND = "out_of_band"


class EventType(StrEnum):
    """mParticle's event types, by their names on the wire. Others are accepted, kept, and forwarded nowhere."""

    SESSION_START = "session_start"
    SESSION_END = "session_end"
    SCREEN_VIEW = "screen_view"
    CUSTOM_EVENT = "custom_event"
    CRASH_REPORT = "crash_report"
    OPT_OUT = "opt_out"
    FIRST_RUN = "first_run"
    PRE_ATTRIBUTION = "pre_attribution"
    PUSH_REACTION = "push_reaction"
    PUSH_REGISTRATION = "push_registration"
    APPLICATION_STATE_TRANSITION = "application_state_transition"
    PUSH_MESSAGE = "push_message"
    NETWORK_PERFORMANCE = "network_performance"
    BREADCRUMB = "breadcrumb"
    PROFILE = "profile"
    COMMERCE_EVENT = "commerce_event"
    USER_ATTRIBUTE_CHANGE = "user_attribute_change"
    USER_IDENTITY_CHANGE = "user_identity_change"
    UNINSTALL = "uninstall"
    VALIDATION_RESULT = "validation_result"
    UNKNOWN = "unknown"


class UserIdentity(StrEnum):
    """User identity types, in the order in which they name a user: customer id first, then by mParticle's number."""

    CUSTOMER_ID = "customer_id"
    OTHER = "other"
    FACEBOOK = "facebook"
    TWITTER = "twitter"
    GOOGLE = "google"
    MICROSOFT = "microsoft"
    YAHOO = "yahoo"
    EMAIL = "email"
    ALIAS = "alias"
    FACEBOOK_CUSTOM_AUDIENCE_ID = "facebook_custom_audience_id"
    OTHER_ID_2 = "other_id_2"
    OTHER_ID_3 = "other_id_3"
    OTHER_ID_4 = "other_id_4"
    OTHER_ID_5 = "other_id_5"
    OTHER_ID_6 = "other_id_6"
    OTHER_ID_7 = "other_id_7"
    OTHER_ID_8 = "other_id_8"
    OTHER_ID_9 = "other_id_9"
    OTHER_ID_10 = "other_id_10"
    MOBILE_NUMBER = "mobile_number"
    PHONE_NUMBER_2 = "phone_number_2"
    PHONE_NUMBER_3 = "phone_number_3"


class DeviceIdentity(StrEnum):
    """Device identity types, by their field in `device_info`."""

    ANDROID_ID = "android_uuid"
    GAID = "android_advertising_id"
    IDFA = "ios_advertising_id"
    IDFV = "ios_idfv"


IDENTITY_ALIASES: dict[str, UserIdentity] = {
    **{identity.value: identity for identity in UserIdentity},
    "customerid": UserIdentity.CUSTOMER_ID,  # mParticle's Python and Node clients, IDSync
    "facebookcustomaudienceid": UserIdentity.FACEBOOK_CUSTOM_AUDIENCE_ID,  # IDSync
    **{f"other{n}": UserIdentity(f"other_id_{n}") for n in range(2, 11)},  # IDSync, settings pages
}
"""Every lower-case spelling of a user identity that real clients send, to its type."""


class Location(Struct, gc=False, omit_defaults=True):
    """Where the device was."""

    latitude: Scalar = None
    longitude: Scalar = None
    accuracy: Scalar = None
    country_code: Scalar = None
    region_code: Scalar = None
    city_name: Scalar = None
    postal_code: Scalar = None
    dma_code: Scalar = None
    location_source: Scalar = None


class EventData(Struct, kw_only=True, gc=False, omit_defaults=True):
    """The fields that every event's `data` may have; also the type of events whose type we do not know."""

    event_type: ClassVar[str] = EventType.UNKNOWN

    timestamp_unixtime_ms: Scalar = None
    event_id: Scalar = None
    source_message_id: Scalar = None
    session_id: Scalar = None
    session_uuid: Scalar = None
    session_start_unixtime_ms: Scalar = None
    event_start_unixtime_ms: Scalar = None
    event_num: Scalar = None
    custom_attributes: Attributes | None = None
    custom_flags: Attributes | None = None
    location: Location | None = None
    device_current_state: Any = None
    is_goal_defined: Scalar = None
    lifetime_value_change: Scalar = None
    lifetime_value_attribute_name: Scalar = None
    data_connection_type: Scalar = None
    view_controller: Scalar = None
    is_main_thread: Scalar = None
    canonical_name: Scalar = None
    event_system_notification_info: Any = None
    page_url: Scalar = None
    active_time_on_site_ms: Scalar = None


class SessionStart(EventData, gc=False, omit_defaults=True):
    """A session began."""

    event_type = EventType.SESSION_START


class SessionEnd(EventData, gc=False, omit_defaults=True):
    """A session ended."""

    event_type = EventType.SESSION_END
    session_duration_ms: Scalar = None


class ScreenView(EventData, gc=False, omit_defaults=True):
    """A screen or page was shown."""

    event_type = EventType.SCREEN_VIEW
    screen_name: Scalar = None
    activity_type: Scalar = None


class CustomEvent(EventData, gc=False, omit_defaults=True):
    """An event that the app names itself. `event_name` is required by intake."""

    event_type = EventType.CUSTOM_EVENT
    event_name: Scalar = None
    custom_event_type: Scalar = None
    media_info: Any = None


class CrashReport(EventData, gc=False, omit_defaults=True):
    """An error or a crash."""

    event_type = EventType.CRASH_REPORT
    class_name: Scalar = None
    severity: Scalar = None
    message: Scalar = None
    stack_trace: Scalar = None
    exception_handled: Scalar = None
    topmost_context: Scalar = None
    breadcrumbs: Any = None
    pl_crash_report_file_base64: Scalar = None
    ios_image_base_address: Scalar = None
    ios_image_size: Scalar = None
    session_number: Scalar = None


class OptOut(EventData, gc=False, omit_defaults=True):
    """The user opted out of, or back in to, tracking."""

    event_type = EventType.OPT_OUT
    is_opted_out: Scalar = None


class FirstRun(EventData, gc=False, omit_defaults=True):
    """The app ran for the first time."""

    event_type = EventType.FIRST_RUN


class PreAttribution(EventData, gc=False, omit_defaults=True):
    """Named in mParticle's lists, without any published fields."""

    event_type = EventType.PRE_ATTRIBUTION


class PushReaction(EventData, gc=False, omit_defaults=True):
    """Named in mParticle's lists, without any published fields."""

    event_type = EventType.PUSH_REACTION


class PushRegistration(EventData, gc=False, omit_defaults=True):
    """A push token was given or taken back."""

    event_type = EventType.PUSH_REGISTRATION
    register: Scalar = None
    registration_token: Scalar = None


class ApplicationStateTransition(EventData, gc=False, omit_defaults=True):
    """The app started, came to the front, went to the back, or ended."""

    event_type = EventType.APPLICATION_STATE_TRANSITION
    application_transition_type: Scalar = None
    is_first_run: Scalar = None
    is_upgrade: Scalar = None
    successfully_closed: Scalar = None
    push_notification_payload: Any = None
    launch_referral: Scalar = None


class PushMessage(EventData, gc=False, omit_defaults=True):
    """A push message was sent, received or acted on."""

    event_type = EventType.PUSH_MESSAGE
    push_message_type: Scalar = None
    push_message_token: Scalar = None
    message: Scalar = None
    network: Scalar = None
    push_notification_payload: Any = None
    application_state: Scalar = None
    action_identifier: Scalar = None
    push_message_behavior: Scalar = None


class NetworkPerformance(EventData, gc=False, omit_defaults=True):
    """One network request of the app was measured."""

    event_type = EventType.NETWORK_PERFORMANCE
    http_verb: Scalar = None
    url: Scalar = None
    time_elapsed: Scalar = None
    bytes_in: Scalar = None
    bytes_out: Scalar = None
    response_code: Scalar = None
    data: Any = None


class Breadcrumb(EventData, gc=False, omit_defaults=True):
    """A note on the way to a possible crash."""

    event_type = EventType.BREADCRUMB
    label: Scalar = None
    session_number: Scalar = None


class Profile(EventData, gc=False, omit_defaults=True):
    """Signup, login, logout, update or deletion of a profile. The Python client sends names in place of mpids."""

    event_type = EventType.PROFILE
    profile_event_type: Scalar = None
    previous_mpid: Scalar = None
    current_mpid: Scalar = None
    profile_name: Scalar = None
    previous_profile_name: Scalar = None


class Product(Struct, kw_only=True, gc=False, omit_defaults=True):
    """A product; mParticle's own examples show numbers as text."""

    id: Scalar = None
    name: Scalar = None
    brand: Scalar = None
    category: Scalar = None
    variant: Scalar = None
    position: Scalar = None
    price: Scalar = None
    quantity: Scalar = None
    coupon_code: Scalar = None
    added_to_cart_time_ms: Scalar = None
    total_product_amount: Scalar = None
    custom_attributes: Attributes | None = None


class ProductAction(Struct, kw_only=True, gc=False, omit_defaults=True):
    """What was done with products."""

    action: Scalar = None
    checkout_step: Scalar = None
    checkout_options: Scalar = None
    product_action_list: Scalar = None
    product_list_source: Scalar = None
    transaction_id: Scalar = None
    affiliation: Scalar = None
    total_amount: Scalar = None
    tax_amount: Scalar = None
    shipping_amount: Scalar = None
    coupon_code: Scalar = None
    products: list[Product] | None = None


class Promotion(Struct, kw_only=True, gc=False, omit_defaults=True):
    """A promotion shown in the app."""

    id: Scalar = None
    name: Scalar = None
    creative: Scalar = None
    position: Scalar = None


class PromotionAction(Struct, kw_only=True, gc=False, omit_defaults=True):
    """View (1) or click (2) of promotions; the web SDK sends the number."""

    action: Scalar = None
    promotions: list[Promotion] | None = None


class ProductImpression(Struct, kw_only=True, gc=False, omit_defaults=True):
    """Products shown in one list."""

    product_impression_list: Scalar = None
    products: list[Product] | None = None


class ShoppingCart(Struct, kw_only=True, gc=False, omit_defaults=True):
    """What lay in the cart."""

    products: list[Product] | None = None


class CommerceEvent(EventData, gc=False, omit_defaults=True):
    """One of `product_action`, `promotion_action`, `product_impressions`."""

    event_type = EventType.COMMERCE_EVENT
    product_action: ProductAction | None = None
    promotion_action: PromotionAction | None = None
    product_impressions: list[ProductImpression] | None = None
    shopping_cart: ShoppingCart | None = None
    currency_code: Scalar = None
    screen_name: Scalar = None
    is_non_interactive: Scalar = None
    event_name: Scalar = None
    custom_event_type: Scalar = None


class UserAttributeChange(EventData, gc=False, omit_defaults=True):
    """One user attribute was set or deleted."""

    event_type = EventType.USER_ATTRIBUTE_CHANGE
    user_attribute_name: Scalar = None
    new: Any = None
    old: Any = None
    deleted: Scalar = None
    is_new_attribute: Scalar = None


class IdentityValue(Struct, kw_only=True, gc=False, omit_defaults=True):
    """One side of a user identity change."""

    identity_type: Scalar = None
    identity: Scalar = None
    timestamp_unixtime_ms: Scalar = None
    created_this_batch: Scalar = None


class UserIdentityChange(EventData, gc=False, omit_defaults=True):
    """One user identity was added, changed or removed; either side may be null."""

    event_type = EventType.USER_IDENTITY_CHANGE
    new: IdentityValue | None = None
    old: IdentityValue | None = None


class Uninstall(EventData, gc=False, omit_defaults=True):
    """The app was removed."""

    event_type = EventType.UNINSTALL


class ValidationResult(EventData, gc=False, omit_defaults=True):
    """A data plan's verdict; appears on mParticle's output side."""

    event_type = EventType.VALIDATION_RESULT


EVENT_DATA: dict[str, type[EventData]] = {
    kind.event_type: kind
    for kind in (
        SessionStart, SessionEnd, ScreenView, CustomEvent, CrashReport, OptOut, FirstRun, PreAttribution, PushReaction,
        PushRegistration, ApplicationStateTransition, PushMessage, NetworkPerformance, Breadcrumb, Profile,
        CommerceEvent, UserAttributeChange, UserIdentityChange, Uninstall, ValidationResult,
    )
}  # fmt: skip
"""Each known `event_type` to the type of its `data`."""


class DeviceInfo(Struct, kw_only=True, gc=False, omit_defaults=True):
    """The device, with its identities. `att_*` and `limit_ad_tracking` say whether advertising ids may be used."""

    brand: Scalar = None
    product: Scalar = None
    device: Scalar = None
    android_uuid: Scalar = None
    device_manufacturer: Scalar = None
    platform: Scalar = None
    os_version: Scalar = None
    device_model: Scalar = None
    screen_height: Scalar = None
    screen_width: Scalar = None
    screen_dpi: Scalar = None
    device_country: Scalar = None
    locale_language: Scalar = None
    locale_country: Scalar = None
    network_country: Scalar = None
    network_carrier: Scalar = None
    network_code: Scalar = None
    network_mobile_country_code: Scalar = None
    timezone_offset: Scalar = None
    build_identifier: Scalar = None
    build_version_release: Scalar = None
    http_header_user_agent: Scalar = None
    ios_advertising_id: Scalar = None
    push_token: Scalar = None
    cpu_architecture: Scalar = None
    is_tablet: Scalar = None
    is_dst: Scalar = None
    push_notification_sound_enabled: Scalar = None
    push_notification_vibrate_enabled: Scalar = None
    radio_access_technology: Scalar = None
    supports_telephony: Scalar = None
    has_nfc: Scalar = None
    bluetooth_enabled: Scalar = None
    bluetooth_version: Scalar = None
    ios_idfv: Scalar = None
    android_advertising_id: Scalar = None
    limit_ad_tracking: Scalar = None
    att_authorization_status: Scalar = None
    att_timestamp_unixtime_ms: Scalar = None
    fire_advertising_id: Scalar = None
    roku_advertising_id: Scalar = None
    roku_publisher_id: Scalar = None
    microsoft_advertising_id: Scalar = None
    microsoft_publisher_id: Scalar = None
    amp_id: Scalar = None
    google_advertising_id: Scalar = None  # in no mParticle source; accepted as an alias of the GAID


class ApplicationInfo(Struct, kw_only=True, gc=False, omit_defaults=True):
    """The app that sent the batch."""

    application_name: Scalar = None
    application_version: Scalar = None
    application_build_number: Scalar = None
    install_referrer: Scalar = None
    package: Scalar = None
    os: Scalar = None
    apple_search_ads_attributes: Any = None
    sideloaded_kits_count: Scalar = None


class WireEvent(Struct, gc=False):
    """One entry of `events` before its `data` is decoded by its type."""

    event_type: str = ""
    data: Raw = field(default_factory=lambda: Raw(b"{}"))


class EventBatch(Struct, kw_only=True, gc=False, omit_defaults=True):
    """One user's upload, in mParticle's wire shape. `events` holds the undecoded form; see `decoded_event`."""

    events: list[WireEvent] | None = None
    environment: Scalar = None
    schema_version: Scalar = None
    source_request_id: Scalar = None
    user_attributes: Attributes | None = None
    deleted_user_attributes: list[str] | None = None
    user_identities: Attributes | None = None
    device_info: DeviceInfo | None = None
    application_info: ApplicationInfo | None = None
    mpid: Scalar = None
    origin_mpid: Scalar = None
    mp_deviceid: Scalar = None
    ip: Scalar = None
    integration_attributes: dict[str, Attributes] | None = None
    consent_state: Any = None
    context: Any = None
    batch_context: Any = None
    partner_identities: Any = None
    partner_identity: Any = None
    source_info: Any = None
    timestamp_unixtime_ms: Scalar = None
    batch_id: Scalar = None
    api_key: Scalar = None
    api_keys: Any = None
    sdk_version: Scalar = None
    job_id: Scalar = None
    attribution_info: Any = None
    modified: Scalar = None

    @property
    def identities(self) -> dict[UserIdentity, str]:
        """The user identities by type, with clients' other spellings folded in and empty values left out."""
        found: dict[UserIdentity, str] = {}
        for name, value in (self.user_identities or {}).items():
            identity = IDENTITY_ALIASES.get(name) or IDENTITY_ALIASES.get(name.lower())
            if identity is not None and isinstance(value, (str, int)) and not isinstance(value, bool) and value != "":
                found.setdefault(identity, str(value))
        return found

    @property
    def updates_profile(self) -> bool:
        """Whether the batch says something about its user beyond the events."""
        return bool(self.user_attributes or self.deleted_user_attributes or self.user_identities)


_batch_decoder = msgspec.json.Decoder(EventBatch)
_data_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    name: msgspec.json.Decoder(kind) for name, kind in EVENT_DATA.items()
}
_unknown_decoder = msgspec.json.Decoder(EventData)
_crash_decoder = msgspec.json.Decoder(CrashReport)


def batch_from_json(body: bytes) -> EventBatch:
    """Decode one batch. Raises `msgspec.ValidationError` whose text names the place of a value of the wrong type."""
    return _batch_decoder.decode(body)


def decoded_event(wire: WireEvent) -> EventData:
    """The event's data, typed by its `event_type`; an unknown type comes back as plain `EventData`.

    mParticle's Python client (0.16.1, recorded) labels crash reports `commerce_event`: a commerce event without any
    commerce in it that has a crash report's fields is read as the crash report that it is.
    """
    raw = wire.data if bytes(wire.data) != b"null" else b"{}"  # a Raw equals no bytes
    data: EventData = _data_decoders.get(wire.event_type, _unknown_decoder).decode(raw)
    if type(data) is CommerceEvent and not (data.product_action or data.promotion_action or data.product_impressions):
        crash = _crash_decoder.decode(raw)
        if crash.class_name or crash.stack_trace or crash.exception_handled is not None:
            return crash
    return data
