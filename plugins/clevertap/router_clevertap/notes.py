"""Notes: what was changed or left out on the way to CleverTap, so that it can be counted and shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Note(NamedTuple):
    """One value or name that is not sent as it came. It never holds the value itself."""

    code: str
    """One of `CODES`."""
    key: str
    """The attribute or field as it came, or the event's name."""


Notes = tuple[Note, ...]
NONE: Notes = ()

CODES: Final[Mapping[str, str]] = {
    # Ids and times of a record.
    "bad_identity": "too long for an id (120 characters), a word such as `null`, or a device's id; it counts as none",
    "bad_clevertap_id": "what stands as CleverTap ID has no form that CleverTap's SDKs give to one",
    "bad_timestamp": "the event's time is no time in milliseconds; the time of acceptance is sent",
    # Names.
    "name_changed": "the event's name lost characters that CleverTap forbids, or was cut",
    "restricted_name": "CleverTap keeps the event's name for itself; it got the prefix `mP `",
    "key_changed": "the key lost characters that CleverTap forbids, or was cut",
    "bad_key": "nothing is left of the key without the characters that CleverTap forbids; left out",
    "reserved_key": "the key is CleverTap's own; left out",
    "key_collision": "CleverTap cannot tell the key from one that is sent already; left out",
    "too_many_properties": "the event or profile is full; left out",
    # Values.
    "empty_value": "null, empty text, an object or a list that holds nothing else, or no number; left out",
    "value_cut": "text of more than 512 bytes; cut on a whole character",
    "number_as_text": "an integer beyond 64 bits; sent as text",
    "date_converted": "an ISO date or time; sent as CleverTap's date, `$D_` and seconds",
    "bad_date": "starts with `$D_` without seconds behind it; left out",
    "nested_as_text": "an object or a list; sent as JSON text",
    "nested_cut": "an object or a list; sent as JSON text, of which only the first 512 bytes",
    "nested_flattened": "an object; its values are sent under keys of their own",
    "list_changed": "items of a list that are no text, are empty, too long or repeated; changed or left out",
    "list_cut": "a list of more than 100 items; the last 100 are sent",
    "null_as_tag": "an attribute without a value is mParticle's tag; sent as `true`",
    # Reserved profile fields.
    "invalid_field": "CleverTap would refuse the whole record for this value, or misread it; left out",
    "attribute_kept_as_text": "no date of birth; sent as a property of the same name",
    # Commerce.
    "amount_summed": "the purchase has no readable total amount; the sum of its products is sent",
    "amount_incomplete": "as `amount_summed`, but products without a readable price or quantity are missing in the sum",
    "items_split": "products beyond the 50th; sent as events `eCommerce - purchase - Item`",
}
"""Each code to what it means."""
