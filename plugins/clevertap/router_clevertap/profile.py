"""User attributes and identities → `profileData`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from router_clevertap.fields import Checks, checks, id_text, text
from router_clevertap.identity import Root
from router_clevertap.names import Remembered, compared
from router_clevertap.notes import Note, Notes
from router_clevertap.profile_keys import NAME_PARTS, NO_LISTS, own_key, profile_key
from router_clevertap.values import flattened, list_value, plain_value
from router_core.events import UserIdentity

MAX_FIELDS: Final = 256  # official documentation: custom profile keys
DELETION: Final[Mapping[str, Any]] = {"$delete": True}
_MOST_SHAPES: Final = 1024
_IDENTITY_FIELDS: Final = {
    UserIdentity.EMAIL: "Email",
    UserIdentity.MOBILE_NUMBER: "Phone",
    UserIdentity.FACEBOOK: "FBID",
    UserIdentity.GOOGLE: "GPID",
}
Said = tuple[dict[str, Any], Notes]
"""`profileData`, and what was changed or left out."""


class _Target(NamedTuple):
    """Where one attribute goes."""

    raw: str
    key: str
    compared: str
    note: str
    check: Callable[[Any], Any] | None
    """The check of a reserved field; None for a property of the app's own."""


class ProfileMapper:
    """Makes `profileData`; remembers the names it has seen."""

    def __init__(self, *, phone_region: str = "", flatten: bool = False, convert_dates: bool = True) -> None:
        self._flatten = flatten
        self._convert_dates = convert_dates
        self._keys = Remembered(profile_key)
        self._shapes: dict[tuple[str, ...], tuple[_Target, ...]] = {}
        self._checks: Checks = {**checks(phone_region), "FBID": id_text, "GPID": id_text}

    def from_batch(
        self,
        root: Root,
        identities: Mapping[UserIdentity, str],
        attributes: Mapping[str, Any],
        deleted: Iterable[str],
        *,
        nulls_are_tags: bool = False,
    ) -> Said:
        """All that a batch says of its user. What is set wins over what is deleted."""
        draft = _Draft()
        self._put_identities(draft, root, identities)
        self._put_attributes(draft, attributes, nulls_are_tags)
        self._put_name(draft, attributes)
        for raw in deleted:
            self._delete(draft, raw)
            if self._is_part_of_name(raw) and "name" not in draft.taken:
                draft.put("Name", DELETION, raw)  # it was made of what is gone now
        return draft.data, tuple(draft.notes)

    def from_attribute(self, name: str, value: Any, others: Mapping[str, Any]) -> Said:
        """One attribute that was set; None is a tag. `others` are the user's attributes, for a name made of two."""
        draft = _Draft()
        self._put_attributes(draft, {name: value}, nulls_are_tags=True)
        if self._is_part_of_name(name):
            self._put_name(draft, {**others, name: value})
        return draft.data, tuple(draft.notes)

    def from_deletion(self, name: str, others: Mapping[str, Any]) -> Said:
        """One attribute that was deleted; a name made of two is made of what is left, or deleted too."""
        draft = _Draft()
        self._delete(draft, name)
        if self._is_part_of_name(name):
            left = {raw: value for raw, value in others.items() if self._keys[raw].text != self._keys[name].text}
            self._put_name(draft, left)
            if "name" not in draft.taken and not self._names(left).get("Name"):
                draft.put("Name", DELETION, name)
        return draft.data, tuple(draft.notes)

    def from_identity(self, root: Root, identity: UserIdentity, value: str | None) -> Said:
        """One identity that was set, or removed (None)."""
        draft = _Draft()
        if value is not None:
            self._put_identities(draft, root, {identity: value})
        elif identity in _IDENTITY_FIELDS:  # a customer id is an identity of the profile, which cannot be deleted
            draft.put(_IDENTITY_FIELDS[identity], DELETION, identity.value)
        return draft.data, tuple(draft.notes)

    def _put_identities(self, draft: _Draft, root: Root, identities: Mapping[UserIdentity, str]) -> None:
        customer = identities.get(UserIdentity.CUSTOMER_ID)
        if customer and root.key == "identity" and root.value != customer:
            good = id_text(customer)
            draft.put("identity", good, "customer_id") if good else draft.note("bad_identity", "customer_id")
        for identity, field in _IDENTITY_FIELDS.items():
            if identity in identities:
                draft.put_checked(
                    field, self._checks[field](identities[identity]), identities[identity], identity.value
                )

    def _put_attributes(self, draft: _Draft, attributes: Mapping[str, Any], nulls_are_tags: bool) -> None:
        if self._flatten and any(type(value) is dict for value in attributes.values()):
            attributes = self._flat(draft, attributes)
        convert_dates = self._convert_dates
        for raw, key, seen, note, check in self._targets(attributes):
            value = attributes[raw]
            if check is not None:
                self._put_field(draft, raw, key, check, value)
                continue
            if not key:
                draft.note(note, raw)
                continue
            changed = ""
            if type(value) is list and (seen not in NO_LISTS or not value):
                value, changed = list_value(value)
            elif value is None and nulls_are_tags:
                value, changed = True, "null_as_tag"
            else:
                value, changed = plain_value(value, convert_dates=convert_dates)
            if value is None:
                draft.note(changed, raw)
            elif draft.put(key, value, raw, seen):
                if note:
                    draft.note(note, raw)
                if changed:
                    draft.note(changed, raw)

    def _put_field(self, draft: _Draft, raw: str, field: str, check: Callable[[Any], Any], value: Any) -> None:
        if draft.put_checked(field, check(value), value, raw) or field != "DOB" or not isinstance(value, str):
            return
        key = own_key(raw)
        kept, _ = plain_value(value, convert_dates=False)
        if key.compared != "dob" and kept is not None and draft.put(key.text, kept, raw):
            draft.note("attribute_kept_as_text", raw)  # a birthday in words is worth keeping as a property

    def _put_name(self, draft: _Draft, attributes: Mapping[str, Any]) -> None:
        """`Name` from first and last name, unless the user has a whole one."""
        names = self._names(attributes)
        parts = [part for part in (names.get("FirstName"), names.get("LastName")) if part]
        if parts and not names.get("Name"):
            draft.put_checked("Name", text(" ".join(parts)), parts, "Name")

    def _names(self, attributes: Mapping[str, Any]) -> dict[str, str | None]:
        return {key: text(attributes[raw]) for raw, key, *_ in self._targets(attributes) if key in NAME_PARTS}

    def _is_part_of_name(self, raw: str) -> bool:
        return self._keys[raw].text in ("FirstName", "LastName")

    def _delete(self, draft: _Draft, raw: str) -> None:
        key = self._keys[raw]
        if not key.text:
            draft.note(key.note, raw)
        elif key.compared not in draft.taken:
            draft.put(key.text, DELETION, raw)

    def _targets(self, attributes: Mapping[str, Any]) -> tuple[_Target, ...]:
        """Where each attribute goes: fields first, so that a property that looks like one cannot displace it."""
        shape = tuple(attributes)
        found = self._shapes.get(shape)
        if found is None:
            keys = [(raw, self._keys[raw]) for raw in shape]
            all_of = [_Target(raw, key.text, key.compared, key.note, self._checks.get(key.text)) for raw, key in keys]
            found = tuple(sorted(all_of, key=lambda target: target.check is None))
            if len(shape) <= MAX_FIELDS and all(raw in self._keys for raw in shape):  # bounds memory
                if len(self._shapes) >= _MOST_SHAPES:
                    self._shapes.clear()
                self._shapes[shape] = found
        return found

    def _flat(self, draft: _Draft, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        flat: dict[str, Any] = {}
        for raw, value in attributes.items():
            if type(value) is dict and value and self._keys[raw].text not in self._checks:
                draft.note("nested_flattened", raw)
                for key, one in flattened({raw: value}):
                    if key in flat or key in attributes:
                        draft.note("key_collision", key)
                    else:
                        flat[key] = one
            else:
                flat[raw] = value
        return flat


class _Draft:
    """`profileData` while it grows."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.notes: list[Note] = []
        self.taken: set[str] = set()

    def note(self, code: str, raw: str) -> None:
        """Note what became of `raw`."""
        self.notes.append(Note(code, raw))

    def put(self, key: str, value: Any, raw: str, seen: str = "") -> bool:
        """Take a value unless its key is taken or the profile is full; what came first stays.

        `seen` is the key in the form in which CleverTap compares names, if it is known.
        """
        seen = seen or compared(key)
        if seen in self.taken or len(self.data) >= MAX_FIELDS:
            self.note("key_collision" if seen in self.taken else "too_many_properties", raw)
            return False
        self.data[key] = value
        self.taken.add(seen)
        return True

    def put_checked(self, field: str, good: Any, value: Any, raw: str) -> bool:
        """Take what the check of a reserved field made of a value, or note that it is bad (None)."""
        if good is None:
            self.note("empty_value" if value is None or value == "" else "invalid_field", raw)
            return False
        return self.put(field, good, raw)
