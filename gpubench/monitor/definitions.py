"""Every metric that gpubench exports: its type, its labels, its unit, and what it says.

docs/monitoring.md has the same table, and a test compares them. The child process imports this
file, so it imports little.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

MetricKind = Literal["counter", "gauge", "histogram"]
Stage = Literal["load", "build", "check", "accuracy", "capture", "cool", "measure"]

STAGES: tuple[Stage, ...] = get_args(Stage)
OUTCOMES = ("valid", "suspect", "failed")
# Upper bounds of the buckets of the latency, in seconds: 1, 2 and 5 in each power of ten.
BUCKETS_S = tuple(float(f"{digit}e{power}") for power in range(-5, 2) for digit in (1, 2, 5))
QUANTILES = {"0.5": "p50", "0.95": "p95", "0.99": "p99"}
# A metric never has series of more cells, or of more combinations of its labels, than this.
MOST_SERIES = 50
MOST_PRICES = 5  # of a cell

WHAT = ("model", "runtime", "precision")
CELL = (*WHAT, "device", "batch", "seq_len", "workers", "load")
GPU = ("device", "gpu")


@dataclass(frozen=True)
class Definition:
    kind: MetricKind
    labels: tuple[str, ...]
    unit: str
    text: str
    for_each_cell: int = 1  # series of a cell, or of a combination of the other labels

    @property
    def most_series(self) -> int:
        return MOST_SERIES * self.for_each_cell


METRICS = {
    "gpubench_info": Definition("gauge", ("version",), "1", "The version of gpubench."),
    # Progress.
    "gpubench_stage": Definition(
        "gauge", ("stage",), "1", "1 for the stage of the cell in work, 0 for every other stage."
    ),
    "gpubench_stage_begin_timestamp_seconds": Definition(
        "gauge", (), "seconds since 1970", "When the stage of the cell in work began."
    ),
    "gpubench_planned_cells": Definition(
        "gauge",
        (),
        "cells",
        "Cells to measure: repeats with --repeats, searches or settings with --objective.",
    ),
    "gpubench_begun_cells": Definition("gauge", (), "cells", "How many of them have begun."),
    "gpubench_stored_cells": Definition(
        "gauge", (), "cells", "Cells that the run directory held before."
    ),
    "gpubench_seconds_left": Definition(
        "gauge", (), "seconds", "Estimate of the time left, as of the beginning of the cell."
    ),
    # Everything that was measured since the command began.
    "gpubench_measurements_total": Definition(
        "counter",
        (*WHAT, "outcome"),
        "measurements",
        "Measurements that ended, by outcome: valid, suspect or failed.",
        len(OUTCOMES),
    ),
    "gpubench_verdicts_total": Definition(
        "counter", ("code",), "measurements", "Measurements with this reason in their verdict."
    ),
    "gpubench_requests_total": Definition(
        "counter", WHAT, "requests", "Requests that completed and count."
    ),
    "gpubench_failed_requests_total": Definition(
        "counter", WHAT, "requests", "Requests whose execution failed."
    ),
    "gpubench_unfinished_requests_total": Definition(
        "counter", WHAT, "requests", "Requests that count and never completed."
    ),
    "gpubench_request_latency_seconds": Definition(
        "histogram", WHAT, "seconds", "Round-trip latency of the requests that count."
    ),
    "gpubench_measured_seconds_total": Definition(
        "counter", WHAT, "seconds", "Time of all measurements, with loading and building."
    ),
    "gpubench_cost_usd_total": Definition(
        "counter", ("price",), "US dollars", "That time at the price of an hour of this instance."
    ),
    # The last measurement with these labels.
    "gpubench_throughput_per_second": Definition(
        "gauge", CELL, "inferences per second", "Throughput."
    ),
    "gpubench_offered_per_second": Definition(
        "gauge",
        CELL,
        "inferences per second",
        "The load that was offered; absent in a closed loop.",
    ),
    "gpubench_latency_seconds": Definition(
        "gauge",
        (*CELL, "quantile"),
        "seconds",
        "Exact percentiles of the latency.",
        len(QUANTILES),
    ),
    "gpubench_queue_depth_mean": Definition(
        "gauge", CELL, "requests", "Mean number of requests that waited in the queue."
    ),
    "gpubench_queue_depth_max": Definition(
        "gauge", CELL, "requests", "Largest number of requests that waited at one time."
    ),
    "gpubench_lag_seconds": Definition(
        "gauge", CELL, "seconds", "P99 of the delay that gpubench itself adds."
    ),
    "gpubench_usd_per_million": Definition(
        "gauge",
        (*CELL, "price"),
        "US dollars",
        "The price of a million inferences.",
        MOST_PRICES,
    ),
    "gpubench_search_rate_per_second": Definition(
        "gauge",
        (*WHAT, "device", "batch", "seq_len", "workers"),
        "requests per second",
        "A search's present estimate of the highest rate that meets the objective.",
    ),
    # Each GPU in the window of the last measurement on it.
    "gpubench_gpu_clock_hertz": Definition("gauge", GPU, "hertz", "Mean clock of the SMs."),
    "gpubench_gpu_power_watts": Definition("gauge", GPU, "watts", "Mean power."),
    "gpubench_gpu_temperature_celsius": Definition(
        "gauge", GPU, "degrees Celsius", "Highest temperature."
    ),
    "gpubench_gpu_memory_used_bytes": Definition(
        "gauge", GPU, "bytes", "Largest memory in use, of all processes."
    ),
    "gpubench_gpu_utilization_ratio": Definition(
        "gauge", GPU, "share", "Share of the time in which a kernel ran."
    ),
    "gpubench_gpu_throttled_ratio": Definition(
        "gauge", GPU, "share", "Share of the window in which heat or a protection slowed it down."
    ),
}
