"""All that a running sandbox knows: accounts and their people, ledger, counts, damage, faults in force."""

import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from router_clevertap.sandbox.account_damage import AccountHistory
from router_clevertap.sandbox.damage import Damage
from router_clevertap.sandbox.faults import FaultProgram
from router_clevertap.sandbox.ledger import Entry, Ledger
from router_clevertap.sandbox.people import People
from router_clevertap.sandbox.person import Person
from router_clevertap.sandbox.record_file import RecordFile
from router_clevertap.sandbox.settings import SandboxSettings
from router_clevertap.sandbox.tally import Tally

REFUSALS_KEPT: Final = 200
DAMAGE_KEPT: Final = 1000


@dataclass(slots=True)
class Account:
    """One CleverTap account of the sandbox."""

    id: str
    passcode: str
    people: People
    history: AccountHistory
    tally: Tally = field(default_factory=Tally)
    in_flight: Counter[str] = field(default_factory=Counter)
    """Calls under way by API."""
    subscriptions: dict[tuple[str, str], str] = field(default_factory=dict)
    """(`phone` or `email`, address) to the last status ordered."""

    def erase(self, name: str, value: str) -> None:
        """Delete the person with an id; what comes for one of their ids from now on is silent damage."""
        self.history.erase(self.people.erase(name, value) | {(name, value)})

    def unsubscribed(self, person: Person) -> list[str]:
        """The addresses of a person that were unsubscribed."""
        email, phone = person.properties.get("Email"), person.properties.get("Phone")
        addresses = [("email", str(email)), ("phone", f"+{phone}")]
        return [value for kind, value in addresses if self.subscriptions.get((kind, value)) == "Unsubscribe"]


class Sandbox:
    """The state of one sandbox. Lives on one event loop, so nothing in it is locked."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self.record_file = RecordFile(settings.record_file) if settings.record_file else None
        self.faults = FaultProgram(settings.faults)
        self.accounts = {
            name: Account(name, passcode, People(settings.max_profiles), AccountHistory(settings.devices))
            for name, passcode in settings.accounts.items()
        }
        self._start_anew()

    def reset(self) -> None:
        """Forget all records, people, counts and faults. A record file keeps what it has."""
        self.faults = FaultProgram()
        for account in self.accounts.values():  # the same objects: calls under way hold on to them
            account.people = People(self.settings.max_profiles)
            account.history = AccountHistory(self.settings.devices)
            account.tally = Tally()
            account.subscriptions = {}
        self._start_anew()

    def _start_anew(self) -> None:
        self.ledger = Ledger(self.settings.max_events)
        self.tally = Tally()
        self.refusals: deque[dict[str, Any]] = deque(maxlen=REFUSALS_KEPT)
        self.damage: deque[tuple[Entry, Damage]] = deque(maxlen=DAMAGE_KEPT)
        self.started_at = time.time()

    def keep(
        self,
        account: Account,
        call: int,
        accepted: Sequence[dict[str, Any]],
        refused: Sequence[dict[str, Any]],
        size: int,
    ) -> None:
        """Store the accepted records of one upload of `size` bytes, and count them and the refused ones.

        `refused` are elements of `unprocessed`.
        """
        at = time.time()
        entries = [self._taken(account, call, record, at) for record in accepted]
        if self.record_file and entries:
            self.record_file.write(entries)
        self.refusals.extend({"at": at, "call": call, "account": account.id, **entry} for entry in refused)
        self.count(account, Counter(e.kind for e in entries), Counter(e["code"] for e in refused), size, at)

    def _taken(self, account: Account, call: int, record: dict[str, Any], at: float) -> Entry:
        """Take in one accepted record, and list its silent damage."""
        damage = account.history.damage_of(record, account.people)
        entry = self.ledger.append(
            at=at,
            call=call,
            account=account.id,
            kind=record["type"],
            raw=orjson.dumps(record),
            person=account.people.apply(record, at),
        )
        for one in damage:
            self.damage.append((entry, one))
            self.tally.damage[one.code] += 1
            account.tally.damage[one.code] += 1
        return entry

    def count(self, account: Account, records: Counter[str], refused: Counter[int], size: int, at: float) -> None:
        """Count what one upload brought, for the account and for all."""
        account.tally.arrived(records, refused, size, at)
        self.tally.arrived(records, refused, size, at)

    def stats(self) -> dict[str, Any]:
        """The body of `GET /sandbox/stats`."""
        return {
            **self.tally.as_json(),
            "fast": self.settings.fast,
            "started_at": self.started_at,
            "stored": len(self.ledger),
            "people": sum(len(account.people) for account in self.accounts.values()),
            "faults_fired": self.faults.fired,
            "accounts": {
                account.id: {
                    **account.tally.as_json(),
                    "people": len(account.people),
                    "in_flight": account.in_flight.total(),
                }
                for account in self.accounts.values()
            },
        }

    def close(self) -> None:
        if self.record_file:
            self.record_file.close()
