"""User attributes and identities → `profileData`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from router_clevertap.fields import CHECKS, phone, text
from router_clevertap.identity import Root
from router_clevertap.names import CleanName, Remembered, clean_profile_key, compared, cut
from router_clevertap.notes import Note, Notes
from router_clevertap.properties import MAX_VALUE_BYTES, json_text, number_value
from router_core.events import UserIdentity

MAX_FIELDS: Final = 256  # official documentation: custom profile keys
MAX_ID_CHARS: Final = 120  # recorded answer of 2017, code 523
MAX_LIST_ITEMS: Final = 100  # official documentation: multi-value properties; the oldest items fall out
_MOST_PHONES: Final = 4096
_MPARTICLE_NAMES: Final = {
    # mParticle's reserved attributes; clients differ in case, and mParticle's kits agree on the targets.
    **{"$firstname": "FirstName", "$lastname": "LastName", "$gender": "Gender", "$age": "Age"},
    **{"$mobile": "Phone", "$mpusermobile": "Phone", "$address": "Address", "$city": "City"},
    **{"$state": "State", "$zip": "Zip", "$country": "Country"},
}
_PLAIN_NAMES: Final = {"name": "Name", "birthday": "DOB", "phone": "Phone"}
_IDENTITY_NAMES: Final = frozenset({"identity", "objectid", "fbid", "gpid"})  # an attribute must not name a person
# Android, Apple and Web SDK source: names on which list operations are refused, in any case.
_NO_LISTS: Final = frozenset(
    ["name", "email", "education", "married", "dob", "gender", "phone", "age", "fbid", "gpid", "birthday", "identity"]
)
_IDENTITY_FIELDS: Final = {
    UserIdentity.EMAIL: "Email",
    UserIdentity.MOBILE_NUMBER: "Phone",
    UserIdentity.FACEBOOK: "FBID",
    UserIdentity.GOOGLE: "GPID",
}
_NAME_PARTS: Final = frozenset({"FirstName", "LastName", "Name"})
Checks = Mapping[str, Callable[[Any], Any]]


def profile_key(raw: str) -> CleanName:
    """The field or property that a user attribute becomes; without text if it cannot be sent."""
    plain = raw.removeprefix("$")
    field = _MPARTICLE_NAMES.get(raw.lower()) or _PLAIN_NAMES.get(plain) or (plain if plain in CHECKS else None)
    if field is not None:
        return CleanName(field, compared(field))
    key = clean_profile_key(plain)
    if key.compared in _IDENTITY_NAMES:
        return CleanName("", "", "reserved_key")
    return key


class ProfileMapper:
    """Makes `profileData`; remembers the keys it has seen."""

    def __init__(self) -> None:
        self._keys = Remembered(profile_key)
        phones = lru_cache(_MOST_PHONES)(phone)  # reading a number costs as much as the rest of the profile
        self._checks: Checks = {**CHECKS, "Phone": lambda value: phones(value) if isinstance(value, str) else None}

    def from_batch(
        self,
        root: Root,
        identities: Mapping[UserIdentity, str],
        attributes: Mapping[str, Any],
        deleted: Iterable[str],
    ) -> tuple[dict[str, Any], Notes]:
        """All that a batch says of its user. What is set wins over what is deleted."""
        draft = _Draft(self._checks)
        self._put_identities(draft, root, identities)
        self._put_attributes(draft, attributes)
        self._put_name(draft, attributes)
        for raw in deleted:
            self._delete(draft, raw)
        return draft.data, tuple(draft.notes)

    def from_attribute(self, name: str, value: Any, others: Mapping[str, Any]) -> tuple[dict[str, Any], Notes]:
        """One attribute that was set. `others` are the user's attributes that go into a name made of two."""
        draft = _Draft(self._checks)
        self._put_attributes(draft, {name: value})
        if self._keys[name].text in ("FirstName", "LastName"):
            self._put_name(draft, {**others, name: value})
        return draft.data, tuple(draft.notes)

    def from_deletion(self, name: str) -> tuple[dict[str, Any], Notes]:
        """One attribute that was deleted."""
        draft = _Draft(self._checks)
        self._delete(draft, name)
        return draft.data, tuple(draft.notes)

    def from_identity(self, root: Root, identity: UserIdentity, value: str | None) -> tuple[dict[str, Any], Notes]:
        """One identity that was set, or removed (None)."""
        draft = _Draft(self._checks)
        if value is not None:
            self._put_identities(draft, root, {identity: value})
        elif identity in _IDENTITY_FIELDS:  # a customer id is an identity of the profile, which cannot be deleted
            draft.put(_IDENTITY_FIELDS[identity], {"$delete": True}, identity.value)
        return draft.data, tuple(draft.notes)

    def _put_identities(self, draft: _Draft, root: Root, identities: Mapping[UserIdentity, str]) -> None:
        customer = identities.get(UserIdentity.CUSTOMER_ID)
        if customer and root.key == "identity" and root.value != customer:
            fits = len(customer) <= MAX_ID_CHARS  # an id must never be cut: it would be somebody else's
            draft.put("identity", customer, "customer_id") if fits else draft.note("invalid_field", "customer_id")
        for identity, field in _IDENTITY_FIELDS.items():
            if identity in identities:
                draft.put_field(field, identities[identity], identity.value)

    def _put_attributes(self, draft: _Draft, attributes: Mapping[str, Any]) -> None:
        keys = {raw: self._keys[raw] for raw in attributes}
        for raw, key in keys.items():  # first, so that a property that looks like a field cannot displace it
            if key.text in CHECKS:
                self._put_checked(draft, raw, key.text, attributes[raw])
        for raw, key in keys.items():
            if key.text not in CHECKS:
                _put_own(draft, raw, key, attributes[raw])

    def _put_name(self, draft: _Draft, attributes: Mapping[str, Any]) -> None:
        """`Name` from first and last name, unless the user has a whole one."""
        named = {
            name: text(value) for raw, value in attributes.items() if (name := self._keys[raw].text) in _NAME_PARTS
        }
        parts = [part for part in (named.get("FirstName"), named.get("LastName")) if part]
        if parts and not named.get("Name"):
            draft.put_field("Name", " ".join(parts), "Name")

    def _put_checked(self, draft: _Draft, raw: str, field: str, value: Any) -> None:
        if draft.put_field(field, value, raw) or field != "DOB" or raw == field:
            return
        _put_own(draft, raw, clean_profile_key(raw), value)  # a birthday in words is worth keeping as a property

    def _delete(self, draft: _Draft, raw: str) -> None:
        key = self._keys[raw]
        if not key.text:
            draft.note(key.note, raw)
        elif key.compared not in draft.taken:
            draft.put(key.text, {"$delete": True}, raw)


