"""The due times of the requests of an open loop."""

from __future__ import annotations

import numpy as np

from gpubench import core
from gpubench.results.samples import Nanoseconds
from gpubench.spec.cell import OpenLoad

# Added to the seed of the load. The settling part then has other arrivals than the measured part.
_SETTLING_SEED = 2**63


def schedule(load: OpenLoad, seed: int) -> Nanoseconds:
    """Due times in ns from the start of the run: first the settling requests, then the others.

    The settling part and the measured part are two schedules, one after the other. In each of them
    the number of arrivals is the rate times the length. Therefore the run counts exactly
    `load.requests` requests, the window is known before the run, and the rate inside the window is
    exactly `load.rate_per_second`. The times of the arrivals do not move the limits of the window.
    This keeps Poisson arrivals correct: if the number of arrivals in a fixed time is known, they
    are distributed uniformly over that time.
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
