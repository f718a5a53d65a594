"""CleverTap's rules as tables: limits, names it keeps for itself, reserved profile fields.

Each table names its source. Where the real service's behaviour is not known, the sandbox refuses: what passes
here passes there, and a sender's mistake shows at once.
"""

import re
from typing import Final

# --- limits -------------------------------------------------------------------------------------------------

MAX_RECORDS_PER_CALL: Final = 1000  # official documentation: Upload Events, Upload User Profiles
MAX_TOKENS_PER_CALL: Final = 100  # official documentation: Upload Device Tokens
MAX_IDS_PER_DELETE: Final = 100  # official documentation: Delete User Profile, Demerge User Profile
UPLOADS_AT_ONCE: Final = 15  # per account; official documentation: API FAQs (it was 3 until about 2023)
OTHER_CALLS_AT_ONCE: Final = 3  # per account and API; official documentation: API rate limits
MAX_BODY_BYTES: Final = 32 * 1024 * 1024  # not documented; ours, to bound memory
MAX_DEPTH: Final = 32  # levels of JSON in a record; not documented; ours, for the echo must be written again

MAX_ID_CHARS: Final = 120  # recorded answer of 2017, code 523: "is necessary under 120 chars"
MAX_EVENT_NAME_CHARS: Final = 512  # Android SDK, constant of its validator
MAX_KEY_BYTES: Final = 120  # official documentation: Platform considerations
MAX_VALUE_BYTES: Final = 512  # official documentation: Platform considerations
MAX_EVENT_PROPERTIES: Final = 100  # official documentation, 2026; an account's own limit may be higher
MAX_PROFILE_PROPERTIES: Final = 256  # official documentation: custom profile keys
MAX_LIST_ITEMS: Final = 100  # official documentation: multi-value properties; the oldest items fall out
MAX_CHARGED_ITEMS: Final = 50  # SDKs warn above and send all the same; the user documentation of 2020 has 256
MAX_EVENT_NAMES: Final = 512  # per account, system events included; official documentation
MAX_SECONDS: Final = 9_999_999_999  # ten digits; only a third-party guide says that milliseconds pass
MIN_PLAUSIBLE_SECONDS: Final = 1_000_000_000  # ten digits; fewer are another unit, or a clock that was never set
MAX_DATE_SECONDS: Final = 253_402_300_799  # the end of the year 9999

# --- record ids ---------------------------------------------------------------------------------------------

ROOT_IDS: Final = ("identity", "objectId", "FBID", "GPID")  # official documentation: Upload Events
# What code 526 really refuses is unknown. These are the characters the Android and Apple SDKs allow in a
# custom id.
OBJECT_ID: Final = re.compile(rf"[=|<>;+.A-Za-z0-9()!:$@_-]{{1,{MAX_ID_CHARS}}}")

# The forms in which CleverTap's SDKs make an id (official documentation: Set CleverTap ID; source of the SDKs). The
# API takes other ids too, but no device has them.
_HEX: Final = "[0-9a-f]{32}"
_CUSTOM: Final = "[=|<>;+.A-Za-z0-9()!:$@_-]{1,64}"
PREFIXED_CLEVERTAP_ID: Final = re.compile(f"__[gi]?{_HEX}|-[vgi]?{_HEX}")
CLEVERTAP_ID: Final = re.compile(
    f"{PREFIXED_CLEVERTAP_ID.pattern}|(__|-)h{_CUSTOM}|[0-9A-Za-z]{{32}}|_w_[a-z0-9()!:@$_-]{{1,64}}"
)
# CleverTap's web kit at mParticle sends "undefined"; the others are what languages write for a missing value.
PLACEHOLDERS: Final = frozenset({"undefined", "null", "nil", "none", "nan", "[object object]"})
# Limited ad tracking gives an id of zeros. The Android SDK takes an ad id with eight of them in a row for none.
BLANK_DEVICE: Final = re.compile("0{16}|__g[0-9a-f]*0{8}")

# --- event names --------------------------------------------------------------------------------------------

