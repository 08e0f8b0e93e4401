"""trealtime with telemetry: spans go through the SDK's batches to an exporter that drops them, metrics to a reader."""

from __future__ import annotations

from collections.abc import Sequence

from _on_trio import main
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from trealtime_side import call, downstream, idle, upstream

import trealtime


class Dropped(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


if __name__ == "__main__":
    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(Dropped()))
    meters = MeterProvider(metric_readers=[InMemoryMetricReader()])
    trealtime.instrument(tracer_provider=tracers, meter_provider=meters)
    main(downstream=downstream, upstream=upstream, call=call, idle=idle)
