"""The crossing: the rate at which the share of late requests reaches what an objective allows.

One logistic regression in the rate is fitted to all probes near the crossing:

    logit(share of late requests) = a + b * (rate / centre - 1)

The prior for b comes from heavy-traffic theory, and the interval of the crossing is Fieller's.
docs/search.md says why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpubench.results.result import Interval
from gpubench.results.samples import Nanoseconds
from gpubench.statistics.intervals import (
    LEAST_EFFECTIVE_SIZE,
    degrees_of_freedom,
    effective_size,
)
from gpubench.statistics.student import student_t

# An interval needs so many probes near the crossing.
LEAST_PROBES = 6
# "Near" means within so many units of the logit from the centre. There the line is straight.
_NEAR = 2.0
# Relative standard error of the slope that theory predicts.
_PRIOR_ERROR = 0.7
# Of the prior for the intercept. One request has more weight, so the prior only matters if no
# request is late: the fit then exists all the same.
_PRIOR_WEIGHT = 1e-3
# At low loads a request is late only if at least one other request is in the system.
_LEAST_SLOPE = 1.0
_EXPECTED_LOADS = (0.4, 0.95)
# Share of the capacity. Above it, a queue takes longer to settle than any probe lasts.
MOST_LOAD = 0.98

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tally:
    """The late requests of one open loop."""

    rate: float  # requests per second
    requests: int  # that were due in its window
    late: int  # of these requests; those that never finished are late
    effective: float  # effective sample size

    @property
    def late_share(self) -> float:
        return self.late / self.requests


@dataclass(frozen=True)
class Crossing:
    """The crossing as the probes show it. All rates are in requests per second."""

    rate: float
    interval: Interval | None  # 95%
    note: str | None  # why there is no interval
    centre: float  # of the next fit: the rate, or the largest step towards it that is allowed
    slope: float  # change of the logit per relative change of the rate
    near: tuple[Tally, ...]  # the probes that it comes from


def tally(rate: float, latency_ns: Nanoseconds, unfinished: int, limit_ns: int) -> Tally:
    """Count the late requests of a run; `latency_ns` is in the order in which they were claimed."""
    late = latency_ns > limit_ns
    effective = min(effective_size(late), effective_size(latency_ns.astype(np.float64)))
    return Tally(
        rate=rate,
        requests=len(late) + unfinished,
        late=int(late.sum()) + unfinished,
        effective=max(1.0, effective),
    )


def expected_slope(load: float, late_share: float) -> float:
    """The slope b if the crossing is at `load`, a share of the capacity, as theory predicts it.

    In heavy traffic the late share is exp(-k (1 - load)): J. Kingman, "The single server queue in
    heavy traffic" (1961), https://doi.org/10.1017/S0305004100036094.
    """
    load = min(load, MOST_LOAD)
    return max(_LEAST_SLOPE, math.log(1 / late_share) * load / (1 - load))


def expected_load(late_share: float, waiting_s: float, capacity: float) -> float:
    """The load at which theory predicts that `late_share` of the requests wait over `waiting_s`.

    For Poisson arrivals and a constant service time, the tail of the waiting time is
    exp(-2 (1 - load) capacity t). The result is between 0.4, below which this is inaccurate, and
    0.95.
    """
    lowest, highest = _EXPECTED_LOADS
    load = 1 - math.log(1 / late_share) / (2 * capacity * waiting_s) if waiting_s > 0 else lowest
    return min(max(load, lowest), highest)


def locate(
    tallies: Sequence[Tally], centre: float, slope: float, capacity: float, late_share: float
) -> Crossing:
    """The crossing, computed from those `tallies` that are near it.

    `centre` and `slope` are those of the previous crossing, or a guess. The centre moves towards
    the crossing by at most two units of the logit at a time. It stays between a thousandth and
    MOST_LOAD of the capacity.
    """
    for _ in range(3):
        near = [t for t in tallies if abs(t.rate / centre - 1) * slope < _NEAR]
        near = near or [min(tallies, key=lambda t: abs(t.rate / centre - 1))]
        fit = _fit(near, centre, expected_slope(centre / capacity, late_share), late_share)
        rate, bounds = centre * (1 + fit.place), fit.bounds
        interval = None if bounds is None else (centre * (1 + bounds[0]), centre * (1 + bounds[1]))
        most = _NEAR / slope
        move = max(-most, -0.75, min(most, fit.place))
        centre = min(max(centre * (1 + move), capacity / 1000), capacity * MOST_LOAD)
        slope = min(max(fit.slope, slope / 3), slope * 3)
        if abs(move) * slope < 0.3:
            break
    note = _no_interval(near, interval)
    return Crossing(
        rate=rate,
        interval=None if note or interval is None else (max(0.0, interval[0]), interval[1]),
        note=note,
        centre=centre,
        slope=slope,
        near=tuple(near),
    )


@dataclass(frozen=True)
class Conclusion:
    """The answer of a search."""

    rate: float | None  # requests per second
    interval: Interval | None  # 95%
    note: str | None  # why the rate or the interval is missing


def conclude(crossing: Crossing, capacity: float, late_share: float) -> Conclusion:
    """The rate if the probes bracket it; otherwise what they show."""
    met = [t.rate for t in crossing.near if t.late_share <= late_share]
    missed = [t.rate for t in crossing.near if t.late_share > late_share]
    top = capacity * MOST_LOAD
    if not met:
        lowest = min(missed)
        return Conclusion(
            None, None, f"missed at every rate near the crossing, from {lowest:.4g}/s on"
        )
    if crossing.rate > top and max(met) >= top:
        return Conclusion(
            top, None, f"met even at {MOST_LOAD:.0%} of the capacity, which is the limit"
        )
    if not missed:
        return Conclusion(max(met), None, "met at every rate probed: raise --probes to go higher")
    if not min(met) <= crossing.rate <= max(missed):
        return Conclusion(None, None, "the probes contradict each other: raise --requests")
    return Conclusion(crossing.rate, crossing.interval, crossing.note)


def _no_interval(near: Sequence[Tally], interval: Interval | None) -> str | None:
    if len(near) < LEAST_PROBES:
        return f"{len(near)} probes near the crossing; an interval needs {LEAST_PROBES}"
    effective = sum(t.requests for t in near) / len(near) / _tau(near)
    if effective < LEAST_EFFECTIVE_SIZE:
        return (
            f"the effective sample size of a probe is {effective:.0f}; an interval needs "
            f"{LEAST_EFFECTIVE_SIZE}: raise --requests"
        )
    if interval is None:
        return "the probes do not bound the crossing: raise --requests or --probes"
    return None


def _tau(tallies: Sequence[Tally]) -> float:
    """Mean number of requests that give as much information as one independent request."""
    return sum(t.requests / t.effective for t in tallies) / len(tallies)


@dataclass(frozen=True)
class _Fit:
    """The crossing of the line, relative to the centre (0.01: 1% above it)."""

    place: float
    bounds: Interval | None
    slope: float


def _fit(tallies: Sequence[Tally], centre: float, prior_slope: float, late_share: float) -> _Fit:
    place = np.array([t.rate for t in tallies]) / centre - 1
    share = np.array([t.late_share for t in tallies])
    # All requests have the same weight: see docs/search.md.
    weight = np.array([t.requests for t in tallies]) / _tau(tallies)
    design = np.stack([np.ones_like(place), place], axis=1)
    prior = np.array([_logit(late_share), prior_slope])
    prior_precision = np.diag([_PRIOR_WEIGHT, (_PRIOR_ERROR * prior_slope) ** -2])

    line = _most_likely_line(design, share, weight, prior, prior_precision)
    expected, information = _curvature(design, weight, line)
    squares = float(np.sum(weight * (share - expected) ** 2 / (expected * (1 - expected))))
    dispersion = max(1.0, squares / max(1, len(tallies) - 2))
    covariance = np.asarray(np.linalg.inv(information / dispersion + prior_precision), np.float64)
    offset, slope = float(line[0]) - _logit(late_share), float(line[1])
    t = student_t(degrees_of_freedom(sum(t.effective for t in tallies)))
    return _Fit(-offset / slope, _fieller(offset, slope, covariance, t), slope)


def _most_likely_line(
    design: Floats, share: Floats, weight: Floats, prior: Floats, prior_precision: Floats
) -> Floats:
    """(a, b) by Newton's method. A step is at most one unit of the logit or one prior slope."""
    line = prior.copy()
    for _ in range(200):
        expected, information = _curvature(design, weight, line)
        gradient = design.T @ (weight * (share - expected)) - prior_precision @ (line - prior)
        step = np.linalg.solve(information + prior_precision, gradient)
        step /= max(1.0, float(np.abs(step / np.array([1.0, prior[1]])).max()))
        line += step
        line[1] = max(line[1], prior[1] / 20)  # latency rises with the rate
        if np.abs(step).max() < 1e-9:
            break
    return line


def _curvature(design: Floats, weight: Floats, line: Floats) -> tuple[Floats, Floats]:
    """(expected shares of late requests, Fisher's information matrix) of a line."""
    expected = 1 / (1 + np.exp(-np.clip(design @ line, -30, 30)))
    spread = weight * expected * (1 - expected)
    return expected, design.T @ (design * spread[:, None])


def _fieller(offset: float, slope: float, covariance: Floats, t: float) -> Interval | None:
    """All x for which offset + slope * x is within t standard errors of 0. None if no interval.

    E. Fieller, "Some problems in interval estimation" (1954),
    https://doi.org/10.1111/j.2517-6161.1954.tb00159.x.
    """
    square = slope**2 - t**2 * covariance[1, 1]
    half_linear = offset * slope - t**2 * covariance[0, 1]
    constant = offset**2 - t**2 * covariance[0, 0]
    discriminant = half_linear**2 - square * constant
    if square <= 0 or discriminant < 0:
        return None
    root = math.sqrt(discriminant)
    return float((-half_linear - root) / square), float((-half_linear + root) / square)


def _logit(share: float) -> float:
    return math.log(share / (1 - share))