RESTRICTED_EVENT_NAMES: Final = (
    # Official documentation, Upload Events: "restricted system events".
    "Notification Sent",
    "Notification Viewed",
    "Notification Clicked",
    "Notification Delivered",
    "Notification Replied",
    "UTM Visited",
    "App Launched",
    "App Uninstalled",
    "App Version Changed",
    "Stayed",
    "Reply Sent",
    "Experiment Rendered",
    "Reachable By",
    "Identity Reset",
    "Identity Set",
    "Identity Error",
    # Restricted names of the Android, Apple and Web SDKs.
    "Notification Bounced",
    "wzrk_d",
    "wzrk_fetch",
    "Geocluster Entered",
    "Geocluster Exited",
    "SCOutgoing",
    "SCIncoming",
    "SCEnd",
    "SCCampaignOptOut",
    # Recorded answer of September 2024, kept in RudderStack's error-extractor tests.
    "Web Page Viewed",
    # Listed by the documentation as system events, but not as refused. Refused by our choice.
    "App Installed",
    "Push Impressions",
    "State Transitioned",
    "Session Concluded",
    "Channel Unsubscribed",
)
OWN_PREFIXES: Final = ("wzrk_", "CT ")  # CleverTap's names for its own fields in SDK traffic and exports

# Official documentation lists these for event and property names; what the API does with them is not written.
FORBIDDEN_IN_NAMES: Final = frozenset("%><!|&.:;$'\"\\")
FORBIDDEN_IN_PROFILE_KEYS: Final = FORBIDDEN_IN_NAMES | {"#"}

# --- values -------------------------------------------------------------------------------------------------

CLEVERTAP_DATE: Final = re.compile(r"\$D_-?[0-9]{1,12}")  # official documentation: Upload Events
ISO_DATE: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?( ?(Z|[+-][0-9]{2}(:?[0-9]{2})?))?)?"
)

# --- profile fields (exact spelling: `email` is a custom property, `Email` is the address) ------------------

# Official documentation says M and F, and so does the recorded text; the Web SDK also sends O and U.
GENDERS: Final = frozenset({"M", "F", "O", "U"})
EDUCATIONS: Final = frozenset({"School", "College", "Graduate"})
YES_OR_NO: Final = frozenset({"Y", "N"})
# Recorded answers of 2018: "1234" and "$$$$$" are no addresses; "223", "123" and "+44+441234" are no phone
# numbers.
EMAIL: Final = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
PHONE: Final = re.compile(r"\+[1-9][0-9]{7,14}")
AGE: Final = re.compile(r"[0-9]{1,3}")
SWITCHES: Final = frozenset(
    {"MSG-email", "MSG-push", "MSG-sms", "MSG-whatsapp", "MSG-push-all", "MSG-dndPhone", "MSG-dndEmail"}
)
NESTED_FIELDS: Final = frozenset({"category-unsubscribe", "category-resubscribe"})  # third-party code

# Android, Apple and Web SDKs: names on which list and number operations are refused (compared in lower case).
NO_OPERATIONS_ON: Final = frozenset(
    {"name", "email", "education", "married", "dob", "gender", "phone", "age"}
    | {"fbid", "gpid", "birthday", "identity"}
)
OPERATORS: Final = frozenset({"$set", "$add", "$remove", "$incr", "$decr", "$delete"})

# --- device tokens ------------------------------------------------------------------------------------------

ANDROID_TOKENS: Final = frozenset({"fcm", "gcm"})
APPLE_TOKENS: Final = frozenset({"apns"})
OTHER_TOKENS: Final = frozenset({"chrome", "wns", "mpns"})


def normalised(name: str) -> str:
    """The form in which CleverTap compares names: no whitespace, lower case.

    Source: a comment on the Android SDK's normaliser, which says that it mirrors the backend.
    """
    return "".join(name.split()).lower()


CHARGED: Final = "Charged"
CHARGED_KEYS: Final = {normalised(key): key for key in ("Amount", "Currency", "Charged ID", "Items")}
RESERVED_FIELDS: Final = {
    normalised(field): field
    for field in (
        *("Name", "Email", "Phone", "Gender", "DOB", "Age", "Employed", "Married", "Education"),
        *("Customer Type", "Photo", "Tz", "identity", "FBID", "GPID"),
        *SWITCHES,
        *NESTED_FIELDS,
    )
}
"""Fields by the form in which names are compared."""
RESTRICTED: Final = frozenset(normalised(name) for name in RESTRICTED_EVENT_NAMES)


def token_types_for(object_id: str) -> frozenset[str]:
    """Token types that fit the platform an objectId belongs to (official documentation: Set CleverTap ID)."""
    if object_id.startswith("__"):
        return ANDROID_TOKENS
    if object_id.startswith("-"):
        return APPLE_TOKENS
    return OTHER_TOKENS
