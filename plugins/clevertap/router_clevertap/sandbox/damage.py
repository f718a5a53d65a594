"""Silent damage: what CleverTap does to a record that it answers with success.

The sandbox accepts such a record as the service would, and puts the damage on a list. `CATALOGUE` has every code, with
what happens without a word and the source that says so. Where no source tells whether CleverTap cuts, drops or keeps
a value, the text says "unknown": a sender must not rely on any of the three.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Damage(NamedTuple):
    """One thing that an accepted record loses, or does, without the sender being told."""

    code: str
    field: str
    """Where: a path such as `evtData.Items[2].Price`, or the name of a root key."""
    silently: str
    """What CleverTap does, or would do."""
    source: str


class _Rule(NamedTuple):
    silently: str
    source: str


_PLATFORM: Final = "official documentation: Platform considerations"
_UPLOAD_EVENTS: Final = "official documentation: Upload Events"
_UPLOAD_PROFILES: Final = "official documentation: Upload User Profiles"
_FAQ: Final = "official documentation: API FAQs"
_SDKS: Final = "source of the Android, Apple and Web SDKs"

CATALOGUE: Final[Mapping[str, _Rule]] = {
    # Whose record it is.
    "ghost_profile": _Rule("no device has this objectId: a new profile is made that nobody uses", _UPLOAD_PROFILES),
    "shared_device": _Rule("a blank device id: all devices without one become one profile", _SDKS),
    "device_as_identity": _Rule(
        "a CleverTap ID as identity makes a second profile, not the device's", _UPLOAD_PROFILES
    ),
    "placeholder_identity": _Rule(
        "a missing value as text: all people without an id become one profile", _UPLOAD_PROFILES
    ),
    "number_as_identity": _Rule("the number is held as text", "recorded answer of 2018"),
    "profile_after_erasure": _Rule("the erased profile is made anew", "official documentation: Delete User Profile"),
    "people_merged": _Rule("two known people become one profile", "official user documentation: How profiles merge"),
    "root_key_ignored": _Rule("a root key that the API does not know is passed over", _UPLOAD_EVENTS),
    # When.
    "no_timestamp": _Rule("the event is dated at its arrival", _UPLOAD_EVENTS),
    "implausible_timestamp": _Rule("the event is dated before September 2001", _UPLOAD_EVENTS),
    # Names of events and keys.
    "name_too_long": _Rule("unknown: SDKs cut event names to 512 characters before they send", _SDKS),
    "name_characters": _Rule("unknown: SDKs strip such characters from event names", _UPLOAD_EVENTS),
    "misspelt_name": _Rule("unknown whether its Amount counts as revenue: the name is Charged", _UPLOAD_EVENTS),
    "too_many_event_names": _Rule("an account holds 512 event names: the event is stored nowhere", _PLATFORM),
    "empty_key": _Rule("unknown: SDKs drop properties without a name", _SDKS),
    "key_too_long": _Rule("unknown: SDKs cut keys to 120 bytes before they send", _PLATFORM),
    "key_characters": _Rule("unknown: SDKs strip such characters from keys", _UPLOAD_EVENTS),
    "key_collision": _Rule("keys are compared in lower case without blanks: one value wins", _SDKS),
    "system_key": _Rule("a key of CleverTap's own: system data may be overwritten, or the value lost", _SDKS),
    "misspelt_field": _Rule("a custom property is made; the reserved field stays as it is", _UPLOAD_PROFILES),
    "too_many_profile_keys": _Rule("an account holds 256 custom profile keys: the property is lost", _PLATFORM),
    # Values.
    "null_value": _Rule("unknown: SDKs drop null before they send", _SDKS),
    "empty_value": _Rule("unknown: SDKs drop empty values before they send", _SDKS),
    "value_too_long": _Rule("unknown: SDKs cut text to 512 bytes before they send", _PLATFORM),
    "date_as_text": _Rule("a date without $D_ is stored as text: no filter by date finds it", _FAQ),
    "malformed_date": _Rule("$D_ without good epoch seconds is stored as text, or as a date far off", _FAQ),
    "nested_value": _Rule("nested values count only if CleverTap has switched them on for the account", _SDKS),
    "list_item_not_text": _Rule("lists hold text only: the item becomes text or is lost", _PLATFORM),
    "repeated_list_item": _Rule("lists hold each text once: the second is lost", _PLATFORM),
    "list_too_long": _Rule("lists hold 100 items: the oldest fall out", _PLATFORM),
    # Reserved fields and Charged.
    "date_of_birth_as_text": _Rule(
        "DOB takes $D_ and epoch seconds only: nothing else is a date of birth", _UPLOAD_PROFILES
    ),
    "impossible_phone": _Rule("no number of its country has this length: messages reach nobody", _UPLOAD_PROFILES),
    "switch_not_boolean": _Rule("the person goes on getting messages: true and false are booleans", _UPLOAD_PROFILES),
    "field_not_text": _Rule("the field takes text: the value becomes text or is lost", _UPLOAD_PROFILES),
    "photo_not_url": _Rule("Photo takes the URL of an image: nothing is shown", _SDKS),
    "amount_not_number": _Rule("no revenue is counted: Amount takes a number", _UPLOAD_EVENTS),
    "too_many_items": _Rule("SDKs take 50 items as the most: those beyond may be lost", _SDKS),
    # Device tokens.
    "token_without_keys": _Rule("a web push without the keys p256dh and auth cannot be encrypted", "official Node SDK"),
}


def damage(code: str, field: str) -> Damage:
    """The damage of a code at a place. Raises KeyError for a code that is not in the catalogue."""
    return Damage(code, field, *CATALOGUE[code])
