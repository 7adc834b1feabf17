"""How well the figures of one thing agree when it is measured again and again.

The figures are those of successive repeats, as logarithms. Comparisons of the repeats among
themselves show what this machine does to comparisons: there is no true difference.

What is a share of many comparisons is given with its range for ideal repeats, which are independent
and normal: the lowest and the highest share of 1,000 simulated series of the same length. Such a
share of a single series varies, and it lies outside this range once in 500 series by chance.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gpubench.results.result import Interval
from gpubench.statistics.comparison import LEVEL
from gpubench.statistics.student import student_t

Series = NDArray[np.float64]

ROUNDS = 10  # of the comparison that is judged
PER_ROUND = 4  # repeats in a round: A, B, B, A
COVERING = 5  # repeats whose interval is judged
LEAST = 5 * PER_ROUND  # repeats from which anything can be said
_IDEAL_SERIES = 1000
_DRAWS = 250


@dataclass(frozen=True)
class Share:
    """A share of many comparisons, and its range in ideal series."""

    share: float
    ideal: Interval

    @property
    def is_above(self) -> bool:
        return self.share > self.ideal[1]

    @property
    def is_below(self) -> bool:
        return self.share < self.ideal[0]


@dataclass(frozen=True)
class Repeatability:
    """One figure over the repeats of a series."""

    figure: float  # geometric mean
    count: int
    repeats: tuple[float, ...]  # the figure of each, in their order
    spread: float  # standard deviation between repeats, relative to the figure
    half_width: float  # of the 95% interval of a ratio after ten rounds of A, B, B, A
    false_differences: Share  # of comparisons of the repeats in rounds, that find a difference
    # Share of all pairs of repeats whose intervals inside the runs exclude each other: what a
    # comparison of single runs by these intervals would claim. None: they have no intervals.
    claimed_by_single_runs: float | None
    # Share of the intervals of five repeats that contain the mean of the other repeats.
    coverage: Share  # the five are drawn at random
    coverage_in_a_row: Share  # the five follow one another


def repeatability(figures: Sequence[float], intervals: Sequence[Interval | None]) -> Repeatability:
    """From the figures of successive repeats, all above 0, and their 95% intervals inside the runs.

    Raises ValueError for fewer than 20 repeats.
    """
    count = len(figures)
    if count < LEAST:
        raise ValueError(f"{count} repeats are too few; {LEAST} are needed")
    logs = np.log(np.asarray(figures, dtype=np.float64))
    false_differences, coverage, coverage_in_a_row = (
        Share(float(share(logs)), ideal)
        for share, ideal in zip(_shares(count), _ideal_ranges(count), strict=True)
    )
    return Repeatability(
        figure=math.exp(logs.mean()),
        count=count,
        repeats=tuple(figures),
        spread=float(logs.std(ddof=1)),
        half_width=_half_width(logs),
        false_differences=false_differences,
        claimed_by_single_runs=_claimed(figures, intervals),
        coverage=coverage,
        coverage_in_a_row=coverage_in_a_row,
    )


def _shares(count: int) -> list[Callable[[Series], Series]]:
    """What is computed from series of `count` repeats, in the order of `Repeatability`."""
    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], (_DRAWS, count // PER_ROUND))
    any_five = np.array([rng.choice(count, COVERING, replace=False) for _ in range(4 * _DRAWS)])
    in_a_row = np.arange(count - COVERING + 1)[:, None] + np.arange(COVERING)
    return [
        lambda logs: _false_differences(logs, signs),
        lambda logs: _coverage(logs, any_five),
        lambda logs: _coverage(logs, in_a_row),
    ]


@lru_cache(maxsize=8)
def _ideal_ranges(count: int) -> list[Interval]:
    series = np.random.default_rng(1).standard_normal((_IDEAL_SERIES, count))
    ranges = []
    for share in _shares(count):
        # In parts, because all comparisons of all series together need a lot of memory.
        found = np.concatenate([share(part) for part in np.array_split(series, 20)])
        ranges.append((float(found.min()), float(found.max())))
    return ranges


def differences(logs: Series) -> Series:
    """log B - log A, if each four successive repeats (last axis) were A, B, B, A."""
    return (logs[..., 1:-2] + logs[..., 2:-1] - logs[..., :-3] - logs[..., 3:]) / 2


def _half_width(logs: Series) -> float:
    """The mean of the differences is known to be 0."""
    deviation = math.sqrt(float(np.square(differences(logs)).mean()))
    return math.expm1(student_t(ROUNDS - 1) * deviation / math.sqrt(ROUNDS))


def _false_differences(logs: Series, signs: Series) -> Series:
    """The share of comparisons in which Student's t test of paired rounds finds a difference.

    Each row of `signs` makes another comparison: +1 if a round is A, B, B, A, and -1 if it is B, A,
    A, B. The rounds begin at the first, second, third or fourth repeat.
    """
    found = []
    for first in range(PER_ROUND):
        rounds = differences(logs)[..., first::PER_ROUND]
        count = rounds.shape[-1]
        signed = rounds[..., None, :] * signs[:, :count]
        error = signed.std(axis=-1, ddof=1) / math.sqrt(count)
        limit = student_t(count - 1, 1 - LEVEL)
        found.append((np.abs(signed.mean(axis=-1)) > limit * error).mean(axis=-1))
    share: Series = np.mean(found, axis=0)
    return share


def _coverage(logs: Series, chosen: NDArray[np.intp]) -> Series:
    """The share of intervals of five repeats that contain the mean of all other repeats.

    That mean has an error of its own. So the interval is that of a difference of two means: it is
    wider by sqrt(1 + 5 / others), and for ideal repeats its coverage is 95% exactly.
    """
    size = chosen.shape[-1]
    others = logs.shape[-1] - size
    five = logs[..., chosen]
    mean_of_others = (logs.sum(axis=-1)[..., None] - five.sum(axis=-1)) / others
    error = five.std(axis=-1, ddof=1) * math.sqrt(1 / size + 1 / others)
    inside = np.abs(five.mean(axis=-1) - mean_of_others) <= student_t(size - 1) * error
    share: Series = inside.mean(axis=-1)
    return share


def _claimed(figures: Sequence[float], intervals: Sequence[Interval | None]) -> float | None:
    known = [
        (figure, interval)
        for figure, interval in zip(figures, intervals, strict=True)
        if interval is not None
    ]
    claims = [claims_difference(*a, *b) for a, b in itertools.combinations(known, 2)]
    return sum(claims) / len(claims) if claims else None


def claims_difference(a: float, a_interval: Interval, b: float, b_interval: Interval) -> bool:
    """Whether the 95% interval of b - a excludes zero, if chance inside the two runs were all.

    It follows from the intervals of both: Zou and Donner, Statistics in Medicine 27(10), 2008.
    """
    if a > b:
        a, a_interval, b, b_interval = b, b_interval, a, a_interval
    return b - a > math.hypot(a_interval[1] - a, b - b_interval[0])
