"""95% intervals of autocorrelated samples.

The latencies of successive requests are autocorrelated, because they waited in the same queue. A
thousand of them may give no more information than fifty independent ones, and an interval that
ignores this is far too narrow. So the first step is the effective sample size of the series:

    effective sample size = n / tau,    tau = 1 + 2 * (sum of the autocorrelations)

The sum stops at the first lag that is at least five times the tau found so far: A. Sokal, "Monte
Carlo Methods in Statistical Mechanics" (1997), https://doi.org/10.1007/978-1-4899-0319-8_6. With an
effective sample size below 40 there is no interval, because tau itself is then too uncertain.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from gpubench.results.result import Interval
from gpubench.statistics.percentiles import Percent, percentile_name, rank
from gpubench.statistics.student import incomplete_beta, student_t, t_quantile
from gpubench.statistics.windows import Window

# The smallest effective sample size that gives an interval. With a lower limit tau is so uncertain
# that series which look steady by chance mislead. With a higher limit, 130 independent requests of
# two clients would often have no interval. The coverage tables in docs/measurement.md show the
# effect of 40.
LEAST_EFFECTIVE_SIZE = 40

_CONFIDENCE = 0.95
_LAGS_PER_TAU = 5
_MOST_BLOCKS = 2048  # longer series are averaged in blocks first, so the cost stays linear
_CLOCK_NS = 1.0  # smaller differences are rounding of the clock


def effective_size(series: NDArray[np.float64] | NDArray[np.bool_], tick: float = 0.0) -> float:
    """The effective sample size of the mean of `series`: above 0, and at most its length.

    A series that alternates would have a larger one. The limit makes its interval wider, which is
    the cautious choice. A series that varies by less than `tick` counts as constant.
    """
    count = len(series)
    if count < 2:
        return float(count)
    per_block = max(1, -(-count // _MOST_BLOCKS))
    blocks = series[: count - count % per_block].reshape(-1, per_block).mean(axis=1)
    deviation = blocks - blocks.mean()
    if np.abs(deviation).max() <= tick:
        return float(count)
    padded = (
        1 << (2 * len(blocks) - 1).bit_length()
    )  # long enough for all lags; a power of two is fast
    spectrum = np.fft.rfft(deviation, padded)
    covariance = np.fft.irfft(spectrum * spectrum.conj())[: len(blocks)] / len(blocks)
    tau_by_cut = 2 * np.cumsum(covariance / covariance[0]) - 1
    cuts = np.flatnonzero(np.arange(len(blocks)) >= _LAGS_PER_TAU * tau_by_cut)
    tau = max(1.0, tau_by_cut[cuts[0] if len(cuts) else -1])
    variance_of_mean = covariance[0] * tau / len(blocks)
    return float(min(count, np.var(series) / variance_of_mean))


def degrees_of_freedom(effective: float) -> float:
    """Degrees of freedom of an error that was estimated from a series.

    `effective` is the effective sample size of the series. There is one degree of freedom for every
    five, because the autocorrelations are summed over five tau, so the estimate compares that many
    sections of the series.
    """
    return effective / _LAGS_PER_TAU


def throughput_interval(
    window: Window | None, round_size: int, inferences_per_request: int = 1
) -> tuple[Interval | None, str | None]:
    """95% interval of the inferences per second, or None and the reason.

    The window is divided into rounds of `round_size` requests. Requests that completed at the same
    time stay in the same round. The standard error of the mean time per request follows from the
    differences between the rounds. The reciprocal of the mean time is the throughput.
    """
    if window is None:
        return None, "too few requests completed to open and close a window; measure longer"
    completed = window.completed_ns
    count = len(completed)
    per_round = round_size * max(1, -(-count // (round_size * _MOST_BLOCKS)))
    ends = np.arange(per_round, count + 1, per_round) - 1
    ends = np.unique(np.searchsorted(completed, completed[ends], side="right"))
    requests = np.diff(ends, prepend=0)
    if len(requests) < LEAST_EFFECTIVE_SIZE:
        return None, (
            f"{count} requests are {len(requests)} rounds of requests that complete together; "
            f"an interval needs {LEAST_EFFECTIVE_SIZE} rounds"
        )
    durations = np.diff(completed[ends - 1], prepend=window.opens_ns)
    ns_per_request = (window.closes_ns - window.opens_ns) / count
    excess = durations - ns_per_request * requests
    effective = effective_size(excess, tick=_CLOCK_NS)
    if effective < LEAST_EFFECTIVE_SIZE:
        return None, _too_few(len(requests), "rounds", effective)
    error = float(excess.std()) / math.sqrt(effective) / float(requests.mean())
    margin = student_t(degrees_of_freedom(effective)) * error
    if margin >= ns_per_request:
        return None, "the time between completions varies too much; measure longer"
    fastest = 1e9 * inferences_per_request / (ns_per_request - margin)
    slowest = 1e9 * inferences_per_request / (ns_per_request + margin)
    return (slowest, fastest), None


def percentile_ranks(
    percent: Percent, count: int, effective: float
) -> tuple[tuple[int, int] | None, str | None]:
    """Ranks (from 1) of the two sorted values that bound a percentile, or None and the reason.

    The share of values below the true percentile p has the standard error
    sqrt(p (1 - p) / effective), for every distribution. `effective` is the effective sample size of
    the series, or that of the series "is it above the percentile?" if it is smaller.
    """
    if effective < LEAST_EFFECTIVE_SIZE:
        return None, _too_few(count, "requests", effective)
    share = float(percent) / 100
    margin = student_t(degrees_of_freedom(effective)) * math.sqrt(share * (1 - share) / effective)
    low = math.floor(count * (share - margin))
    high = math.ceil(count * (share + margin))
    if low < 1 or high > count:
        return None, (
            f"{count} requests with an effective sample size of {effective:.0f} are too few to "
            f"bound {percentile_name(percent)}; measure longer"
        )
    return (min(low, rank(percent, count)), high), None


def at_most_rank(percent: Percent, count: int, effective: float) -> tuple[int | None, str | None]:
    """Rank (from 1) of the sorted value that is, with 95% confidence, at least the percentile.

    None and the reason if the samples have no such value. Of N independent values, the number
    below the true percentile has a binomial distribution, whatever the distribution of the values.
    So the value of rank r is too small with the probability that r or more of them are below it.
    With autocorrelation, N is the effective sample size, and it is reduced by (z / t)^2 because it
    is itself estimated: E. Korn and B. Graubard, "Confidence intervals for proportions with small
    expected number of positive counts estimated from survey data", Survey Methodology 24 (1998).
    """
    if effective < LEAST_EFFECTIVE_SIZE:
        return None, _too_few(count, "requests", effective)
    share = float(percent) / 100
    z = NormalDist().inv_cdf(_CONFIDENCE)
    size = effective * (z / t_quantile(_CONFIDENCE, degrees_of_freedom(effective))) ** 2

    def may_be_too_small(position: int) -> bool:
        below = size * position / count
        return incomplete_beta(below, size - below + 1, share) > 1 - _CONFIDENCE

    if may_be_too_small(count):
        return None, (
            f"{count} requests with an effective sample size of {effective:.0f} are too few for an "
            f"upper bound of {percentile_name(percent)}; measure longer"
        )
    positions = range(rank(percent, count), count + 1)
    return positions[bisect_left(positions, True, key=lambda r: not may_be_too_small(r))], None


def _too_few(count: int, what: str, effective: float) -> str:
    if count < LEAST_EFFECTIVE_SIZE:
        return f"{count} {what}; an interval needs {LEAST_EFFECTIVE_SIZE}"
    return (
        f"{count} {what} are so autocorrelated that their effective sample size is "
        f"{effective:.0f}; an interval needs {LEAST_EFFECTIVE_SIZE}; measure longer"
    )
