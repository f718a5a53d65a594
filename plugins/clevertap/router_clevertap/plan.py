"""What one `deliver` sends: the items of its records, cut into uploads, and what needs no sending."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from router_clevertap.mapping import Item, Mapped, RecordMapper
from router_clevertap.news import News
from router_clevertap.notes import Note
from router_core.events import UserAttributeChange, UserIdentityChange
from router_core.outcomes import Disposition, Outcome
from router_core.records import Record

_CHANGES: Final = frozenset({UserAttributeChange, UserIdentityChange})
TOKENS_PER_CALL: Final = 100  # official documentation, "Upload Device Tokens"
_WORST_FIRST: Final = (Disposition.RETRY, Disposition.REJECTED, Disposition.DELIVERED)


@dataclass(frozen=True)
class Call:
    """One upload: items, and the record of each."""

    record_ids: list[str] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """How many of the items are device tokens."""
        return len([item for item in self.items if item["type"] == "token"])


class Following(NamedTuple):
    """Which records say what a record would only repeat."""

    leaders: tuple[str, ...]
    has_own: bool
    """Whether the record has items of its own too."""


@dataclass(frozen=True)
class Plan:
    """What becomes of the records of one `deliver`."""

    calls: list[Call] = field(default_factory=list)
    settled: list[Outcome] = field(default_factory=list)
    """Outcomes of records that are not sent."""
    followers: dict[str, Following] = field(default_factory=dict)
    """Record that repeats, all or in part, what records before it say."""
    links: dict[str, str] = field(default_factory=dict)
    """CleverTap ID that is linked to a person, to the record that does it."""
    notes: list[tuple[str, Note]] = field(default_factory=list)
    """Record id and note."""

    def drop_unfinished(self, number: int, outcomes: dict[str, Outcome]) -> None:
        """Take out the outcomes of records that have items in the upload `number` or a later one."""
        for call in self.calls[number:]:
            for record_id in call.record_ids:
                outcomes.pop(record_id, None)

    def with_followers(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """The outcomes, and those of the records that follow others, which end no better than these.

        A follower of a refused record is tried again by itself: it need not have what was refused. One that follows a
        record without outcome has none either.
        """
        if not self.followers:
            return list(outcomes)
        known = {outcome.record_id: outcome for outcome in outcomes}
        for follower, (leaders, has_own) in self.followers.items():
            own = [known.pop(follower)] if follower in known else []
            if len(own) == has_own and all(leader in known for leader in leaders):
                ends = [*own, *(_as(known[leader], follower) for leader in leaders)]
                known[follower] = min(ends, key=lambda end: _WORST_FIRST.index(end.disposition))
        return list(known.values())

    def linked(self, outcomes: Sequence[Outcome]) -> list[str]:
        """The CleverTap IDs that CleverTap has linked by now."""
        taken = {outcome.record_id for outcome in outcomes if outcome.disposition is Disposition.DELIVERED}
        return [device for device, record_id in self.links.items() if record_id in taken]


def plan_of(records: Sequence[Record], mapper: RecordMapper, records_per_call: int) -> Plan:
    """Map the records, in order, into uploads of at most `records_per_call` items."""
    plan = Plan()
    news = News()
    call = Call()
    for record in _changes_by_time(records):
        mapped = mapper.map(record)
        if mapped.notes:
            plan.notes.extend((record.id, note) for note in mapped.notes)
        if mapped.outcome is not None:
            plan.settled.append(mapped.outcome)
            continue
        items = mapped.items
        kind = items[0]["type"]
        if kind == "profile":
            items = _unsaid(record, mapped, plan, news)
        if len(items) == 1 and len(call.items) < records_per_call and kind != "token":  # nearly all records
            call.record_ids.append(record.id)
            call.items.append(items[0])
            continue
        for part in (items,) if len(items) <= records_per_call else _parts(items, records_per_call):
            is_full = len(call.items) + len(part) > records_per_call  # a record's items stay in one upload
            if is_full or (kind == "token" and call.tokens == TOKENS_PER_CALL):
                plan.calls.append(call)
                call = Call()
            call.record_ids.extend([record.id] * len(part))
            call.items.extend(part)
    if call.items:
        plan.calls.append(call)
    return plan


def _unsaid(record: Record, mapped: Mapped, plan: Plan, news: News) -> tuple[Item, ...]:
    """The items of a record that are not said already by records before it; puts down whom it follows."""
    new: list[Item] = []
    leaders: set[str] = set()
    for item in mapped.items:
        if mapped.linked and item is mapped.items[0]:
            leader = plan.links.setdefault(mapped.linked, record.id)
            said_by = {leader} - {record.id}
        else:
            said_by = news.said_by(record, item)
        if said_by:
            leaders |= said_by
        else:
            new.append(item)
    if leaders:
        plan.followers[record.id] = Following(tuple(sorted(leaders)), bool(new))
    return tuple(new)


def _changes_by_time(records: Sequence[Record]) -> Sequence[Record]:
    """The records with the attribute and identity changes of each batch in the order of their times.

    Other records keep their places: the profile update of a batch comes first, events in the order they came in.
    """
    changes = [place for place, record in enumerate(records) if type(record.event) in _CHANGES]
    if len(changes) < 2:
        return records
    ordered = list(records)
    by_batch: dict[int, list[int]] = {}
    for place in changes:
        by_batch.setdefault(id(records[place].batch), []).append(place)
    for places in by_batch.values():
        by_time = sorted((records[place] for place in places), key=lambda record: record.occurred_at_ms)
        for place, record in zip(places, by_time, strict=True):
            ordered[place] = record
    return ordered


def _parts(items: tuple[Item, ...], size: int) -> Iterator[tuple[Item, ...]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _as(outcome: Outcome, record_id: str) -> Outcome:
    if outcome.disposition is Disposition.REJECTED:
        return Outcome.retry(
            record_id, "same_profile_refused", f"It repeats record {outcome.record_id}: {outcome.code}."
        )
    return Outcome(record_id, outcome.disposition, outcome.code, outcome.message, outcome.retry_after)
