"""Lag: how much later a batch left the queue than with an ideal harness."""

from __future__ import annotations

import numpy as np

from gpubench.results.result import Lag
from gpubench.results.samples import Nanoseconds, Samples
from gpubench.statistics.percentiles import rank

_NEVER = np.iinfo(np.int64).max
_NS_PER_US = 1e3


def batch_lag_ns(samples: Samples, max_batch: int = 1, max_delay_ns: int = 0) -> Nanoseconds:
    """Lag of every batch: departed - max(opened, min(due[k + max_batch - 1], due[k] + max_delay)).

    k is the position of the batch's first request in the order in which requests were claimed. A
    request that was claimed and never completed keeps its position.
    """
    first = samples.batch_starts
    due = samples.scheduled_ns[first]
    leaves = due
    if max_batch > 1 and max_delay_ns > 0:
        lost = np.sort(samples.unfinished_scheduled_ns)
        line = np.sort(np.concatenate((samples.scheduled_ns, lost)), kind="stable")
        fills = first + np.searchsorted(lost, due) + max_batch - 1
        full = np.full(len(first), _NEVER)
        known = fills < len(line)
        full[known] = line[fills[known]]
        leaves = np.minimum(full, due + max_delay_ns)
    return samples.departed_ns[first] - np.maximum(samples.opened_ns[first], leaves)


def summarise_lag(lag_ns: Nanoseconds) -> Lag | None:
    """Median and P99 in microseconds. None without batches."""
    if len(lag_ns) == 0:
        return None
    median, p99 = rank(50, len(lag_ns)) - 1, rank(99, len(lag_ns)) - 1
    ordered = np.partition(lag_ns, (median, p99))
    return Lag(p50=float(ordered[median]) / _NS_PER_US, p99=float(ordered[p99]) / _NS_PER_US)
