"""User attributes and identities → `profileData`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from router_clevertap.draft import MAX_FIELDS, Draft
from router_clevertap.fields import Checks, checks, id_text, text
from router_clevertap.identity import Root
from router_clevertap.names import CleanName, Remembered
from router_clevertap.notes import Notes
from router_clevertap.profile_keys import NAME_PARTS, NO_LISTS, own_key, profile_key
from router_clevertap.values import flattened, is_surely_plain, list_value, plain_value
from router_core.events import UserIdentity

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


class _Own(NamedTuple):
    """An attribute that becomes a property of the app's own."""

    raw: str
    key: CleanName


class _Shape(NamedTuple):
    """Where a set of attributes goes."""

    fields: tuple[tuple[str, str, Callable[[Any], Any]], ...]
    """Attribute, reserved field and its check."""
    own: tuple[_Own, ...]
    names: tuple[tuple[str, str], ...]
    """Attribute and which part of the name it is."""
    is_clean: bool
    """Whether all own keys can be sent as they are, as CleverTap can tell them apart and there is room for all."""


class ProfileMapper:
    """Makes `profileData`; remembers the names it has seen."""

    def __init__(self, *, phone_region: str = "", flatten: bool = False, convert_dates: bool = True) -> None:
        self._flatten = flatten
        self._convert_dates = convert_dates
        self._keys = Remembered(profile_key)
        self._shapes: dict[tuple[str, ...], _Shape] = {}
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
        draft = Draft()
        self._put_identities(draft, root, identities)
        self._put_attributes(draft, attributes, nulls_are_tags)
        self._put_name(draft, attributes)
        for raw in deleted:
            self._delete(draft, raw)
            if self._is_part_of_name(raw) and "Name" not in draft.data:
                draft.put("Name", DELETION, raw)  # it was made of what is gone now
        return draft.data, tuple(draft.notes)

    def from_attribute(self, name: str, value: Any, others: Mapping[str, Any]) -> Said:
        """One attribute that was set; None is a tag. `others` are the user's attributes, for a name made of two."""
        draft = Draft()
        self._put_attributes(draft, {name: value}, nulls_are_tags=True)
        if self._is_part_of_name(name):
            self._put_name(draft, {**others, name: value})
        return draft.data, tuple(draft.notes)

    def from_deletion(self, name: str, others: Mapping[str, Any]) -> Said:
        """One attribute that was deleted; a name made of two is made of what is left, or deleted too."""
        draft = Draft()
        self._delete(draft, name)
        if self._is_part_of_name(name):
            left = {raw: value for raw, value in others.items() if self._keys[raw].text != self._keys[name].text}
            self._put_name(draft, left)
            if "Name" not in draft.data and not self._names(left).get("Name"):
                draft.put("Name", DELETION, name)
        return draft.data, tuple(draft.notes)

    def from_identity(self, root: Root, identity: UserIdentity, value: str | None) -> Said:
        """One identity that was set, or removed (None)."""
        draft = Draft()
        if value is not None:
            self._put_identities(draft, root, {identity: value})
        elif identity in _IDENTITY_FIELDS:  # a customer id is an identity of the profile, which cannot be deleted
            draft.put(_IDENTITY_FIELDS[identity], DELETION, identity.value)
        return draft.data, tuple(draft.notes)

    def _put_identities(self, draft: Draft, root: Root, identities: Mapping[UserIdentity, str]) -> None:
        customer = identities.get(UserIdentity.CUSTOMER_ID)
        if customer and root.key == "identity" and root.value != customer:
            good = id_text(customer)
            draft.put("identity", good, "customer_id") if good else draft.note("bad_identity", "customer_id")
        if len(identities) == bool(customer):
            return  # there is no other
        for identity, field in _IDENTITY_FIELDS.items():
            if identity in identities:
                draft.put_field(field, self._checks[field](identities[identity]), identities[identity], identity.value)

    def _put_attributes(self, draft: Draft, attributes: Mapping[str, Any], nulls_are_tags: bool) -> None:
        if self._flatten and any(type(value) is dict for value in attributes.values()):
            attributes = self._flat(draft, attributes)
        shape = self._shape(attributes)
        for raw, key, check in shape.fields:
            self._put_field(draft, raw, key, check, attributes[raw])
        data = draft.data
        for target in shape.own:
            value = attributes[target.raw]
            if shape.is_clean and is_surely_plain(value):
                data[target.key.text] = value
            else:
                self._put_own(draft, target, value, nulls_are_tags)

    def _put_own(self, draft: Draft, target: _Own, value: Any, nulls_are_tags: bool) -> None:
        """A property of the app's own."""
        raw, key = target
        if not key.text:
            draft.note(key.note, raw)
            return
        if type(value) is list and (key.compared not in NO_LISTS or not value):
            value, changed = list_value(value)
        elif value is None and nulls_are_tags:
            value, changed = True, "null_as_tag"
        else:
            value, changed = plain_value(value, convert_dates=self._convert_dates)
        if value is None:
            draft.note(changed, raw)
        elif draft.put(key.text, value, raw):
            for code in (key.note, changed):
                if code:
                    draft.note(code, raw)

    def _put_field(self, draft: Draft, raw: str, field: str, check: Callable[[Any], Any], value: Any) -> None:
        if draft.put_field(field, check(value), value, raw) or field != "DOB" or not isinstance(value, str):
            return
        key = own_key(raw)
        kept, _ = plain_value(value, convert_dates=False)
        if key.compared != "dob" and kept is not None and draft.put(key.text, kept, raw):
            draft.note("attribute_kept_as_text", raw)  # a birthday in words is worth keeping as a property

    def _put_name(self, draft: Draft, attributes: Mapping[str, Any]) -> None:
        """`Name` from first and last name, unless the user has a whole one."""
        names = self._names(attributes)
        parts = [part for part in (names.get("FirstName"), names.get("LastName")) if part]
        if parts and not names.get("Name"):
            draft.put_field("Name", text(" ".join(parts)), parts, "Name")

    def _names(self, attributes: Mapping[str, Any]) -> dict[str, str | None]:
        return {key: text(attributes[raw]) for raw, key in self._shape(attributes).names}

    def _is_part_of_name(self, raw: str) -> bool:
        return self._keys[raw].text in ("FirstName", "LastName")

    def _delete(self, draft: Draft, raw: str) -> None:
        key = self._keys[raw]
        if not key.text:
            draft.note(key.note, raw)
        elif not draft.has(key.text, key.compared):
            draft.put(key.text, DELETION, raw)

    def _shape(self, attributes: Mapping[str, Any]) -> _Shape:
        names = tuple(attributes)
        shape = self._shapes.get(names)
        if shape is None:
            shape = self._new_shape(names)
            if len(names) <= MAX_FIELDS and all(raw in self._keys for raw in names):  # bounds memory
                if len(self._shapes) >= _MOST_SHAPES:
                    self._shapes.clear()
                self._shapes[names] = shape
        return shape

    def _new_shape(self, names: tuple[str, ...]) -> _Shape:
        keys = [(raw, self._keys[raw]) for raw in names]
        own = tuple(_Own(raw, key) for raw, key in keys if key.text not in self._checks)
        differ = len({key.compared for _, key in own}) == len(own)
        return _Shape(
            fields=tuple((raw, key.text, self._checks[key.text]) for raw, key in keys if key.text in self._checks),
            own=own,
            names=tuple((raw, key.text) for raw, key in keys if key.text in NAME_PARTS),
            is_clean=differ and len(own) + len(self._checks) < MAX_FIELDS and not any(key.note for _, key in own),
        )

    def _flat(self, draft: Draft, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
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
