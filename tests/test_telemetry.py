"""Counts and durations, and how they are shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample as Shown

import router_core
from router_core.telemetry import BUCKETS, METRICS, Histogram, Sample, Telemetry, prometheus_text

SOURCE_FOLDERS = [
    Path(router_core.__file__).parent,
    *(Path(__file__).parents[1] / "plugins").glob("*/router_*"),
]
NAME_IN_SOURCE = re.compile(r'\b(?:count|gauge|observe|cell|histogram)\(\s*"([a-z_]+)"')


def shown(*samples: Sample) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(prometheus_text(samples).decode()):
        for sample in family.samples:
            one: Shown = sample
            key = (one.name, frozenset(one.labels.items()))
            assert key not in found, "one series twice"
            found[key] = one.value
    return found


def series(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_a_counter_adds_up_and_a_gauge_is_set() -> None:
    telemetry = Telemetry()
    telemetry.count("calls", connection="c", result="ok")
    telemetry.count("calls", 4, connection="c", result="ok")
    telemetry.gauge("log_bytes", 10)
    telemetry.gauge("log_bytes", 7)
    assert telemetry.value("calls", connection="c", result="ok") == 5
    assert telemetry.value("log_bytes") == 7
    assert telemetry.value("calls", connection="other", result="ok") == 0


def test_a_cell_and_a_histogram_stay_in_their_place() -> None:
    telemetry = Telemetry()
    cell = telemetry.cell("accepted_batches", input="shop")
    assert telemetry.cell("accepted_batches", input="shop") is cell
    assert telemetry.cell("accepted_batches", input="app") is not cell
    cell.value += 2
    assert telemetry.value("accepted_batches", input="shop") == 2
    histogram = telemetry.histogram("call_seconds", connection="c")
    telemetry.observe("call_seconds", 0.2, connection="c")
    assert telemetry.histogram("call_seconds", connection="c") is histogram
    assert histogram.sum == 0.2


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (0.001, 0), (0.0011, 1), (1.0, BUCKETS.index(1.0)), (3600.0, len(BUCKETS) - 1), (3601.0, len(BUCKETS))],
)
def test_a_duration_falls_into_the_first_bucket_that_holds_it(seconds: float, bucket: int) -> None:
    histogram = Histogram()
    histogram.add(seconds)
    assert histogram.counts.index(1) == bucket
    assert sum(histogram.counts) == 1


def test_reading_a_value_makes_no_series() -> None:
    telemetry = Telemetry()
    assert telemetry.value("log_bytes") == 0
    assert telemetry.samples() == []


def test_the_series_of_two_processes_are_added_up() -> None:
    one, two = Telemetry(), Telemetry()
    for telemetry, amount in ((one, 2), (two, 3)):
        telemetry.count("calls", amount, connection="c", result="ok")
        telemetry.observe("call_seconds", 0.2, connection="c")
        telemetry.observe("call_seconds", 1e6, connection="c")
    one.gauge("process_resident_bytes", 10, process="ingest")
    two.gauge("process_resident_bytes", 20, process="deliver")
    two.count("calls", 1, result="ok", connection="c")  # the order of labels means nothing
    found = shown(*one.samples(), *two.samples())
    assert found[series("router_calls_total", connection="c", result="ok")] == 6
    assert found[series("router_process_resident_bytes", process="ingest")] == 10
    assert found[series("router_process_resident_bytes", process="deliver")] == 20
    assert found[series("router_call_seconds_bucket", connection="c", le="0.1")] == 0
    assert found[series("router_call_seconds_bucket", connection="c", le="0.25")] == 2
    assert found[series("router_call_seconds_bucket", connection="c", le="+Inf")] == 4
    assert found[series("router_call_seconds_count", connection="c")] == 4
    assert found[series("router_call_seconds_sum", connection="c")] == pytest.approx(2_000_000.4)


def test_merging_leaves_the_samples_as_they_were() -> None:
    telemetry = Telemetry()
    telemetry.observe("call_seconds", 0.2, connection="c")
    samples = telemetry.samples() * 2
    assert shown(*samples) == shown(*samples)


def test_odd_labels_are_escaped() -> None:
    telemetry = Telemetry()
    telemetry.count("calls", connection='a"b\\c\nd', result="é")
    assert shown(*telemetry.samples())[series("router_calls_total", connection='a"b\\c\nd', result="é")] == 1


def test_every_metric_is_described_even_when_nothing_was_counted() -> None:
    families = {family.name: family for family in text_string_to_metric_families(prometheus_text([]).decode())}
    assert set(families) == {f"router_{name}" for name in METRICS}
    for name, metric in METRICS.items():
        assert (families[f"router_{name}"].type, families[f"router_{name}"].documentation) == (metric.kind, metric.help)


def test_every_name_in_the_source_is_described() -> None:
    used = {
        name
        for folder in SOURCE_FOLDERS
        for path in folder.rglob("*.py")
        for name in NAME_IN_SOURCE.findall(path.read_text())
    }
    assert {"accepted_batches", "calls", "log_bytes", "acknowledge_seconds"} <= used
    assert used - set(METRICS) == set()


def test_opentelemetry_reads_counters_gauges_and_durations() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    telemetry = Telemetry()
    telemetry.instrument(provider.get_meter("router_core"))
    telemetry.count("calls", 3, connection="c", result="ok")
    telemetry.gauge("log_bytes", 10)
    telemetry.observe("call_seconds", 0.2, connection="c")
    data = reader.get_metrics_data()
    assert data is not None
    found = {
        metric.name: [(dict(point.attributes or {}), point.value) for point in metric.data.data_points
                      if isinstance(point, NumberDataPoint)]
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }  # fmt: skip
    provider.shutdown()
    assert found == {
        "router.calls": [({"connection": "c", "result": "ok"}, 3)],
        "router.log_bytes": [({}, 10)],
        "router.call_seconds.count": [({"connection": "c"}, 1)],
        "router.call_seconds.sum": [({"connection": "c"}, 0.2)],
    }
