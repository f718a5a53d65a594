"""A data plan: which events and attributes are expected, as JSON Schemas in one YAML or JSON file.

`read_data_plan` reads and compiles a file once; a `DataPlan` then tells what an event or a user's attributes break.
What becomes of that is decided by `plangate`. The file's shape is described in docs/data-plan.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import jsonschema_rs

from router_core.configfile import read_config_file
from router_core.configtree import KeyPath, Node
from router_core.draft import suggestion
from router_core.errors import ConfigurationError, Problem
from router_core.events import CommerceEvent, CustomEvent, EventData, EventType, ScreenView, UserAttributeChange
from router_core.feeds import SOURCE_FEED

UNKNOWN_EVENT: Final = "plan_unknown_event"
UNKNOWN_ATTRIBUTE: Final = "plan_unknown_attribute"
WRONG_VALUE: Final = "plan_wrong_value"
MISSING_ATTRIBUTE: Final = "plan_missing_attribute"
CODES: Final = (UNKNOWN_EVENT, UNKNOWN_ATTRIBUTE, WRONG_VALUE, MISSING_ATTRIBUTE)

NAMED: Final = (EventType.CUSTOM_EVENT, EventType.SCREEN_VIEW, EventType.COMMERCE_EVENT)
"""Types whose events have names that the plan lists. Of the others, SDKs send most by themselves."""
ANY_NAME: Final = "*"

_MOST_VALUES: Final = 200_000
_SECTIONS: Final = ("name", "version", "events", "user_attributes", "$defs")
_DEEPEST: Final = 20
_WHOLE: Final = "#"
_DEEPEST_VALUE: Final = 8
"""Lists and maps in one another in one attribute. A schema that refers to itself can double its work at each level."""
_MOST_ERRORS: Final = 100
_LONGEST_MESSAGE: Final = 300
_CLOSED: Final = ("additionalProperties", "unevaluatedProperties")
# A pattern of the plan meets text of a stranger: one that backtracks without end is cut off, and does not match.
_PATTERNS: Final = jsonschema_rs.FancyRegexOptions(backtrack_limit=10_000)
_TOO_DEEP: Final = (RecursionError, ValueError)


class Breach(NamedTuple):
    """One thing that a plan does not allow."""

    code: str
    """One of `CODES`."""
    subject: str | None
    """The attribute; of an unknown event its name; None where the attributes as a whole are at fault."""
    message: str
    """What is wrong, without any value."""

    @property
    def text(self) -> str:
        """For people: the subject and what is wrong."""
        return self.message if self.subject is None else f"{self.subject[:100]!r} {self.message}"


class Attributes:
    """The schema of one set of attributes, compiled."""

    def __init__(self, schema: dict[str, Any] | bool) -> None:
        """Raises `jsonschema_rs.ValidationError` or `ValueError` if this is no schema."""
        jsonschema_rs.meta.validate(schema)  # says more than the masked texts of what is made below
        self._any = schema is True
        self._validator = jsonschema_rs.validator_for(
            schema, mask="the value", offline=True, validate_formats=True, pattern_options=_PATTERNS
        )

    def breaches(self, attributes: Mapping[str, Any]) -> list[Breach]:
        """At most one for each attribute and code.

        The sender chooses how much there is to check, so there are limits: what is nested deeper than 8 levels is wrong
        unseen, and behind 100 errors the attributes as a whole count as wrong in every way.
        """
        if self._any:
            return []
        deep = [name for name, value in attributes.items() if _is_deeper(value, _DEEPEST_VALUE)]
        found = [Breach(WRONG_VALUE, name, f"is nested deeper than {_DEEPEST_VALUE} levels") for name in deep]
        if deep:
            attributes = {**attributes, **dict.fromkeys(deep)}
        try:
            if self._validator.is_valid(attributes):
                return found
            errors = list(islice(self._validator.iter_errors(attributes), _MOST_ERRORS + 1))
            found += [breach for error in errors[:_MOST_ERRORS] for breach in _breaches(error)]
            if len(errors) > _MOST_ERRORS:  # nobody knows which attributes the others are of
                text = f"the attributes break the data plan in more than {_MOST_ERRORS} ways"
                found += [Breach(code, None, text) for code in (WRONG_VALUE, UNKNOWN_ATTRIBUTE, MISSING_ATTRIBUTE)]
        except _TOO_DEEP:  # half of a surrogate pair, nested without end
            return [Breach(WRONG_VALUE, None, "the attributes hold something that cannot be checked")]
        first: dict[tuple[str, str | None], Breach] = {}
        for breach in found:
            first.setdefault((breach.code, breach.subject), breach)
        return list(first.values())


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and maps stand in one another more than `levels` deep."""
    if not isinstance(value, (dict, list)):
        return False
    if levels == 0:
        return True
    return any(_is_deeper(one, levels - 1) for one in (value.values() if isinstance(value, dict) else value))


