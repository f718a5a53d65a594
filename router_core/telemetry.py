"""Counts and durations, as plain numbers that cost next to nothing; shown through opentelemetry-api and Prometheus.

Hot paths add to a dictionary once per block of records. Exporters read it: observable instruments when an
OpenTelemetry SDK is there, `GET /metrics` always. Names and meanings stand in `METRICS`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec
from opentelemetry import metrics

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[tuple[str, str], ...]

BUCKETS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    3600.0,
)
"""Upper bounds of the histograms, in seconds."""


class Metric(msgspec.Struct, frozen=True):
    """What one metric means. Its name outside is `router_<name>`, with `_total` for counters in Prometheus."""

    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


METRICS: Final[Mapping[str, Metric]] = {
    "accepted_batches": Metric("counter", "Event batches made durable.", ("input",)),
    "accepted_events": Metric("counter", "Events in accepted batches, duplicates included.", ("input",)),
    "duplicate_batches": Metric("counter", "Batches whose source request id had been accepted before.", ("input",)),
    "invalid_batches": Metric("counter", "Batches refused because of their shape.", ("input",)),
    "suppressed_batches": Metric("counter", "Batches acknowledged and not kept: their user is erased.", ("input",)),
    "erasures_open": Metric("gauge", "Erasures that are not complete."),
    "erased_batches": Metric("counter", "Batches overwritten by erasures."),
    "unknown_fields": Metric("counter", "Fields that mParticle's model does not know; they are kept.", ("input",)),
    "data_plan_refusals": Metric("counter", "Batches refused by an input's data plan, by code.", ("input", "code")),
    "data_plan_breaches": Metric(
        "counter", "What breaks a data plan, counted when it is first read.", ("connection", "code", "policy")
    ),
    "transform_failures": Metric(
        "counter", "Calls of a python transform that failed.", ("connection", "transform", "code")
    ),
    "requests": Metric("counter", "HTTP requests of sources by answer.", ("source", "status")),
    "acknowledge_seconds": Metric("histogram", "From a whole request to its durable answer.", ("source",)),
    "delivered_records": Metric("counter", "Records that the partner has taken.", ("connection",)),
    "skipped_records": Metric("counter", "Records not sent on purpose, by code.", ("connection", "code")),
    "retried_records": Metric("counter", "Records put off for another try, by code.", ("connection", "code")),
    "rejected_records": Metric("counter", "Records that became dead letters, by code.", ("connection", "code")),
    "expired_records": Metric("counter", "Records too old to try again; now dead letters.", ("connection", "code")),
    "replayed_records": Metric("counter", "Dead letters delivered or skipped on replay.", ("connection",)),
    "unreported_records": Metric("counter", "Records for which a destination gave no outcome.", ("connection",)),
    "calls": Metric("counter", "Delivery calls by how they ended.", ("connection", "result")),
    "call_seconds": Metric("histogram", "Time of one delivery call.", ("connection",)),
    "delivery_lag_seconds": Metric("histogram", "From acceptance to settlement of a group's oldest.", ("connection",)),
    "altered_values": Metric("counter", "Values changed or left out by a destination.", ("connection", "code")),
    "account_calls_allowed": Metric("gauge", "Calls at once; fewer while the partner says too many.", ("output",)),
    "connection_depth": Metric("gauge", "Records accepted and not settled.", ("connection",)),
    "connection_age_seconds": Metric("gauge", "Age of the oldest record not settled.", ("connection",)),
    "connection_held": Metric("gauge", "Records held for another try.", ("connection",)),
    "connection_paused": Metric("gauge", "1 while the connection waits for mended credentials.", ("connection",)),
    "dead_letters": Metric("gauge", "Dead letters kept.", ("connection",)),
    "log_bytes": Metric("gauge", "Bytes of the event log on disk."),
    "log_full": Metric("gauge", "1 while the log takes no more."),
    "log_damaged_files": Metric("gauge", "Files of the log found damaged."),
    "process_resident_bytes": Metric("gauge", "Memory of one process.", ("process",)),
}


class Cell(msgspec.Struct):
    """The place of one value; hot paths keep it and add to `value`."""

    value: float = 0


class Histogram(msgspec.Struct):
    """Counts by bucket, the last one for all beyond; with the sum of all values in seconds."""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    sum: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds


class Sample(msgspec.Struct, frozen=True):
    """One value of one metric, as it goes from a worker to the supervisor."""

    name: str
    labels: dict[str, str]
    value: float | Histogram


class Telemetry:
    """The numbers of one process."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, Labels], Cell] = {}
        self._histograms: dict[tuple[str, Labels], Histogram] = {}

    def cell(self, name: str, **labels: str) -> Cell:
        """The place of a counter or gauge."""
        key = (name, tuple(labels.items()))
        cell = self._values.get(key)
        if cell is None:
            cell = self._values[key] = Cell()
        return cell

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self.cell(name, **labels).value += amount

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self.cell(name, **labels).value = value

    def histogram(self, name: str, **labels: str) -> Histogram:
        """The place of a histogram."""
        key = (name, tuple(labels.items()))
        histogram = self._histograms.get(key)
        if histogram is None:
            histogram = self._histograms[key] = Histogram()
        return histogram

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """Add a duration to a histogram."""
        self.histogram(name, **labels).add(seconds)

    def samples(self) -> list[Sample]:
        """All values as they stand."""
        values: list[Sample] = [Sample(name, dict(labels), cell.value) for (name, labels), cell in self._values.items()]
        values += [Sample(name, dict(labels), value) for (name, labels), value in self._histograms.items()]
        return values

    def value(self, name: str, **labels: str) -> float:
        """One counter or gauge, 0 if nothing was counted."""
        cell = self._values.get((name, tuple(labels.items())))
        return cell.value if cell is not None else 0

    def instrument(self, meter: metrics.Meter) -> None:
        """Let OpenTelemetry read the values; without an SDK this does nothing, at no cost.

        OpenTelemetry knows no histogram that is read from outside: a duration is exported as two counters,
        `router.<name>.count` and `router.<name>.sum` in seconds. The buckets are in `GET /metrics`.
        """
        for name, metric in METRICS.items():
            if metric.kind == "histogram":
                for part in ("count", "sum"):
                    meter.create_observable_counter(
                        f"router.{name}.{part}",
                        callbacks=[self._duration_observer(name, part)],
                        description=metric.help,
                    )
                continue
            make = meter.create_observable_counter if metric.kind == "counter" else meter.create_observable_gauge
            make(f"router.{name}", callbacks=[self._observer(name)], description=metric.help)

    def _observer(self, name: str) -> Callable[[metrics.CallbackOptions], Iterable[metrics.Observation]]:
        def observe(_: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
            for (metric, labels), cell in list(self._values.items()):
                if metric == name:
                    yield metrics.Observation(cell.value, dict(labels))

        return observe

    def _duration_observer(
        self, name: str, part: str
    ) -> Callable[[metrics.CallbackOptions], Iterable[metrics.Observation]]:
        def observe(_: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
            for (metric, labels), histogram in list(self._histograms.items()):
                if metric == name:
                    value = sum(histogram.counts) if part == "count" else histogram.sum
                    yield metrics.Observation(value, dict(labels))

        return observe


def prometheus_text(samples: Sequence[Sample]) -> bytes:
    """The samples of all processes in Prometheus' text form; equal series of two processes are added up."""
    from prometheus_client import CollectorRegistry, generate_latest  # workers never need it
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )
    from prometheus_client.core import (
        Metric as Family,
    )
    from prometheus_client.registry import Collector

    families: list[Family] = []
    for name, metric in METRICS.items():
        merged = _merged(sample for sample in samples if sample.name == name)
        outside = f"router_{name}"
        if metric.kind == "histogram":
            histograms = HistogramMetricFamily(outside, metric.help, labels=metric.labels)
            for labels, value in merged.items():
                if isinstance(value, Histogram):
                    histograms.add_metric(labels, _cumulative(value), value.sum)
            families.append(histograms)
            continue
        family_type = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        family = family_type(outside, metric.help, labels=metric.labels)
        for labels, value in merged.items():
            if not isinstance(value, Histogram):
                family.add_metric(labels, value)
        families.append(family)

    class Whole(Collector):
        def collect(self) -> Iterable[Family]:
            return families

    registry = CollectorRegistry()
    registry.register(Whole())
    return generate_latest(registry)


def _merged(samples: Iterable[Sample]) -> dict[tuple[str, ...], float | Histogram]:
    merged: dict[tuple[str, ...], float | Histogram] = {}
    for sample in samples:
        key = tuple(str(sample.labels.get(label, "")) for label in METRICS[sample.name].labels)
        before = merged.get(key)
        if isinstance(sample.value, Histogram):
            old = before if isinstance(before, Histogram) else Histogram()
            counts = [a + b for a, b in zip(old.counts, sample.value.counts, strict=True)]
            merged[key] = Histogram(counts, old.sum + sample.value.sum)
        else:
            merged[key] = sample.value + (before if isinstance(before, (int, float)) else 0)
    return merged


def _cumulative(histogram: Histogram) -> list[tuple[str, float]]:
    buckets, running = [], 0
    for bound, count in zip((*BUCKETS, math.inf), histogram.counts, strict=True):
        running += count
        buckets.append(("+Inf" if bound == math.inf else repr(bound), float(running)))
    return buckets
