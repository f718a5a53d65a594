"""One connection at run time: its pipeline, its destination, its breaker, and what became of its records."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from opentelemetry import propagate, trace

from router_core.account import Account
from router_core.breaker import Breaker, BreakerState
from router_core.components import Clock, Destination, Limits
from router_core.errors import InvalidCredentials, Throttled, Unavailable
from router_core.holding import HoldLimits
from router_core.hookspecs import SettlementReport
from router_core.log.port import EventLog, StoredBatch
from router_core.outcomes import Disposition, Outcome
from router_core.pipeline import Pipeline
from router_core.records import Record
from router_core.retry import Backoff
from router_core.telemetry import Telemetry

if TYPE_CHECKING:
    import structlog

_tracer = trace.get_tracer("router_core")


@dataclass(frozen=True, kw_only=True)
class DeliveryPolicy:
    """How patient delivery is; all in seconds."""

    linger: float = 0.2
    give_up_after: float = 72 * 3600.0
    back_off_initial: float = 1.0
    back_off_maximum: float = 300.0


class ConnectionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a person wants to know of a connection beside its depth."""

    state: str
    last_error: str
    last_error_at: float | None
    delivered: int
    """Records since the start of the process."""
    skipped: int = 0
    """The same, not sent on purpose."""


class Connection:
    """Shared by the lanes of one connection."""

    def __init__(
        self,
        name: str,
        *,
        destination: Destination,
        pipeline: Pipeline,
        limits: Limits,
        account: Account,
        log: EventLog,
        clock: Clock,
        telemetry: Telemetry,
        logger: structlog.stdlib.BoundLogger,
        policy: DeliveryPolicy,
        report: Callable[[SettlementReport], None],
        hold_limits: HoldLimits | None = None,
    ) -> None:
        self.name = name
        self.destination = destination
        self.pipeline = pipeline
        self.suppression = pipeline.suppression
        self.limits = limits
        self.log = log
        self.clock = clock
        self.linger = policy.linger
        self.give_up_after = policy.give_up_after
        self.hold_limits = hold_limits or HoldLimits()
        self.backoff = Backoff(policy.back_off_initial, policy.back_off_maximum)
        self.breaker = Breaker(self.backoff, clock, policy.back_off_maximum)
        self.account = account
        """Shared by all connections of one output; hold a slot of it around `call`."""
        account.join(self.breaker)
        self._telemetry = telemetry
        self._logger = logger
        self._report = report
        self._delivered = self._skipped = 0

    async def call(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """One call of the destination, within the time limit; one that takes longer counts as `Unavailable`."""
        started = self.clock.monotonic()
        limit = self.limits.timeout.total_seconds()
        result = "failed"
        try:
            with _tracer.start_as_current_span("router.deliver", links=_links(records)) as span:
                span.set_attribute("router.connection", self.name)
                span.set_attribute("router.records", len(records))
                async with asyncio.timeout(limit):
                    outcomes = await self.destination.deliver(records)
            result = "answered"
        except Throttled:
            result = "throttled"
            raise
        except InvalidCredentials:
            result = "invalid_credentials"
            raise
        except Unavailable:
            result = "unavailable"
            raise
        except TimeoutError as error:
            result = "unavailable"
            raise Unavailable(str(error) or f"the call took longer than {limit:g} seconds") from None
        finally:
            self._telemetry.count("calls", connection=self.name, result=result)
            self._telemetry.observe("call_seconds", self.clock.monotonic() - started, connection=self.name)
        return outcomes

    def pause(self, reason: str) -> None:
        """Stop calling until the settings change; the data stays in the log."""
        if self.breaker.state is not BreakerState.PAUSED:
            self._logger.error("connection_paused", connection=self.name, reason=reason)
        self.breaker.paused(reason)
        self._telemetry.gauge("connection_paused", 1, connection=self.name)

    def call_failed(self, reason: str, retry_after: float | None) -> float:
        """Note a failed call; returns the seconds to wait before the next."""
        wait = self.breaker.failed(reason, retry_after)
        if retry_after is not None:
            self.account.asked_to_wait(self.breaker, reason, wait)
        self._logger.warning("call_failed", connection=self.name, reason=reason, wait_seconds=round(wait, 3))
        return wait

    def note_error(self, reason: str) -> None:
        """Keep an error for the status, and log it."""
        self.breaker.last_error = reason
        self.breaker.last_error_at = self.clock.now()
        self._logger.error("connection_error", connection=self.name, reason=reason)

    def count(self, metric: str, amount: int) -> None:
        """Add to one of the counters by connection."""
        self._telemetry.count(metric, amount, connection=self.name)

    async def replace_destination(self, destination: Destination) -> None:
        """Go on with a destination made from new settings."""
        old, self.destination = self.destination, destination
        was_paused = self.breaker.state is BreakerState.PAUSED
        self.breaker.resume()
        self._logger.info("connection_resumed" if was_paused else "settings_applied", connection=self.name)
        await old.close()

    def settled(self, outcomes: Sequence[Outcome], batches: Iterable[StoredBatch], replays: int) -> None:
        """Count how a settled group ended, and tell the observers."""
        ends: Counter[tuple[Disposition, str]] = Counter((o.disposition, o.code) for o in outcomes)
        delivered = 0
        by_code: dict[Disposition, dict[str, int]] = {disposition: {} for disposition in Disposition}
        for (disposition, code), amount in ends.items():
            if disposition is Disposition.DELIVERED:
                delivered += amount
            else:
                by_code[disposition][code] = amount
                self._telemetry.count(_METRIC[disposition], amount, connection=self.name, code=code)
        if delivered:
            self._delivered += delivered
            self._telemetry.count("delivered_records", delivered, connection=self.name)
            self._telemetry.gauge("connection_paused", 0, connection=self.name)
        self._skipped += sum(by_code[Disposition.SKIPPED].values())
        if replays:
            self._telemetry.count("replayed_records", replays, connection=self.name)
        oldest = min((batch.received_at_ms for batch in batches), default=None)
        if oldest is not None:
            self._telemetry.observe(
                "delivery_lag_seconds", max(self.clock.now() - oldest / 1000, 0.0), connection=self.name
            )
        self._tell(delivered, by_code)

    def _tell(self, delivered: int, by_code: Mapping[Disposition, Mapping[str, int]]) -> None:
        rejected, expired = by_code[Disposition.REJECTED], by_code[Disposition.EXPIRED]
        if rejected or expired:
            self._logger.warning("dead_letters", connection=self.name, rejected=dict(rejected), expired=dict(expired))
        if not delivered and not any(by_code.values()):
            return
        self._report(
            SettlementReport(
                connection=self.name,
                delivered=delivered,
                skipped=by_code[Disposition.SKIPPED],
                retried=by_code[Disposition.RETRY],
                rejected=rejected,
                expired=sum(expired.values()),
            )
        )

    def status(self) -> ConnectionStatus:
        """As of now."""
        return ConnectionStatus(
            state=self.breaker.state.value,
            last_error=self.breaker.last_error,
            last_error_at=self.breaker.last_error_at,
            delivered=self._delivered,
            skipped=self._skipped,
        )


_METRIC: Mapping[Disposition, str] = {
    Disposition.SKIPPED: "skipped_records",
    Disposition.RETRY: "retried_records",
    Disposition.REJECTED: "rejected_records",
    Disposition.EXPIRED: "expired_records",
}
_MOST_LINKS = 16


def _links(records: Sequence[Record]) -> list[trace.Link]:
    """Links to the traces of the requests that brought these records, as far as their senders named one."""
    parents: dict[str, Mapping[str, str]] = {}
    seen: Any = None
    for record in records:
        headers = record.context.headers
        if headers is seen or not headers:
            continue
        seen = headers
        if (parent := headers.get("traceparent")) is not None and len(parents) < _MOST_LINKS:
            parents[parent] = headers
    found = [trace.get_current_span(propagate.extract(headers)).get_span_context() for headers in parents.values()]
    return [trace.Link(context) for context in found if context.is_valid]
