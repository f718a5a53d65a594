"""What a sandbox is started with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Final

from router_clevertap.sandbox import rules
from router_clevertap.sandbox.faults import Fault

DEMO_ACCOUNT: Final = "DEMO-ACCOUNT"
DEMO_PASSCODE: Final = "demo-passcode"


@dataclass(frozen=True, kw_only=True)
class SandboxSettings:
    """Settings of one sandbox. Raises ValueError if they contradict each other."""

    accounts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({DEMO_ACCOUNT: DEMO_PASSCODE}))
    """Account ID to passcode."""
    fast: bool = False
    """Check credentials, count records, keep nothing: a sink for benchmarks."""
    record_file: Path | None = None
    """Every accepted record is appended here as one JSON line, flushed before the call is answered."""
    faults: tuple[Fault, ...] = ()
    """Faults in force from the start."""
    max_events: int = 100_000
    """Records of any kind kept in memory; the oldest fall out, counts stay exact."""
    max_profiles: int = 100_000
    """People kept in memory per account; those not heard of for longest fall out."""
    concurrency: int = rules.UPLOADS_AT_ONCE
    """Uploads of one account that may be under way at once; the next is answered 429."""
    max_event_properties: int = rules.MAX_EVENT_PROPERTIES
    """Properties of an event before code 522 (CleverTap raises it per account)."""
    discarded_events: frozenset[str] = frozenset()
    """Event names discarded on the dashboard: refused with code 528."""

    devices: frozenset[str] = frozenset()
    """objectIds that apps have made. If any is given, another objectId is listed as a ghost profile."""

    def __post_init__(self) -> None:
        if not self.accounts or not all(name and passcode for name, passcode in self.accounts.items()):
            raise ValueError("A sandbox needs at least one account, each with an ID and a passcode.")
        if self.fast and self.record_file:
            raise ValueError("Fast mode keeps no records, so it cannot write a record file.")
        if self.fast and any(fault.partial for fault in self.faults):
            raise ValueError("Fast mode does not look into records, so it knows no partial faults.")
        if min(self.max_events, self.max_profiles, self.concurrency, self.max_event_properties) < 1:
            raise ValueError("Limits of a sandbox start at 1.")

    @cached_property
    def discarded_names(self) -> frozenset[str]:
        """`discarded_events` in the form in which names are compared."""
        return frozenset(rules.normalised(name) for name in self.discarded_events)
