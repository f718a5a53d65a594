"""What the log knows of a person besides what a request names: learned before anything is wiped, for the partners."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from router_core.erasure import Identities, identifiers_of_person, is_of_device
from router_core.identifiers import (
    CUSTOMER_ID,
    DEVICE_STAMP,
    USER_TYPES,
    Identifier,
    Identifiers,
    as_sent,
    identifiers_in,
    spelled,
)


class Findings:
    """The ids that stand beside a requested one, kept apart by the customer id that stands there too.

    If the request names no customer id and batches name several, nobody can say whose the other ids are: then only
    what stands beside no customer id counts.

    Ids of a device outlast a change of its user: a kit goes on telling the partner's id that it had when the app
    started. So `take` all batches that name a requested identity, then let it `meet` those that name one of `devices`:
    what stands beside somebody else there is not the person's.
    """

    def __init__(self, requested: Identities) -> None:
        self._requested = {(kind, value) for kind, values in requested.items() for value in values}
        self._of_request = set(identifiers_of_person(requested))
        self._customers = {spelled(CUSTOMER_ID, value) for value in requested.get(CUSTOMER_ID, ())}
        self._by_customer: dict[str, dict[Identifier, None]] = defaultdict(dict)
        self._others: set[Identifier] = set()
        self._known: set[Identifier] | None = None

    def take(self, body: bytes) -> None:
        """Take in what a batch names that names a requested identity."""
        named = identifiers_in(body, as_sent)
        if named is None:
            return
        self._known = None
        customers = [spelled(kind, value) for kind, value in named.own if kind == CUSTOMER_ID]
        self._by_customer[customers[0] if customers else ""].update(dict.fromkeys(named.own))

    def devices(self) -> Collection[Identifier]:
        """The ids of devices that were found, as they are compared."""
        return {(kind, spelled(kind, value)) for kind, value in self._found() if is_of_device(kind)} - self._of_request

    def meet(self, named: Identifiers) -> None:
        """See whether a batch that names one of `devices`, as they are compared, is somebody else's."""
        users = {one for one in named.own if one[0] in USER_TYPES}
        customers = {value for kind, value in users if kind == CUSTOMER_ID}
        if customers:
            is_another = not customers <= self._own_customers()
        else:
            if self._known is None:
                self._known = {(kind, spelled(kind, value)) for kind, value in self._found()} | self._of_request
            is_another = bool(users) and users.isdisjoint(self._known)
        if is_another:
            self._others.update(one for one in named.own if is_of_device(one[0]))

    def of_the_person(self) -> Mapping[str, Sequence[str]]:
        """The ids that are the person's, as they were sent, without those that the request has to the letter."""
        return _by_kind([one for one in self._found() if not self._is_shared(one)])

    def shared(self) -> Mapping[str, Sequence[str]]:
        """The device stamps of the person that others use too: nothing for partners."""
        return _by_kind([one for one in self._found() if one[0] == DEVICE_STAMP and self._is_shared(one)])

    def _is_shared(self, one: Identifier) -> bool:
        kind, value = one
        compared = kind, spelled(kind, value)
        return compared in self._others and compared not in self._of_request

    def _found(self) -> list[Identifier]:
        groups = [self._by_customer.get(customer, {}) for customer in ("", *sorted(self._own_customers()))]
        return [one for group in groups for one in group if one not in self._requested]

    def _own_customers(self) -> set[str]:
        if self._customers:
            return self._customers
        customers = set(self._by_customer) - {""}
        return customers if len(customers) == 1 else set()


def _by_kind(identifiers: Sequence[Identifier]) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for kind, value in dict.fromkeys(identifiers):
        found.setdefault(kind, []).append(value)
    return found
