"""What queueing theory says about a queue with one worker and Poisson arrivals.

M/D/1 has a constant service time, M/M/1 an exponential one. `load` is the rate of arrivals times
the mean service time, below 1. All times are in mean service times.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]


def mean_latency(load: float, service_variance: float) -> float:
    """Mean time from the arrival of a request to its completion, with any service time.

    `service_variance` is 0 for M/D/1 and 1 for M/M/1. Pollaczek 1930 and Khinchine 1932; L.
    Kleinrock, Queueing Systems, volume 1, 1975, equation 5.70.
    """
    return 1 + load * (1 + service_variance) / (2 * (1 - load))


def mm1_latency_quantile(load: float, share: float) -> float:
    """The latency that a share of the requests of M/M/1 does not exceed.

    The latency is exponential with the mean 1 / (1 - load): Kleinrock, equation 5.119.
    """
    return -math.log(1 - share) / (1 - load)


def latencies(arrivals: Times, service: Times) -> Times:
    """The latency of each request, if a single worker serves them in the order of their arrival.

    A request begins when it is due or when the one before it ends: D. V. Lindley, Mathematical
    Proceedings of the Cambridge Philosophical Society 48, 1952. Any unit of time.
    """
    ends = np.cumsum(service)
    idle_before = np.maximum.accumulate(arrivals - ends + service)
    latency: Times = ends + idle_before - arrivals
    return latency
