"""Latencies of the counted requests, summarised in milliseconds."""

from __future__ import annotations

import numpy as np

from gpubench.results.result import Interval, Latency
from gpubench.results.samples import Nanoseconds
from gpubench.statistics.intervals import effective_size, percentile_ranks
from gpubench.statistics.percentiles import least_count, rank

PERCENTS = (50, 90, 95, 99)
_NS_PER_MS = 1e6


def summarise_latency(latency_ns: Nanoseconds, unfinished: int = 0, tau: float = 1.0) -> Latency:
    """Mean, minimum, maximum, percentiles and their 95% intervals.

    `latency_ns` is in the order in which the requests were claimed. The `unfinished` requests count
    and never completed. Each of them is slower than every other, and if there is one, mean and
    maximum are absent. `tau` is the autocorrelation time that follows from the load (`queues`).
    `interval_notes` says for a percentile why it or its interval is absent.
    """
    completed = len(latency_ns)
    count = completed + unfinished
    if completed == 0:
        return Latency()
    ordered = np.sort(latency_ns)
    effective = min(effective_size(latency_ns.astype(np.float64)), count / tau)

    figures: dict[str, float | Interval] = {"min": float(ordered[0]) / _NS_PER_MS}
    if unfinished == 0:
        figures["mean"] = float(latency_ns.mean()) / _NS_PER_MS
        figures["max"] = float(ordered[-1]) / _NS_PER_MS
    notes: dict[str, str] = {}
    for percent in PERCENTS:
        name = f"p{percent}"
        if count < least_count(percent):
            notes[name] = f"{count} requests; P{percent} needs {least_count(percent)}"
            continue
        position = rank(percent, count)
        if position > completed:
            notes[name] = f"P{percent} falls on one of {unfinished} requests that never finished"
            continue
        value = ordered[position - 1]
        figures[name] = float(value) / _NS_PER_MS
        above = effective_size(latency_ns > value)
        ranks, reason = percentile_ranks(percent, count, min(effective, above))
        if ranks is None:
            notes[name] = reason or ""
        elif ranks[1] > completed:
            notes[name] = "the upper end falls on a request that never finished"
        else:
            low, high = (float(ordered[bound - 1]) / _NS_PER_MS for bound in ranks)
            figures[f"{name}_interval"] = (low, high)

    return Latency.model_validate({**figures, "interval_notes": notes})


def percentile_effective_size(
    latency_ns: Nanoseconds, unfinished: int, percent: int, tau: float = 1.0
) -> float | None:
    """The effective sample size of a percentile. None if there is no percentile.

    It is the smallest of three: that of the latencies, that of the series "is it above the
    percentile?", and that which follows from the load. Arguments as in `summarise_latency`.
    """
    count = len(latency_ns) + unfinished
    position = rank(percent, count)
    if count < least_count(percent) or position > len(latency_ns):
        return None
    value = np.partition(latency_ns, position - 1)[position - 1]
    return min(
        effective_size(latency_ns.astype(np.float64)),
        effective_size(latency_ns > value),
        count / tau,
    )
