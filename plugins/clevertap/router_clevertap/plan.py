"""What one `deliver` sends: the items of its records, cut into uploads, and what needs no sending."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from router_clevertap.mapping import Item, Mapped, RecordMapper
from router_clevertap.notes import Note
from router_core.outcomes import Outcome
from router_core.records import Record


@dataclass(frozen=True)
class Call:
    """One upload: items, and the record of each."""

    record_ids: list[str] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """What becomes of the records of one `deliver`."""

    calls: list[Call] = field(default_factory=list)
    settled: list[Outcome] = field(default_factory=list)
    """Outcomes of records that are not sent."""
    followers: dict[str, str] = field(default_factory=dict)
    """Record whose profile was the same as the one before it, to the record that it follows."""
    notes: list[tuple[str, Note]] = field(default_factory=list)
    """Record id and note."""

    def drop_unfinished(self, number: int, outcomes: dict[str, Outcome]) -> None:
        """Take out the outcomes of records that have items in the upload `number` or a later one."""
        for call in self.calls[number:]:
            for record_id in call.record_ids:
                outcomes.pop(record_id, None)

    def with_followers(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """The outcomes, and those of the records that follow one of them."""
        if not self.followers:
            return list(outcomes)
        known = {outcome.record_id: outcome for outcome in outcomes}
        return [*outcomes, *(_as(known[led], one) for one, led in self.followers.items() if led in known)]


def plan_of(records: Sequence[Record], mapper: RecordMapper, records_per_call: int) -> Plan:
    """Map the records, in order, into uploads of at most `records_per_call` items."""
    plan = Plan()
    profiles: dict[str, tuple[str, Item]] = {}
    call = Call()
    for record in records:
        mapped = mapper.map(record)
        if mapped.notes:
            plan.notes.extend((record.id, note) for note in mapped.notes)
        if mapped.outcome is not None:
            plan.settled.append(mapped.outcome)
        elif (led := _led_by(mapped, record.id, profiles)) is not None:
            plan.followers[record.id] = led
        else:
            for part in _parts(mapped.items, records_per_call):
                if len(call.items) + len(part) > records_per_call:  # keep a record's items in one upload
                    plan.calls.append(call)
                    call = Call()
                call.record_ids.extend([record.id] * len(part))
                call.items.extend(part)
    if call.items:
        plan.calls.append(call)
    return plan


def _led_by(mapped: Mapped, record_id: str, profiles: dict[str, tuple[str, Item]]) -> str | None:
    """The record that already sends this very profile, if it is the last that its user's profile got."""
    item = mapped.items[0]
    if item["type"] != "profile":
        return None
    user = f"i{item['identity']}" if "identity" in item else f"o{item['objectId']}"
    led, last = profiles.get(user, ("", None))
    if last is not None and last["profileData"] == item["profileData"]:
        return led
    profiles[user] = (record_id, item)
    return None


def _parts(items: tuple[Item, ...], size: int) -> Iterator[tuple[Item, ...]]:
    if len(items) <= size:
        yield items
        return
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _as(outcome: Outcome, record_id: str) -> Outcome:
    return Outcome(record_id, outcome.disposition, outcome.code, outcome.message, outcome.retry_after)
