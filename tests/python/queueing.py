"""Waiting times of queues, by the formulas of queueing theory."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np
from scipy import stats


def md1_waiting_distribution(load: float) -> Callable[[float], float]:
    """P(wait <= t) in M/D/1, t in service times.

    Erlang 1909: (1 - rho) sum_k exp(-rho (k - t)) (rho (k - t))^k / k!, k from 0 to floor(t). The
    terms are large and alternate in sign: 80 digits leave more than enough after cancellation.
    """

    def cdf(t: float) -> float:
        with localcontext() as context:
            context.prec = 80
            total = Decimal(0)
            for k in range(math.floor(t) + 1):
                x = Decimal(load) * (k - Decimal(t))
                total += (-x).exp() * (x**k if k > 0 else 1) / math.factorial(k)
            return float((1 - Decimal(load)) * total)

    return cdf


def mm1_waiting_distribution(load: float) -> Callable[[float], float]:
    """P(wait <= t) in M/M/1: 1 - rho exp(-(1 - rho) t)."""
    return lambda t: 1 - load * math.exp(-(1 - load) * t)


def erlang_c(load: float, servers: int) -> float:
    """Probability that a request waits in M/M/c (Erlang 1917)."""
    offered = load * servers
    blocking = 1.0
    for c in range(1, servers + 1):
        blocking = offered * blocking / (c + offered * blocking)
    return blocking / (1 - load + load * blocking)


def mdc_mean_wait(load: float, servers: int) -> float:
    """Mean wait in M/D/c, in service times (Crommelin 1932).

    sum_i exp(-i a) (sum_{j >= ic} (ia)^j / j! - (c / a) sum_{j > ic} (ia)^j / j!) with a = rho c,
    which is sum_i P(X_i >= ic) - P(X_i >= ic + 1) / rho for X_i ~ Poisson(ia).
    """
    i = np.arange(1, 20_000)
    arrivals = stats.poisson(i * load * servers)
    terms = arrivals.sf(i * servers - 1) - arrivals.sf(i * servers) / load
    return float(terms.sum())