class _Draft:
    """`profileData` while it grows."""

    def __init__(self, checks: Checks) -> None:
        self._checks = checks
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

    def put_field(self, field: str, value: Any, raw: str) -> bool:
        """Take the value of a reserved field if it is good, or note that it is not."""
        check: Callable[[Any], Any] = self._checks.get(field, text)
        good = check(value)
        if good is None:
            self.note("empty_value" if value in (None, "") else "invalid_field", raw)
            return False
        return self.put(field, good, raw)


def _put_own(draft: _Draft, raw: str, key: CleanName, raw_value: Any) -> None:
    value, note = None, key.note
    if key.text:
        value, note = profile_value(raw_value, is_list_allowed=key.compared not in _NO_LISTS)
    if value is not None and not draft.put(key.text, value, raw, key.compared):
        return
    if note or key.note:
        draft.note(note or key.note, raw)


def profile_value(value: Any, *, is_list_allowed: bool = True) -> tuple[Any, str]:
    """The value of a profile's own property, and the code of what was changed; None leaves it out."""
    if isinstance(value, str):
        short = cut(value, MAX_VALUE_BYTES)
        return short or None, "empty_value" if not value else "value_cut" if len(short) != len(value) else ""
    if isinstance(value, (bool, int, float)):
        return number_value(value)
    if isinstance(value, list) and (is_list_allowed or not value):
        return _list_value(value)
    if value is None:
        return None, "empty_value"
    return cut(json_text(value), MAX_VALUE_BYTES), "nested_as_text"


def _list_value(items: list[Any]) -> tuple[Any, str]:
    """A replacement of the whole list: different texts, at most the last 100.

    `$set` is what CleverTap's SDKs send; the API's documentation does not list it. An empty list removes the property,
    as taking away its last value does (official documentation).
    """
    if not items:
        return {"$delete": True}, ""
    words = [item if isinstance(item, str) else json_text(item) for item in items if item is not None and item != ""]
    different = list(dict.fromkeys(cut(word, MAX_VALUE_BYTES) for word in words))
    if not different:
        return None, "empty_value"
    kept = different[-MAX_LIST_ITEMS:]
    return {"$set": kept}, "list_cut" if len(kept) < len(different) else ""
