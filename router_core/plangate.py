"""What becomes of records that break a data plan, by the policy for each kind of breach.

| policy | an event that is not planned | an attribute that is unknown or wrong | an attribute that is missing |
|---|---|---|---|
| allow | goes on | goes on | goes on |
| strip | is skipped | is taken out; the record goes on | |
| park | becomes a dead letter | the record becomes a dead letter | the record becomes a dead letter |
| refuse | inputs only: the sender gets a 400 with the place, and nothing of the batch is kept |||

Every breach is reported, whatever the policy. What was taken out or ended here cannot be reached by the batch's other
records either: they come without the received bytes and the undecoded events.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from router_core.dataplan import (
    MISSING_ATTRIBUTE,
    UNKNOWN_ATTRIBUTE,
    UNKNOWN_EVENT,
    WRONG_VALUE,
    Breach,
    DataPlan,
)
from router_core.errors import InvalidBatch
from router_core.events import EventBatch, EventType, Platform, batch_from_json
from router_core.outcomes import Outcome
from router_core.records import BatchContext, Record, records_from_batch, without_received

STRIP: Final = "strip"
PARK: Final = "park"
REFUSE: Final = "refuse"

_NAME_FIELDS: Final = {EventType.CUSTOM_EVENT: "event_name", EventType.SCREEN_VIEW: "screen_name"}


class PlanNote(NamedTuple):
    """One breach of one record, and the policy that met it."""

    record_id: str
    code: str
    policy: str
    text: str


class PlanGate:
    """A plan with its policies; holds nothing of what passes."""

    def __init__(self, plan: DataPlan, policies: Mapping[str, str]) -> None:
        """`policies` by code of the breach."""
        self._plan = plan
        self._policies = policies
        self.refuses: Final = REFUSE in policies.values()

    def __call__(self, records: Sequence[Record]) -> tuple[list[Record], list[Outcome], list[PlanNote]]:
        """The records that go on, in order; an outcome for each other; and every breach."""
        kept: list[Record] = []
        outcomes: list[Outcome] = []
        notes: list[PlanNote] = []
        taken_from: set[int] = set()
        before: EventBatch | None = None
        batch, of_user = EventBatch(), list[Breach]()
        for record in records:
            if record.batch is not before:
                before = record.batch
                of_user = self._plan.of_user(before.user_attributes)
                batch = self._stripped_batch(before, of_user) if of_user else before
                if batch is not before:
                    taken_from.add(record.context.seq)
            breaches = of_user if record.event is None else self._plan.of_event(record.event_type, record.event)
            clean = record if batch is before else replace(record, batch=batch)
            if not breaches:
                kept.append(clean)
                continue
            outcome = self._end(record, breaches)
            if outcome is None:
                clean = self._stripped_event(clean, breaches)
                missing = self._missing_now(clean, breaches)
                outcome = self._end(record, missing)
                if outcome is None and record.event is None and not clean.batch.updates_profile:
                    code = next(one.code for one in breaches if self._policies[one.code] == STRIP)
                    outcome = Outcome.skipped(record.id, code, "nothing is left of the profile update")
                breaches = [*breaches, *missing]
            notes += [PlanNote(record.id, one.code, self._policies[one.code], one.text) for one in breaches]
            if outcome is not None or clean.event is not record.event:
                taken_from.add(record.context.seq)
            if outcome is None:
                kept.append(clean)
            else:
                outcomes.append(outcome)
        return without_received(kept, taken_from), outcomes, notes

    def _missing_now(self, record: Record, breaches: Sequence[Breach]) -> list[Breach]:
        """What the plan requires and had to be taken out."""
        if not self._to_strip(breaches, (STRIP,)):
            return []
        if record.event is None:
            found = self._plan.of_user(record.batch.user_attributes)
        else:
            found = self._plan.of_event(record.event_type, record.event)
        return [breach for breach in found if breach.code == MISSING_ATTRIBUTE and breach not in breaches]

    def _end(self, record: Record, breaches: Sequence[Breach]) -> Outcome | None:
        """How the record ends here, if it does. What would be refused now came in before that, and is parked."""
        for breach in breaches:
            if self._policies[breach.code] in (PARK, REFUSE):
                return Outcome.rejected(record.id, breach.code, breach.text)
        whole = record.event_type == EventType.USER_ATTRIBUTE_CHANGE  # nothing is left of it without its attribute
        for breach in breaches:
            if self._policies[breach.code] == STRIP and (
                whole or breach.code == UNKNOWN_EVENT or breach.subject is None
            ):
                return Outcome.skipped(record.id, breach.code, breach.text)
        return None

    def _stripped_event(self, record: Record, breaches: Sequence[Breach]) -> Record:
        names = self._to_strip(breaches, (STRIP,))
        if record.event is None or not names:
            return record
        attributes = {k: v for k, v in (record.event.custom_attributes or {}).items() if k not in names}
        return replace(record, event=replace(record.event, custom_attributes=attributes))

    def _stripped_batch(self, batch: EventBatch, breaches: Sequence[Breach]) -> EventBatch:
        """The batch as its events see it: what was parked with the profile update is not there either."""
        names = self._to_strip(breaches, (STRIP, PARK, REFUSE))
        if not names:
            return batch
        kept = {} if None in names else {k: v for k, v in (batch.user_attributes or {}).items() if k not in names}
        return replace(batch, user_attributes=kept)

    def _to_strip(self, breaches: Sequence[Breach], policies: Sequence[str]) -> set[str | None]:
        return {one.subject for one in breaches if one.code in _OF_VALUES and self._policies[one.code] in policies}

    def require_accepted(self, body: bytes) -> None:
        """Raises `Unplanned` with the place if the sender is to be refused. A batch that cannot be read passes."""
        try:
            records, _ = records_from_batch(batch_from_json(body), _NO_CONTEXT)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        for breach in self._plan.of_user(records[0].batch.user_attributes) if records else ():
            if self._policies[breach.code] == REFUSE:
                raise Unplanned(breach, "$.user_attributes")
        for record in records:
            if record.event is None:
                continue
            for breach in self._plan.of_event(record.event_type, record.event):
                if self._policies[breach.code] == REFUSE:
                    raise Unplanned(breach, f"$.events[{record.id.partition('.')[2]}]", record.event_type)


_OF_VALUES: Final = (UNKNOWN_ATTRIBUTE, WRONG_VALUE)
_NO_CONTEXT: Final = BatchContext(seq=0, input="", platform=Platform.DATA_FEEDS)


class Unplanned(InvalidBatch):
    """A batch that a data plan refuses. The text shows names of attributes, and no value."""

    def __init__(self, breach: Breach, at: str, event_type: str = "") -> None:
        self.code = breach.code
        if breach.code == UNKNOWN_EVENT:
            field = _NAME_FIELDS.get(EventType(event_type)) if event_type in _TYPES else None
            place = f"{at}.data.{field}" if field else f"{at}.event_type" if event_type not in _TYPES else f"{at}.data"
            super().__init__("This event is not in the input's data plan.", place)
            return
        if event_type == EventType.USER_ATTRIBUTE_CHANGE:
            at += ".data.new" if breach.code == WRONG_VALUE else ".data.user_attribute_name"
        elif event_type:
            at += ".data.custom_attributes"
        if breach.subject is not None and event_type != EventType.USER_ATTRIBUTE_CHANGE:
            at += _step(breach.subject)
        what = "is required by" if breach.code == MISSING_ATTRIBUTE else "is not in"
        if breach.code == WRONG_VALUE:
            super().__init__(f"A value breaks the input's data plan: {breach.message}.", at)
        else:
            super().__init__(f"An attribute {what} the input's data plan.", at)


_TYPES: Final = frozenset(EventType)


def _step(name: str) -> str:
    return f".{name}" if re.fullmatch(r"[A-Za-z_]\w{0,99}", name) else f"[{name[:100]!r}]"


def gate_of(plan: DataPlan, settings: Any) -> PlanGate:
    """The gate for an input's or a connection's `data_plan` settings."""
    return PlanGate(
        plan,
        {
            UNKNOWN_EVENT: settings.unknown_events,
            UNKNOWN_ATTRIBUTE: settings.unknown_attributes,
            WRONG_VALUE: settings.wrong_values,
            MISSING_ATTRIBUTE: settings.missing_attributes,
        },
    )