def _breaches(error: jsonschema_rs.ValidationError) -> Iterator[Breach]:
    kind: Any = error.kind  # each kind has fields of its own
    if error.instance_path:
        yield Breach(WRONG_VALUE, str(error.instance_path[0]), error.message[:_LONGEST_MESSAGE])
    elif kind.name in _CLOSED:
        for name in kind.unexpected:
            yield Breach(UNKNOWN_ATTRIBUTE, name, "is not in the data plan")
    elif kind.name == "required":
        yield Breach(MISSING_ATTRIBUTE, str(kind.property), "is missing; the data plan requires it")
    else:
        yield Breach(WRONG_VALUE, None, error.message[:_LONGEST_MESSAGE])


class DataPlan:
    """A whole plan. Build it with `read_data_plan`."""

    def __init__(
        self,
        named: Mapping[str, Mapping[str, Attributes]],
        others: Mapping[str, Attributes],
        user: Attributes | None,
        *,
        judges_events: bool,
    ) -> None:
        """`judges_events`: whether the plan speaks of events at all."""
        self._judges_events = judges_events
        self._named = named
        self._others = others
        self._user = user

    def of_event(self, event_type: str, event: EventData) -> list[Breach]:
        """What an event breaks."""
        found = self._of_change(event) if isinstance(event, UserAttributeChange) else []
        if found or not self._judges_events:
            return found
        schemas = self._named.get(event_type)
        if schemas is not None:
            name = name_of(event)
            attributes = schemas.get(name) or schemas.get(ANY_NAME)
            if attributes is None:
                return [Breach(UNKNOWN_EVENT, name, f"is no {event_type} of the data plan")]
        else:
            attributes = self._others.get(event_type)
            if event_type not in _KNOWN_TYPES:
                return [Breach(UNKNOWN_EVENT, event_type, "is no event type of the data plan")]
        if attributes is None:
            return []
        given = event.custom_attributes or {}
        if SOURCE_FEED not in given:
            return attributes.breaches(given)
        # The router's own mark is no word of the sender: as if it were not there.
        given = {name: value for name, value in given.items() if name != SOURCE_FEED}
        return [breach for breach in attributes.breaches(given) if breach.subject != SOURCE_FEED]

    def _of_change(self, event: UserAttributeChange) -> list[Breach]:
        if self._user is None or event.new is None:
            return []
        found = self._user.breaches({str(event.user_attribute_name): event.new})
        return [breach for breach in found if breach.code != MISSING_ATTRIBUTE]

    def of_user(self, attributes: Mapping[str, Any] | None) -> list[Breach]:
        """What the user attributes of a batch break."""
        return self._user.breaches(attributes) if self._user is not None and attributes else []


_KNOWN_TYPES: Final = frozenset(EventType) - {EventType.UNKNOWN}
_PROMOTION_ACTIONS: Final = {"1": "view", "2": "click"}  # the web SDK sends the number


def name_of(event: EventData) -> str:
    """The name by which a plan lists an event.

    Of a commerce event: the product action (`purchase`), `promotion_view`, `promotion_click`, or `impression`.
    """
    if isinstance(event, CustomEvent):
        return str(event.event_name)
    if isinstance(event, ScreenView):
        return str(event.screen_name)
    if isinstance(event, CommerceEvent):
        if event.product_action is not None:
            return str(event.product_action.action).lower()
        if event.promotion_action is not None:
            action = str(event.promotion_action.action).lower()
            return f"promotion_{_PROMOTION_ACTIONS.get(action, action)}"
        if event.product_impressions:
            return "impression"
    return ""


# --- reading ----------------------------------------------------------------------------------------------------------


def read_data_plan(path: Path) -> DataPlan:
    """Read one file. Raises `ConfigurationError` with all that is wrong in it, each with its line and place."""
    root, problems = read_config_file(path, most_values=_MOST_VALUES)
    plan = _Reader(root, problems).plan()
    if problems:
        raise ConfigurationError(problems)
    return plan


