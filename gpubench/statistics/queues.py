"""How long a queue remembers, known from its load.

The latencies of neighbouring requests are alike, because they waited in the same queue. How much
so can be estimated from the latencies (`intervals.effective_size`), but not from a run that is
short: a run in which no long queue happened to form has low latencies that seem to depend on each
other little, so that an interval is narrow just where it is wrong. The load is known far better
than what it leads to, from the schedule and the service times, and it says how long the queue
remembers whether or not this run had the luck to see it.
"""

from __future__ import annotations

import numpy as np

from gpubench.results.samples import Nanoseconds, Samples
from gpubench.statistics.windows import ClosedLoop, Mask, OpenLoop

# Batches that met a queue, of which the service time is taken alone; where they are fewer, of all.
_ENOUGH_BATCHES = 30


def requests_per_independent_one(
    samples: Samples, counted: Mask, loop: ClosedLoop | OpenLoop, max_batch: int = 1
) -> float:
    """How many of the counted requests say as much as one independent one: from 1 up to all.

    In a closed loop every request waits for those of clients / in_flight others, one after the
    other, and its neighbours wait for the same ones.

    In an open loop the waiting time is a random walk that never falls below zero. Between two
    arrivals it rises by the service time that a request takes of all workers and falls by the gap.
    With v the variance of the difference and d its mean, the sum of the autocorrelations of such a
    walk is 2 v / d^2 near full load (J. Abate and W. Whitt, "Transient behavior of regulated
    Brownian motion, I", 1987, https://doi.org/10.2307/1427408): 82 at load 0.8 and 362 at load 0.9
    with exponential gaps and services, half of it with constant services. Only as far as the wait
    makes the latencies differ does it make them depend on each other.
    """
    count = int(counted.sum())
    if count == 0:
        return 1.0
    if isinstance(loop, ClosedLoop):
        memory = loop.clients / loop.round
    else:
        memory = _open_loop_memory(samples, counted, loop, max_batch)
    return min(max(1.0, memory), float(count))


def _open_loop_memory(samples: Samples, counted: Mask, loop: OpenLoop, max_batch: int) -> float:
    due = samples.scheduled_ns[counted]
    waited = (samples.departed_ns - samples.scheduled_ns)[counted]
    latency = samples.latency_ns[counted]
    service = _full_batches_ns(samples, counted, max_batch)
    if len(service) == 0 or not waited.any() or due.min() == due.max():
        return 1.0
    gap, gap_variance = _gaps(np.sort(due))
    in_flight = loop.in_flight or len(np.unique(samples.worker)) * max_batch
    drift = gap - float(service.mean()) / in_flight
    if drift <= 0:
        return np.inf  # the queue grows for as long as the run lasts
    # A batch of max_batch requests is one draw of the service time.
    variance = gap_variance + float(service.var()) * max_batch / in_flight**2
    spread = float(latency.std())
    share = min(1.0, float(waited.std()) / spread) if spread > 0 else 0.0
    return 1 + max(0.0, 2 * variance / drift**2 - 1) * share


def _full_batches_ns(samples: Samples, counted: Mask, max_batch: int) -> Nanoseconds:
    """Service times of batches of `max_batch` requests: what the workers take when all are busy.

    If enough of them met a queue, only of those: their workers had company, on the same cores or
    in the same device.
    """
    starts = samples.batch_starts
    sizes = np.diff(starts, append=len(samples))
    full = starts[(sizes >= max_batch) & counted[starts]]
    service = (samples.completed_ns - samples.departed_ns)[full]
    queued = (samples.opened_ns > samples.scheduled_ns)[full]
    return service[queued] if queued.sum() >= _ENOUGH_BATCHES else service


def _gaps(due_ns: Nanoseconds) -> tuple[float, float]:
    """Mean gap between requests, and the variance that one request adds to their sum.

    Requests that are due together are one arrival: bursts of one size at one distance have none.
    """
    starts, sizes = np.unique(due_ns, return_counts=True)
    gap = float(starts[-1] - starts[0]) / int(sizes[:-1].sum())
    deviation = np.diff(starts) - gap * sizes[:-1]
    return gap, float(deviation @ deviation) / int(sizes[:-1].sum())
