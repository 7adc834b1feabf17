"""Student's t distribution, for any number of degrees of freedom above 0.

NumPy does not have it, and SciPy would be a dependency of 100 MB for this one distribution.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

_TINY = 1e-300
_EPSILON = 1e-15
_MOST_TERMS = 10_000
_NORMAL = 1e8  # with more degrees of freedom it is the normal distribution in 8 digits


def student_t(dof: float, confidence: float = 0.95) -> float:
    """Two-sided quantile: a value with `dof` degrees of freedom is within ± this so often."""
    return t_quantile((1 + confidence) / 2, dof)


@lru_cache(maxsize=4096)
def t_quantile(probability: float, dof: float) -> float:
    """The value below which a share `probability` of the distribution lies.

    Newton's method. It begins at the quantile of the normal distribution, which is smaller. Above 0
    the distribution function is concave, so the steps approach the quantile from below.

    Raises ValueError unless 0 < probability < 1 and dof > 0.
    """
    if not 0 < probability < 1 or not dof > 0:
        raise ValueError(f"no quantile {probability} with {dof} degrees of freedom")
    if probability < 0.5:
        return -t_quantile(1 - probability, dof)
    t = NormalDist().inv_cdf(probability)
    if dof > _NORMAL:
        return t
    while True:
        step = (probability - t_cdf(t, dof)) / _density(t, dof)
        t += step
        if step <= 1e-10 * t:
            return t


def _density(t: float, dof: float) -> float:
    log_front = math.lgamma((dof + 1) / 2) - math.lgamma(dof / 2) - math.log(dof * math.pi) / 2
    return math.exp(log_front - (dof + 1) / 2 * math.log1p(t * t / dof))


def t_cdf(t: float, dof: float) -> float:
    """The share of the distribution below `t`.

    Abramowitz and Stegun 26.7.1: it follows from the incomplete beta function.
    """
    if math.isinf(t):
        return 1.0 if t > 0 else 0.0
    if dof > _NORMAL:
        return NormalDist().cdf(t)
    tail = incomplete_beta(dof / 2, 0.5, dof / (dof + t * t)) / 2
    return 1 - tail if t > 0 else tail


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for a and b above 0.

    Its continued fraction (https://dlmf.nist.gov/8.17.E22) converges fast for x below
    (a + 1) / (a + b + 2); for larger x the symmetry I_x(a, b) = 1 - I_{1-x}(b, a) is used.
    """
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - log_beta) / a
    return front / _continued_fraction(a, b, x)


def _continued_fraction(a: float, b: float, x: float) -> float:
    """1 + d1/(1 + d2/(1 + ...)), evaluated by the method of Lentz."""
    value, c, d = 1.0, 1.0, 0.0
    for n in range(1, _MOST_TERMS):
        m = n // 2
        if n % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / (1 + term * d or _TINY)
        c = 1 + term / c or _TINY
        value *= c * d
        if abs(c * d - 1) < _EPSILON:
            break
    return value
