"""What the page shows: the newest of everything, cut so that an answer stays small whatever was sent."""

from collections import Counter
from itertools import islice
from typing import Any, Final

from router_clevertap.sandbox.damage import Damage
from router_clevertap.sandbox.ledger import Entry
from router_clevertap.sandbox.person import Person
from router_clevertap.sandbox.shortening import shortened, shortened_json
from router_clevertap.sandbox.state import Sandbox

ROWS: Final = 60  # of each list
_MOST_IDS: Final = 20


def overview(sandbox: Sandbox) -> dict[str, Any]:
    """`stats`, `records`, `damage`, `people`, `refusals`, `faults`; lists newest first, at most 60 rows each."""
    return {
        "stats": sandbox.stats(),
        "records": [_record(entry) for entry in islice(sandbox.ledger.newest(), ROWS)],
        "damage": _damages(sandbox),
        "people": _people(sandbox),
        "refusals": [_refusal(refusal) for refusal in islice(reversed(sandbox.refusals), ROWS)],
        "faults": list(sandbox.faults),
    }


def _record(entry: Entry) -> dict[str, Any]:
    shown = entry.as_shown()
    return shown if "erased" in shown else shown | {"record": shortened_json(entry.raw)}


def _damages(sandbox: Sandbox) -> list[dict[str, Any]]:
    """One row a code and place, with its newest record and `times`, so that a flood of one does not hide others."""
    newest: dict[tuple[str, str], tuple[Entry, Damage]] = {}
    times: Counter[tuple[str, str]] = Counter()
    for entry, damage in reversed(sandbox.damage):
        newest.setdefault((damage.code, damage.field), (entry, damage))
        times[damage.code, damage.field] += 1
    rows = islice(newest.items(), ROWS)
    return [_damage(entry, damage) | {"times": times[place]} for place, (entry, damage) in rows]


def _damage(entry: Entry, damage: Damage) -> dict[str, Any]:
    return _record(entry) | damage._asdict() | {"field": shortened(damage.field)}


def _refusal(refusal: dict[str, Any]) -> dict[str, Any]:
    return refusal | {"record": shortened(refusal["record"]), "error": shortened(refusal["error"])}


def _people(sandbox: Sandbox) -> list[dict[str, Any]]:
    newest = [
        (account.id, person)
        for account in sandbox.accounts.values()
        for person in islice(account.people.latest(), ROWS)
    ]
    newest.sort(key=lambda owned: -owned[1].updated_at)
    return [_person(account, person) for account, person in newest[:ROWS]]


def _person(account: str, person: Person) -> dict[str, Any]:
    record = person.as_record()
    own, events = record["sandbox"], record.pop("events")
    return {
        "account": account,
        **{key: shortened(value) for key, value in record.items()},
        "event_count": sum(event["count"] for event in events.values()),
        "events": shortened(events),
        "sandbox": {**own, "ids": own["ids"][:_MOST_IDS], "tokens": shortened(own["tokens"])},
    }