class _Reader:
    def __init__(self, root: Node, problems: list[Problem]) -> None:
        self._root = root
        self._problems = problems
        self._shared = self._mapping("$defs")

    def plan(self) -> DataPlan:
        for name in self._root.mapping:
            if name not in _SECTIONS:
                self._problem((name,), f"a data plan has no {name!r}.", suggestion(name, _SECTIONS))
        named: dict[str, dict[str, Attributes]] = {kind.value: {} for kind in NAMED}
        others: dict[str, Attributes] = {}
        for kind in self._mapping("events"):
            path = ("events", kind)
            if kind in named:
                schemas = {name: self._attributes((*path, name)) for name in self._mapping(*path)}
                named[kind] = {name: schema for name, schema in schemas.items() if schema is not None}
            elif kind in _KNOWN_TYPES:
                schema = self._attributes(path)
                others |= {kind: schema} if schema is not None else {}
            else:
                self._problem(path, f"{kind!r} is no event type.", suggestion(kind, sorted(_KNOWN_TYPES)))
        if not self._problems and not self._root.mapping.keys() & {"events", "user_attributes"}:
            self._problem((), "plans nothing.", "Add `events:` or `user_attributes:`.")
        user = self._attributes(("user_attributes",)) if "user_attributes" in self._root.mapping else None
        return DataPlan(named, others, user, judges_events="events" in self._root.mapping)

    def _mapping(self, *path: str) -> Mapping[str, Node]:
        node = self._root.at(path)
        if node is not None and node.value is not None and not isinstance(node.value, dict):
            self._problem(path, "must be a mapping of names to values.", "Write `name: value` lines below it.")
        return node.mapping if node is not None else {}

    def _attributes(self, path: KeyPath) -> Attributes | None:
        node = self._root.nearest(path)
        schema = {} if node.value is None else node.plain()
        if not isinstance(schema, (dict, bool)):
            self._problem(path, "is no JSON Schema.", "Write `properties:` below it, or `true` for any attributes.")
            return None
        shared = {name: below.plain() for name, below in self._shared.items()}
        if _goes_round(schema, shared):
            self._problem(path, "refers back to itself.", "Write the levels out: a sender could nest for ever.")
            return None
        try:
            return Attributes(_closed(schema, shared))
        except jsonschema_rs.ValidationError as error:
            place = tuple(error.instance_path)
            what = error.message if place else f"is no JSON Schema that can be used: {error.message}"
            self._problem((*path, *place), what, "See https://json-schema.org/understanding-json-schema.")
        except (jsonschema_rs.ReferencingError, *_TOO_DEEP) as error:
            self._problem(path, f"is no JSON Schema that can be used: {error}.", "References stay within this file.")
        return None

    def _problem(self, path: KeyPath, what: str, mend: str) -> None:
        where = str(self._root.nearest(path).place)
        self._problems.append(Problem(where=where, path=".".join(map(str, path)), what=what, mend=mend))


def _goes_round(schema: Any, shared: Mapping[str, Any]) -> bool:
    """Whether references of a schema lead back to where they stand; two such in one `anyOf` double the work a level."""

    def leads_back(name: str, way: tuple[str, ...]) -> bool:
        return name in way or any(leads_back(one, (*way, name)) for one in _referred(shared.get(name)))

    return any(name == _WHOLE or leads_back(name, (_WHOLE,)) for name in _referred(schema))


def _referred(schema: Any) -> set[str]:
    """Names in `$defs` that a schema refers to; `_WHOLE` for a place elsewhere in it."""
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            for key, value in part.items():
                if key in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(value, str) and value[:1] == "#":
                    found.add(value.removeprefix("#/$defs/").partition("/")[0] if value[:8] == "#/$defs/" else _WHOLE)
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return found


def _closed(schema: dict[str, Any] | bool, shared: Mapping[str, Any]) -> dict[str, Any] | bool:
    """The schema with what the file's `$defs` share. What it does not name is unknown, unless it says otherwise."""
    if isinstance(schema, bool):
        return schema
    if shared:
        schema = {**schema, "$defs": {**shared, **schema.get("$defs", {})}}
    known: dict[str, set[str]] = {"properties": set(), "patternProperties": set()}
    if not _collect(schema, schema.get("$defs", {}), known, 0):
        return schema
    # A schema closes only over names beside it, so those of an `allOf` are repeated there, for any value.
    repeated = {key: {**dict.fromkeys(sorted(names), True), **schema.get(key, {})} for key, names in known.items()}
    # `properties` stands there even if it is empty: without it, an error does not name the attribute.
    return {**schema, **repeated, "additionalProperties": False}


def _collect(schema: Any, shared: Mapping[str, Any], known: dict[str, set[str]], depth: int) -> bool:
    """Adds the names of attributes in a schema and in what it applies; False if it says itself what others may be."""
    if not isinstance(schema, dict):
        return True
    if any(name in schema for name in _CLOSED) or depth > _DEEPEST:
        return False
    for key, names in known.items():
        names.update(schema[key] if isinstance(schema.get(key), dict) else ())
    applied = [schema.get(key) for key in ("if", "then", "else")]
    for key in ("allOf", "anyOf", "oneOf"):
        applied += schema[key] if isinstance(schema.get(key), list) else []
    if isinstance(schema.get("dependentSchemas"), dict):
        applied += schema["dependentSchemas"].values()
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix("#/$defs/")
        if name not in shared:
            return False
        applied.append(shared[name])
    return all(_collect(one, shared, known, depth + 1) for one in applied)
