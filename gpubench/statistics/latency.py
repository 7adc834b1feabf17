"""Latencies of the counted requests, summarised in milliseconds."""

from __future__ import annotations

import numpy as np

from gpubench.result import Interval, Latency
from gpubench.samples import Nanoseconds
from gpubench.statistics.intervals import effective_size, percentile_ranks
from gpubench.statistics.percentiles import least_count, rank

PERCENTS = (50, 90, 95, 99)
_NS_PER_MS = 1e6


def summarise_latency(latency_ns: Nanoseconds, unfinished: int = 0) -> Latency:
    """Mean, extremes, percentiles and their 95% intervals.

    `latency_ns` is in the order in which the requests were claimed. Each of the `unfinished`
    requests, which were counted and never completed, lies above every percentile; with one of them
    there is neither mean nor maximum. `interval_notes` says, under the name of a percentile, why
    it or its interval is absent.
    """
    completed = len(latency_ns)
    count = completed + unfinished
    if completed == 0:
        return Latency()
    ordered = np.sort(latency_ns)
    independent = effective_size(latency_ns.astype(np.float64))

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
        place = rank(percent, count)
        if place > completed:
            notes[name] = f"P{percent} falls on one of {unfinished} requests that never finished"
            continue
        value = ordered[place - 1]
        figures[name] = float(value) / _NS_PER_MS
        above = effective_size(latency_ns > value)
        ranks, reason = percentile_ranks(percent, count, min(independent, above))
        if ranks is None:
            notes[name] = reason or ""
        elif ranks[1] > completed:
            notes[name] = "the upper end falls on a request that never finished"
        else:
            low, high = (float(ordered[bound - 1]) / _NS_PER_MS for bound in ranks)
            figures[f"{name}_interval"] = (low, high)

    return Latency.model_validate({**figures, "interval_notes": notes})
