"""Whether a figure differs between two sides, from repeats of both. Pure functions of numbers.

What is estimated is the logarithm of the ratio B/A. docs/comparing.md describes the three methods
and the three answers, and has their rates of error in simulations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from gpubench.spec.repetition import LEAST_REPEATS
from gpubench.statistics.student import student_t, t_cdf, t_quantile

LEVEL = 0.05  # of every test
WITHIN = 0.02  # a ratio that is certain to be closer to 1 than this does not matter
SPREAD = 0.02  # between two series of repeats, if nobody states another
MOST_ROUNDS = 1000  # that are proposed
_POWER = 0.8  # with which the proposed rounds decide
_LARGEST_LOG = 700.0  # exp(710) is too large for a floating-point number

Method = Literal["paired", "series", "single"]
Kind = Literal["higher", "lower", "equivalent", "undecided"]


@dataclass(frozen=True)
class Estimate:
    """The logarithm of the ratio B/A of a figure, with its standard error."""

    log_ratio: float
    standard_error: float
    dof: float  # degrees of freedom of the standard error; infinite if it was stated
    method: Method
    rounds: int  # paired: rounds; otherwise the repeats of the side that has fewer
    fixed_variance: float = 0.0  # the part of the variance that more rounds do not reduce

    @property
    def ratio(self) -> float:
        return _exp(self.log_ratio)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Two-sided, of the ratio."""
        margin = student_t(self.dof, confidence) * self.standard_error
        return _exp(self.log_ratio - margin), _exp(self.log_ratio + margin)

    def bounds(self) -> tuple[float, float]:
        """Each is a one-sided 95% bound of the ratio: the ratio is at least the first one."""
        return self.interval(1 - 2 * LEVEL)

    def p_difference(self) -> float:
        """The p-value of the hypothesis that the ratio is 1."""
        return min(1.0, 2 * self._tail(abs(self.log_ratio)))

    def p_equivalence(self, within: float) -> float:
        """The p-value of the hypothesis that the ratio is 1 + `within` or more, or its inverse.

        Two one-sided tests: Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15, 1987.
        """
        margin = math.log1p(within)
        return self._tail(margin - abs(self.log_ratio))

    def p_above(self, ratio: float) -> float:
        """The p-value of the hypothesis that the ratio is at most `ratio`."""
        return self._tail(self.log_ratio - math.log(ratio))

    def p_below(self, ratio: float) -> float:
        """The p-value of the hypothesis that the ratio is at least `ratio`."""
        return self._tail(math.log(ratio) - self.log_ratio)

    def _tail(self, distance: float) -> float:
        """The probability of an error that is larger than `distance`.

        Without any spread (in simulated time, for example) every error is 0.
        """
        if self.standard_error > 0:
            return t_cdf(-distance / self.standard_error, self.dof)
        return 0.5 if distance == 0 else 0.0 if distance > 0 else 1.0

    def with_rounds(self, rounds: int) -> Estimate:
        """What `rounds` rounds would probably give: the same ratio, and a smaller error."""
        sampled = self.standard_error**2 - self.fixed_variance
        variance = self.fixed_variance + sampled * self.rounds / rounds
        dof = self.dof * (rounds - 1) / (self.rounds - 1)
        return Estimate(
            self.log_ratio, math.sqrt(variance), dof, self.method, rounds, self.fixed_variance
        )


@dataclass(frozen=True)
class Observation:
    """The figure of one repeat, which is above 0, and its 95% interval inside the run."""

    figure: float
    interval: tuple[float, float] | None = None


