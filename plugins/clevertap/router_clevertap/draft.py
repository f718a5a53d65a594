"""`profileData` while it grows: no key twice in CleverTap's eyes, no more keys than it takes, each loss noted."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

from router_clevertap.names import compared
from router_clevertap.notes import Note

MAX_FIELDS: Final = 256  # official documentation: custom profile keys


class Draft:
    """`profileData` while it grows."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.notes: list[Note] = []
        self._compared: set[str] = set()

    def note(self, code: str, raw: str) -> None:
        """Note what became of `raw`."""
        self.notes.append(Note(code, raw))

    def has(self, key: str, seen: str) -> bool:
        """Whether CleverTap could not tell the key, which it compares as `seen`, from one that is there."""
        if key in self.data:
            return True
        for new in islice(self.data, len(self._compared), None):
            self._compared.add(compared(new))
        return seen in self._compared

    def put(self, key: str, value: Any, raw: str) -> bool:
        """Take a value unless its key is taken or the profile is full; what came first stays."""
        if self.has(key, compared(key)):
            self.note("key_collision", raw)
        elif len(self.data) >= MAX_FIELDS:
            self.note("too_many_properties", raw)
        else:
            self.data[key] = value
            return True
        return False

    def put_field(self, field: str, good: Any, value: Any, raw: str) -> bool:
        """Take what the check of a reserved field made of a value, or note that it is bad (None).

        No other key is like a field's, so only the field itself can be in the way.
        """
        if good is None:
            self.note("empty_value" if value is None or value == "" else "invalid_field", raw)
        elif field in self.data:
            self.note("key_collision", raw)
        elif len(self.data) >= MAX_FIELDS:
            self.note("too_many_properties", raw)
        else:
            self.data[field] = good
            return True
        return False
