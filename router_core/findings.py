"""What the log knows of a person besides what a request names: learned before anything is wiped, for the partners."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from router_core.erasure import Identities, identifiers_of_person
from router_core.identifiers import CUSTOMER_ID, Identifier, as_sent, identifiers_in, spelled


class Findings:
    """The ids that stand beside a requested one, kept apart by the customer id that stands there too.

    If the request names no customer id and batches name several, nobody can say whose the other ids are: then only
    what stands beside no customer id counts.
    """

    def __init__(self, requested: Identities) -> None:
        self._requested = set(identifiers_of_person(requested))
        self._customers = {spelled(CUSTOMER_ID, value) for value in requested.get(CUSTOMER_ID, ())}
        self._by_customer: dict[str, dict[Identifier, None]] = defaultdict(dict)

    def take(self, body: bytes) -> None:
        """Take in what a batch names that names a requested identity."""
        named = identifiers_in(body, as_sent)
        if named is None:
            return
        customers = [spelled(kind, value) for kind, value in named.own if kind == CUSTOMER_ID]
        self._by_customer[customers[0] if customers else ""].update(dict.fromkeys(named.own))

    def of_the_person(self) -> Mapping[str, Sequence[str]]:
        """The ids that are the person's, as they were sent, without the requested ones."""
        customers = set(self._by_customer) - {""}
        if self._customers:
            customers &= self._customers
        elif len(customers) > 1:
            customers = set()
        found: dict[str, list[str]] = {}
        for customer in ("", *sorted(customers)):
            for kind, value in self._by_customer[customer]:
                known = found.setdefault(kind, [])
                if (kind, spelled(kind, value)) not in self._requested and value not in known:
                    known.append(value)
        return {kind: values for kind, values in found.items() if values}