def paired(rounds: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Estimate | None:
    """From the figures of A and of B in each round, which has at least one of both.

    What the machine did in a round acts on both sides, and cancels in their difference. None if
    there are fewer than three rounds.
    """
    if len(rounds) < LEAST_REPEATS:
        return None
    mean, variance = _mean_and_variance([_mean_log(b) - _mean_log(a) for a, b in rounds])
    count = len(rounds)
    return Estimate(mean, math.sqrt(variance / count), count - 1, "paired", count)


def unpaired(
    a: Sequence[Observation], b: Sequence[Observation], spread: float | None = None
) -> Estimate | None:
    """From repeats that were measured at different times; both sides have at least one.

    With three repeats on each side it is Welch's test. With fewer on a side, the variance of that
    side is the one inside its runs. The machine may have changed between the two times. So each
    side has one more normal error with the standard deviation `spread`, relative to the figure.
    Its number of degrees of freedom is infinite because it is stated and not estimated. Those of
    the sum are Satterthwaite's: Biometrics Bulletin 2, 1946.

    None if a side has fewer than three repeats and `spread` is not stated, or if there is no
    interval inside its runs.
    """
    fewer = min(len(a), len(b))
    is_series = fewer >= LEAST_REPEATS
    if spread is None and not is_series:
        return None
    side_a, side_b = _side(a), _side(b)
    if side_a is None or side_b is None:
        return None
    (mean_a, variance_a, dof_a), (mean_b, variance_b, dof_b) = side_a, side_b
    fixed = 2 * (SPREAD if spread is None else spread) ** 2
    variance = variance_a + variance_b + fixed
    uncertain = variance_a**2 / dof_a + variance_b**2 / dof_b
    return Estimate(
        log_ratio=mean_b - mean_a,
        standard_error=math.sqrt(variance),
        dof=variance**2 / uncertain if uncertain > 0 else math.inf,
        method="series" if is_series else "single",
        rounds=fewer,
        fixed_variance=fixed,
    )


def _side(repeats: Sequence[Observation]) -> tuple[float, float, float] | None:
    """The mean of the logarithms, its variance, and the degrees of freedom of the variance."""
    logs = [math.log(each.figure) for each in repeats]
    count = len(logs)
    if count >= LEAST_REPEATS:
        mean, variance = _mean_and_variance(logs)
        return mean, variance / count, count - 1
    inside = 0.0
    for each in repeats:
        if each.interval is None or not 0 < each.interval[0] <= each.interval[1]:
            return None
        inside += (math.log(each.interval[1] / each.interval[0]) / 2 / student_t(math.inf)) ** 2
    return math.fsum(logs) / count, inside / count**2, math.inf


def _exp(value: float) -> float:
    return math.exp(min(value, _LARGEST_LOG))


def _mean_log(figures: Sequence[float]) -> float:
    return math.fsum(map(math.log, figures)) / len(figures)


def _mean_and_variance(values: Sequence[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((each - mean) ** 2 for each in values) / (len(values) - 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values, corrected for their number.

    The probability that any true hypothesis among them has a corrected value of 5% or less is at
    most 5%, whether or not they depend on each other: Holm, Scandinavian J. of Statistics 6, 1979.
    """
    corrected = [1.0] * len(p_values)
    largest = 0.0
    rising = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, index in enumerate(rising):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        corrected[index] = min(1.0, largest)
    return corrected


@dataclass(frozen=True)
class Answer:
    """What an estimate says about the ratio B/A, as one of several of the same figure."""

    kind: Kind  # "higher": B has more of the figure; "equivalent": the ratio is close to 1
    p_difference: float
    p_difference_corrected: float  # for the number of estimates
    p_equivalence: float
    # Undecided: further rounds that would probably decide. None: more than 1,000, or no number of
    # rounds would.
    more_rounds: int | None = None


def answers(estimates: Sequence[Estimate], within: float = WITHIN) -> list[Answer]:
    """The answers to all comparisons of one figure.

    "equivalent" is preferred to a difference: a difference that is certain and certainly smaller
    than `within` does not matter. Only the tests of a difference are corrected for their number.
    """
    differences = [each.p_difference() for each in estimates]
    return [
        _answer(estimate, p_value, corrected, within, LEVEL / len(estimates))
        for estimate, p_value, corrected in zip(
            estimates, differences, holm(differences), strict=True
        )
    ]


def _answer(
    estimate: Estimate, p_value: float, corrected: float, within: float, level: float
) -> Answer:
    equivalence = estimate.p_equivalence(within)
    kind: Kind = "undecided"
    more = None
    if equivalence <= LEVEL:
        kind = "equivalent"
    elif corrected <= LEVEL:
        kind = "higher" if estimate.log_ratio > 0 else "lower"
    else:
        more = _more_rounds(estimate, within, level)
    return Answer(kind, p_value, corrected, equivalence, more)


def _more_rounds(estimate: Estimate, within: float, level: float) -> int | None:
    """Further rounds that decide in four of five cases if ratio and spread are as estimated.

    `level` is that of the test of a difference. Divided by the number of comparisons (Bonferroni)
    it is at most what Holm's correction uses, so the proposed rounds are not too few.
    """
    if estimate.method == "single":
        return None

    def decides(rounds: int) -> bool:
        later = estimate.with_rounds(rounds)
        reserve = NormalDist().inv_cdf(_POWER)
        to_one = abs(later.log_ratio)
        to_margin = math.log1p(within) - to_one
        return to_one >= later.standard_error * (
            student_t(later.dof, 1 - level) + reserve
        ) or to_margin >= later.standard_error * (t_quantile(1 - LEVEL, later.dof) + reserve)

    too_few, enough = estimate.rounds, estimate.rounds + MOST_ROUNDS
    if not decides(enough):
        return None
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if decides(middle) else (middle, enough)
    return enough - estimate.rounds
