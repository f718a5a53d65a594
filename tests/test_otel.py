"""The exporter is an extra; what is missing is a sentence."""

from __future__ import annotations

import sys

import pytest
from opentelemetry import metrics

from router_core.errors import RouterError
from router_core.otel import export_telemetry
from router_core.telemetry import Telemetry


@pytest.mark.parametrize(
    "missing", ["opentelemetry.exporter.otlp.proto.http.metric_exporter", "opentelemetry.sdk.metrics"]
)
def test_an_endpoint_without_the_extra_is_a_sentence(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    before = metrics.get_meter_provider()
    with pytest.raises(RouterError) as caught:
        export_telemetry("http://127.0.0.1:4318", Telemetry(), "router")
    assert str(caught.value) == (
        "telemetry.otlp_endpoint is set, but the exporter is not installed. Run `pip install 'router-core[otel]'`, "
        "or take the setting out."
    )
    assert metrics.get_meter_provider() is before


def test_without_an_endpoint_the_extra_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.metrics", None)
    export_telemetry(None, Telemetry(), "router")
