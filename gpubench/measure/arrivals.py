"""When the requests of an open loop are due."""

from __future__ import annotations

import numpy as np

from gpubench import core
from gpubench.results.samples import Nanoseconds
from gpubench.spec.cell import OpenLoad

# Added to the seed of the load, so that the arrivals that settle the queue are others.
_SETTLING_SEED = 2**63


def schedule(load: OpenLoad, seed: int) -> Nanoseconds:
    """Due times in ns from the start, those of the settling requests first.

    The settling part and the measured part are two schedules, one after the other, each with as
    many arrivals as the rate makes of its length. So exactly the requests asked for are counted (a
    whole number of bursts, at least), the window is known before the run, and the rate offered in
    it is the rate asked for. The window neither begins nor ends at an arrival of its own choice:
    the arrivals of a Poisson process, given their number in a fixed time, are spread uniformly over
    that time.
    """
    due_ns = load.settling_ns + _arrivals(load, load.requests, seed)
    if not load.settling:
        return due_ns
    before_ns = _arrivals(load, load.settling, (seed + _SETTLING_SEED) % 2**64)
    return np.concatenate((np.minimum(before_ns, load.settling_ns - 1), due_ns))


def _arrivals(load: OpenLoad, count: int, seed: int) -> Nanoseconds:
    if load.arrivals == "poisson":
        return core.poisson_arrivals(load.rate_per_second, count, seed)
    return core.burst_arrivals(load.rate_per_second, count, load.burst)
