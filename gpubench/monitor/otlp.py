"""Sends the metrics to an OpenTelemetry collector, by OTLP over HTTP. In the child process."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.core import Metric as Family

from gpubench.monitor.definitions import BUCKETS_S, METRICS

_SINCE_START = AggregationTemporality.CUMULATIVE


def send(
    families: Iterable[Family], url: str, host: str, began_ns: int, timeout_s: float
) -> str | None:
    """Send the metrics once. None: they were accepted. Otherwise the reason why not."""
    resource = Resource({"service.name": "gpubench", "host.name": host})
    metrics = list(_metrics(families, began_ns, time.time_ns()))
    scope = ScopeMetrics(InstrumentationScope("gpubench"), metrics, "")
    reasons: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: reasons.append(_reason(record))  # type: ignore[method-assign]
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(handler)
    logger.propagate = False
    exporter = OTLPMetricExporter(endpoint=url, timeout=timeout_s)
    sent = exporter.export(MetricsData([ResourceMetrics(resource, [scope], "")]))
    if sent is MetricExportResult.SUCCESS:
        return None
    return reasons[0] if reasons else "the collector did not accept them"


def _reason(record: logging.LogRecord) -> str:
    """What the exporter logs. The first error of several tries is an exception in the arguments."""
    cause = next((each for each in record.args or () if isinstance(each, Exception)), None)
    return record.getMessage() if cause is None else str(cause)


def _metrics(families: Iterable[Family], began_ns: int, now_ns: int) -> Iterator[Metric]:
    for family in families:
        name = family.name + ("_total" if family.type == "counter" else "")
        definition = METRICS[name]
        data: Sum | Gauge | Histogram
        if definition.kind == "histogram":
            data = Histogram(list(_histograms(family, began_ns, now_ns)), _SINCE_START)
        else:
            points = [
                NumberDataPoint(each.labels, began_ns, now_ns, each.value)
                for each in family.samples
            ]
            is_counter = definition.kind == "counter"
            data = Sum(points, _SINCE_START, is_monotonic=True) if is_counter else Gauge(points)
        yield Metric(name, definition.text, definition.unit, data)


def _histograms(family: Family, began_ns: int, now_ns: int) -> Iterator[HistogramDataPoint]:
    """Each series of a Prometheus histogram. Its buckets are cumulative, and those of OTLP not."""
    buckets: dict[tuple[tuple[str, str], ...], list[float]] = {}
    for sample in family.samples:
        of = tuple(each for each in sample.labels.items() if each[0] != "le")
        if sample.name.endswith("_bucket"):
            buckets.setdefault(of, [0.0]).append(sample.value)
        elif sample.name.endswith("_sum"):
            labels: Mapping[str, str] = dict(of)
            counts = [int(after - before) for before, after in pairwise(buckets[of])]
            yield HistogramDataPoint(
                attributes=labels,
                start_time_unix_nano=began_ns,
                time_unix_nano=now_ns,
                count=sum(counts),
                sum=sample.value,
                bucket_counts=counts,
                explicit_bounds=BUCKETS_S,
                min=None,  # type: ignore[arg-type]  # the protocol allows that it is absent
                max=None,  # type: ignore[arg-type]
            )
