"""The autocorrelation time of a queue, computed from its load.

The latencies of successive requests are autocorrelated, because these requests waited in the same
queue. The autocorrelation can be estimated from the latencies (`intervals.effective_size`), but not
from a short run. If no long queue happened to form, the latencies are low and seem only weakly
autocorrelated, so the interval is narrow exactly where it is wrong. The load is known much better:
the schedule and the service times show it. The autocorrelation time follows from the load, whether
or not a long queue formed in this run.
"""

from __future__ import annotations

import numpy as np

from gpubench.results.samples import Nanoseconds, Samples
from gpubench.statistics.windows import ClosedLoopRule, Mask, OpenLoopRule

# The service time is taken from the batches that found a queue, if there are at least so many.
_ENOUGH_BATCHES = 30


def tau_of_load(
    samples: Samples, counted: Mask, loop: ClosedLoopRule | OpenLoopRule, max_batch: int = 1
) -> float:
    """Tau: how many successive requests give as much information as one independent request.

    From 1 up to the number of counted requests.

    In a closed loop, a request waits while clients / in_flight others are served one after another,
    and its neighbours wait for the same requests.

    In an open loop, the waiting time is a random walk that does not fall below zero. Between two
    arrivals it rises by service / in_flight and falls by the gap. With v the variance of the
    difference and d its mean, tau of such a walk is 2 v / d^2 near full load (J. Abate and W.
    Whitt, "Transient behavior of regulated Brownian motion, I", 1987,
    https://doi.org/10.2307/1427408). In M/M/1 it is 82 at load 0.8 and 362 at load 0.9, and half of
    that with constant service times. It describes only the waiting time. So it is reduced to the
    share that the waiting time has in the standard deviation of the latencies.
    """
    count = int(counted.sum())
    if count == 0:
        return 1.0
    if isinstance(loop, ClosedLoopRule):
        tau = loop.clients / loop.round
    else:
        tau = _open_loop_tau(samples, counted, loop, max_batch)
    return min(max(1.0, tau), float(count))


def _open_loop_tau(samples: Samples, counted: Mask, loop: OpenLoopRule, max_batch: int) -> float:
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
    # All requests of a batch have the same service time.
    variance = gap_variance + float(service.var()) * max_batch / in_flight**2
    spread = float(latency.std())
    share = min(1.0, float(waited.std()) / spread) if spread > 0 else 0.0
    return 1 + max(0.0, 2 * variance / drift**2 - 1) * share


def _full_batches_ns(samples: Samples, counted: Mask, max_batch: int) -> Nanoseconds:
    """Service times of the batches of `max_batch` requests, which workers form under load.

    If enough of them found a queue, only those are taken: the other workers were then busy on the
    same cores or the same device.
    """
    starts = samples.batch_starts
    sizes = np.diff(starts, append=len(samples))
    full = starts[(sizes >= max_batch) & counted[starts]]
    service = (samples.completed_ns - samples.departed_ns)[full]
    queued = (samples.opened_ns > samples.scheduled_ns)[full]
    return service[queued] if queued.sum() >= _ENOUGH_BATCHES else service


def _gaps(due_ns: Nanoseconds) -> tuple[float, float]:
    """Mean gap between requests, and the variance that each request adds to the sum of the gaps.

    Requests that are due together are one arrival, so equal bursts at equal distances have no
    variance.
    """
    starts, sizes = np.unique(due_ns, return_counts=True)
    gap = float(starts[-1] - starts[0]) / int(sizes[:-1].sum())
    deviation = np.diff(starts) - gap * sizes[:-1]
    return gap, float(deviation @ deviation) / int(sizes[:-1].sum())
