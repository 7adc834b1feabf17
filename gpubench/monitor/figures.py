"""The metrics of one measurement, from its result."""

from __future__ import annotations

import numpy as np

from gpubench.monitor.definitions import BUCKETS_S, MOST_PRICES, OUTCOMES, QUANTILES, WHAT
from gpubench.monitor.update import Labels, Update
from gpubench.report import escape
from gpubench.report.notes import price_name
from gpubench.results.result import GpuReport, Result
from gpubench.spec.spec import Spec
from gpubench.statistics.queue_depth import queue_depth

_MOST_CHARACTERS = 100  # of a label
_REQUESTS = ("", "failed_", "unfinished_")
_LATENCY = "gpubench_request_latency_seconds"


def label(text: str) -> str:
    """A text as the value of a label. Of a long one, such as a path, the end remains."""
    text = escape.terminal(text)
    return text if len(text) <= _MOST_CHARACTERS else "…" + text[1 - _MOST_CHARACTERS :]


def setting_labels(spec: Spec) -> Labels:
    """The labels of a cell without its load."""
    numbers = (spec.batch, spec.seq_len, spec.workers)
    return [
        *(label(text) for text in (spec.model, spec.runtime, spec.precision, spec.device)),
        *("" if number is None else str(number) for number in numbers),
    ]


def measurement(result: Result) -> Update:
    """What a measurement adds to the counters, and its own figures as gauges."""
    update = Update()
    update.set.append(("gpubench_info", [label(result.environment.gpubench)], 1))
    cell = [*setting_labels(result.spec), _load(result.spec)]
    _count(result, cell[: len(WHAT)], update)
    _figures(result, cell, update)
    for gpu in result.device.gpus if result.device else ():
        _gpu(gpu, update)
    return update


def beginning(spec: Spec) -> Update:
    """Sets the counters of a cell that begins to 0, if they are new.

    Prometheus computes how much a counter grew from two values of it. Without the 0 it would miss
    the first measurement of each model.
    """
    what = setting_labels(spec)[: len(WHAT)]
    update = Update()
    update.add += [("gpubench_measurements_total", [*what, each], [0]) for each in OUTCOMES]
    update.add += [(f"gpubench_{each}requests_total", what, [0]) for each in _REQUESTS]
    update.add.append((_LATENCY, what, [0] * (len(BUCKETS_S) + 2)))
    return update


def _load(spec: Spec) -> str:
    if spec.clients is not None:
        return "1 client" if spec.clients == 1 else f"{spec.clients} clients"
    return label(spec.arrivals if spec.rate is None else f"{spec.rate:.4g}/s")


def _count(result: Result, what: Labels, update: Update) -> None:
    requests = result.requests
    outcome = "failed" if result.error is not None else result.verdict.status
    update.add += [
        ("gpubench_measurements_total", [*what, outcome], [1]),
        ("gpubench_requests_total", what, [requests.completed]),
        ("gpubench_failed_requests_total", what, [requests.failed]),
        ("gpubench_unfinished_requests_total", what, [requests.unfinished]),
    ]
    for code in {reason.code for reason in result.verdict.reasons}:
        update.add.append(("gpubench_verdicts_total", [label(code)], [1]))
    if result.seconds is not None:
        seconds = result.seconds.total
        update.add.append(("gpubench_measured_seconds_total", what, [seconds]))
        for cost in result.costs[:MOST_PRICES]:
            usd = seconds / 3600 * cost.usd_per_hour
            update.add.append(("gpubench_cost_usd_total", [label(price_name(cost))], [usd]))
    if result.samples is not None and result.counted is not None:
        latency_s = result.samples.latency_ns[result.counted] / 1e9
        buckets = np.searchsorted(BUCKETS_S, latency_s)  # a bound belongs to its bucket
        counts = np.bincount(buckets, minlength=len(BUCKETS_S) + 1).tolist()
        values = [*counts, float(latency_s.sum())]
        update.add.append((_LATENCY, what, values))


def _figures(result: Result, cell: Labels, update: Update) -> None:
    depth = None
    if result.samples is not None and result.window.counted is not None:
        depth = queue_depth(result.samples, result.window.counted)
    lag = result.harness.lag_us
    update.set += [
        ("gpubench_throughput_per_second", cell, result.throughput_per_second),
        ("gpubench_offered_per_second", cell, result.offered_per_second),
        ("gpubench_queue_depth_mean", cell, None if depth is None else depth.mean),
        ("gpubench_queue_depth_max", cell, None if depth is None else depth.max),
        ("gpubench_lag_seconds", cell, None if lag is None else lag.p99 / 1e6),
    ]
    for quantile, name in QUANTILES.items():
        latency_ms = getattr(result.latency_ms, name)
        seconds = None if latency_ms is None else latency_ms / 1e3
        update.set.append(("gpubench_latency_seconds", [*cell, quantile], seconds))
    for cost in result.costs[:MOST_PRICES]:
        labels = [*cell, label(price_name(cost))]
        update.set.append(("gpubench_usd_per_million", labels, cost.usd_per_million))


def _gpu(gpu: GpuReport, update: Update) -> None:
    labels = [gpu.device, label(gpu.name or "")]
    clock = gpu.clocks.sm_mhz
    update.set += [
        ("gpubench_gpu_clock_hertz", labels, None if clock is None else clock.mean * 1e6),
        ("gpubench_gpu_power_watts", labels, gpu.power_w),
        ("gpubench_gpu_temperature_celsius", labels, gpu.temperature_c),
        ("gpubench_gpu_memory_used_bytes", labels, gpu.memory_used_bytes),
        ("gpubench_gpu_utilization_ratio", labels, gpu.utilization),
        ("gpubench_gpu_throttled_ratio", labels, gpu.throttled_share),
    ]
