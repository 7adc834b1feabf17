"""Latencies of the counted requests, summarised in milliseconds."""

from __future__ import annotations

import numpy as np

from gpubench.results.result import Interval, Latency
from gpubench.results.samples import Nanoseconds
from gpubench.statistics.intervals import at_most_rank, effective_size, percentile_ranks
from gpubench.statistics.percentiles import (
    PERCENTS,
    Percent,
    least_count,
    percentile_key,
    percentile_name,
    rank,
)

_NS_PER_MS = 1e6


def summarise_latency(latency_ns: Nanoseconds, unfinished: int = 0, tau: float = 1.0) -> Latency:
    """Mean, minimum, maximum, percentiles, their 95% intervals and their upper bounds.

    `latency_ns` is in the order in which the requests were claimed. The `unfinished` requests count
    and never completed. Each of them is slower than every other, and if there is one, mean and
    maximum are absent. `tau` is the autocorrelation time that follows from the load (`queues`).
    `interval_notes` says for a percentile why it, its interval or its bound is absent.
    """
    completed = len(latency_ns)
    count = completed + unfinished
    if completed == 0:
        return Latency()
    ordered = np.sort(latency_ns)
    effective = min(effective_size(latency_ns.astype(np.float64)), count / tau)

    def milliseconds(position: int) -> float:
        return float(ordered[position - 1]) / _NS_PER_MS

    figures: dict[str, float | Interval] = {"min": milliseconds(1)}
    if unfinished == 0:
        figures["mean"] = float(latency_ns.mean()) / _NS_PER_MS
        figures["max"] = milliseconds(completed)
    notes: dict[str, str] = {}
    for percent in PERCENTS:
        key, name = percentile_key(percent), percentile_name(percent)
        if count < least_count(percent):
            notes[key] = f"{count} requests; {name} needs {least_count(percent):,}"
            continue
        position = rank(percent, count)
        if position > completed:
            notes[key] = f"{name} falls on one of {unfinished} requests that never finished"
            continue
        figures[key] = milliseconds(position)
        above = effective_size(latency_ns > ordered[position - 1])
        size = min(effective, above)
        ranks, reason = percentile_ranks(percent, count, size)
        if ranks is None:
            notes[key] = reason or ""
        elif ranks[1] > completed:
            notes[key] = "the upper end falls on a request that never finished"
        else:
            figures[f"{key}_interval"] = (milliseconds(ranks[0]), milliseconds(ranks[1]))
        bound, reason = at_most_rank(percent, count, size)
        if bound is None:
            notes[f"{key}_at_most"] = reason or ""
        elif bound > completed:
            notes[f"{key}_at_most"] = "the bound falls on a request that never finished"
        else:
            figures[f"{key}_at_most"] = milliseconds(bound)

    return Latency.model_validate({**figures, "interval_notes": notes})


def percentile_ns(latency_ns: Nanoseconds, unfinished: int, percent: Percent) -> int | None:
    """One percentile. None if there is none. Arguments as in `summarise_latency`."""
    count = len(latency_ns) + unfinished
    position = rank(percent, count)
    if count < least_count(percent) or position > len(latency_ns):
        return None
    return int(np.partition(latency_ns, position - 1)[position - 1])


def percentile_effective_size(
    latency_ns: Nanoseconds, unfinished: int, percent: Percent, tau: float = 1.0
) -> float | None:
    """The effective sample size of a percentile. None if there is no percentile.

    It is the smallest of three: that of the latencies, that of the series "is it above the
    percentile?", and that which follows from the load. Arguments as in `summarise_latency`.
    """
    value = percentile_ns(latency_ns, unfinished, percent)
    if value is None:
        return None
    return min(
        effective_size(latency_ns.astype(np.float64)),
        effective_size(latency_ns > value),
        (len(latency_ns) + unfinished) / tau,
    )
