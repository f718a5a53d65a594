"""Notes: what was changed or left out on the way to CleverTap, so that it can be counted and shown."""

from __future__ import annotations

from typing import NamedTuple


class Note(NamedTuple):
    """One value or name that is not sent as it came. It never holds the value itself.

    Codes: `bad_clevertap_id`, `bad_key`, `bad_timestamp`, `amount_summed`, `empty_value`, `invalid_field`,
    `items_cut`, `key_changed`, `key_collision`, `list_cut`, `name_changed`, `nested_as_text`, `number_as_text`,
    `reserved_key`, `restricted_name`, `too_many_properties`, `value_cut`.
    """

    code: str
    key: str
    """The attribute or field as it came, or the event's name."""


Notes = tuple[Note, ...]
NONE: Notes = ()
