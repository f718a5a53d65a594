"""OpenTelemetry: instruments on the API always, an exporter only with the extra `router-core[otel]`."""

from __future__ import annotations

from opentelemetry import metrics

from router_core.errors import RouterError
from router_core.telemetry import Telemetry


def export_telemetry(endpoint: str | None, telemetry: Telemetry, role: str) -> None:
    """Send metrics and traces to an OTLP endpoint (`http://host:4318`), if one is named.

    Raises `RouterError` if one is named and the extra is not installed.
    """
    if endpoint is not None:
        _export_to(endpoint.rstrip("/"), role)
    telemetry.instrument(metrics.get_meter("router_core"))


def _export_to(endpoint: str, role: str) -> None:
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise RouterError(
            "telemetry.otlp_endpoint is set, but the exporter is not installed. Run `pip install 'router-core[otel]'`, "
            "or take the setting out."
        ) from None
    resource = Resource.create({"service.name": "router-core", "service.instance.id": role})
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=f"{endpoint}/v1/metrics"))
    metrics.set_meter_provider(MeterProvider(resource=resource, metric_readers=[reader]))
    tracing = TracerProvider(resource=resource)
    tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")))
    trace.set_tracer_provider(tracing)
