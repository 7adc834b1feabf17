"""Scale to zero: what it costs to stop an idle instance and to start it again for the next request.

An instance that waits for requests costs its price for as long as it is idle. If it is stopped, the
next request starts it again: the start is billed, and the caller waits for it. Pure functions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


def break_even_idle_s(start_s: float) -> float:
    """The idle time from which stopping an instance is cheaper than letting it wait.

    Waiting costs price * idle time. Stopping costs one start: price * `start_s`. The price cancels,
    so the idle time equals the time of the start. A provider's minimum billed time changes nothing
    as long as the instance runs for longer than that after each start.
    """
    return start_s


@dataclass(frozen=True)
class ScaledToZero:
    """The long run of one instance that stops when no request has come for some time."""

    waiting_share: float  # of all requests: those that wait for a start
    billed_share: float  # of the time


def scaled_to_zero(rate_per_second: float, idle_timeout_s: float, start_s: float) -> ScaledToZero:
    """What one instance does if it stops after `idle_timeout_s` without a request.

    Requests arrive at random (Poisson) at `rate_per_second`. The time of the inferences themselves
    is taken as 0, so this holds for an instance that is idle most of the time.

    With rate r, timeout T, start time S and q = exp(-r T), the probability that the next request
    comes later than the timeout:

        waiting share = q (1 + r S) / (1 + q r S)
        billed share  = 1 - q / (1 + q r S)

    Derivation: a cycle begins with a request that finds the instance stopped. It starts for S, and
    on average r S more requests wait with it. After that a request finds it running with
    probability 1 - q, so (1 - q) / q requests on average do before the cycle ends. Its mean length
    is S + 1 / (r q), of which 1 / r is stopped. The long-run shares are ratios of means (renewal
    reward theorem: Ross, Introduction to Probability Models, section 7.4).
    """
    late = math.exp(-rate_per_second * idle_timeout_s)
    during_start = rate_per_second * start_s
    cycle = 1 + late * during_start
    return ScaledToZero(late * (1 + during_start) / cycle, 1 - late / cycle)
