"""In the child process: the values of all metrics, and how they are exported.

Definition.most_series bounds the number of series. A gauge then loses the series that was set
least recently. A counter and a histogram count under "other" what is one series too many.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from gpubench.monitor.definitions import BUCKETS_S, METRICS
from gpubench.monitor.update import Update


class MetricSeries(Collector):
    """The present values. One thread updates them, and others collect them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, dict[tuple[str, ...], list[float]]] = {name: {} for name in METRICS}

    def update(self, update: Update) -> None:
        with self._lock:
            for name, labels, values in update.add:
                self._add(name, tuple(labels), values)
            for name, labels, value in update.set:
                series = self._values[name]
                series.pop(tuple(labels), None)
                if value is not None:
                    series[tuple(labels)] = [value]
                if len(series) > METRICS[name].most_series:
                    del series[next(iter(series))]

    def _add(self, name: str, labels: tuple[str, ...], values: list[float]) -> None:
        series = self._values[name]
        definition = METRICS[name]
        if (
            labels not in series
            and len(series) >= definition.most_series - definition.for_each_cell
        ):
            labels = ("other",) * len(labels)
        before = series.get(labels, [0.0] * len(values))
        series[labels] = [a + b for a, b in zip(before, values, strict=True)]

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            values = {name: list(series.items()) for name, series in self._values.items()}
        for name, definition in METRICS.items():
            if not values[name]:
                continue
            text, labels = definition.text, definition.labels
            if definition.kind == "histogram":
                histogram = HistogramMetricFamily(name, text, labels=labels)
                bounds = [*(f"{bound:g}" for bound in BUCKETS_S), "+Inf"]
                for of, (*counts, total) in values[name]:
                    buckets = list(zip(bounds, accumulate(counts), strict=True))
                    histogram.add_metric(of, buckets, total)
                yield histogram
                continue
            kind = CounterMetricFamily if definition.kind == "counter" else GaugeMetricFamily
            family = kind(name, text, labels=labels)
            for of, (value,) in values[name]:
                family.add_metric(of, value)
            yield family
