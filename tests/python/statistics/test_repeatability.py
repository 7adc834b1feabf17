"""What the repeats of one thing say about comparisons, for repeats whose truth is known."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest
from numpy.typing import NDArray

from gpubench.statistics.comparison import LEVEL, paired
from gpubench.statistics.repeatability import (
    LEAST,
    Repeatability,
    Share,
    _false_differences,
    claims_difference,
    differences,
    repeatability,
)
from gpubench.statistics.student import student_t

COUNT = 40
SPREAD = 0.02


def noise(seed: int, count: int = COUNT) -> NDArray[np.float64]:
    return SPREAD * np.random.default_rng(seed).standard_normal(count)


def of(logs: NDArray[np.float64], half_interval: float = 0.001) -> Repeatability:
    figures = [100 * math.exp(each) for each in logs]
    intervals = [(f * (1 - half_interval), f * (1 + half_interval)) for f in figures]
    return repeatability(figures, intervals)


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def test_independent_repeats() -> None:
    found = [of(logs) for logs in noise(9, 100 * COUNT).reshape(100, COUNT)]
    assert mean([each.figure for each in found]) == pytest.approx(100, rel=0.002)
    assert mean([each.spread for each in found]) == pytest.approx(SPREAD, rel=0.05)
    # A and B are the means of two repeats in each of ten rounds.
    half_width = math.expm1(student_t(9) * SPREAD / math.sqrt(10))
    assert mean([each.half_width for each in found]) == pytest.approx(half_width, rel=0.05)
    for shares, truth in (
        ([each.false_differences for each in found], LEVEL),
        ([each.coverage for each in found], 0.95),
        ([each.coverage_in_a_row for each in found], 0.95),
    ):
        assert mean([each.share for each in shares]) == pytest.approx(truth, abs=0.01)
        assert not any(each.is_above or each.is_below for each in shares)


def test_intervals_inside_runs_that_are_too_narrow_claim_differences() -> None:
    """Two figures differ by more than 0.14% almost always, if the spread is 2%."""
    claimed = of(noise(0)).claimed_by_single_runs
    assert claimed is not None
    assert claimed > 0.9
    as_wide = of(noise(0), half_interval=1.96 * SPREAD).claimed_by_single_runs
    assert as_wide is not None
    assert as_wide < 0.1


def test_without_intervals_inside_runs_nothing_is_claimed() -> None:
    assert repeatability([1.0, 2.0] * 10, [None] * 20).claimed_by_single_runs is None


def test_slow_drift_makes_intervals_of_neighbours_too_narrow_and_cancels_in_comparisons() -> None:
    drift = np.linspace(0, 10 * SPREAD, COUNT)
    steady, drifting = of(noise(1)), of(noise(1) + drift)
    assert drifting.coverage_in_a_row.is_below
    assert not steady.coverage_in_a_row.is_below
    assert drifting.half_width == pytest.approx(steady.half_width, rel=1e-6)
    assert drifting.spread > 2 * steady.spread


def test_the_test_is_that_of_the_comparison() -> None:
    logs = noise(5)
    signs = np.array([[1.0, -1, -1, 1, 1, 1, -1, 1, -1, -1]])
    calls = []
    for first in range(4):
        rounds = []
        for number, begin in enumerate(range(first, COUNT - 3, 4)):
            one, two, three, four = (math.exp(each) for each in logs[begin : begin + 4])
            sides = ([one, four], [two, three])
            rounds.append(sides if signs[0, number] > 0 else sides[::-1])
        estimate = paired(rounds)
        assert estimate is not None
        calls.append(estimate.p_difference() <= LEVEL)
    assert float(_false_differences(logs, signs)) == mean([float(each) for each in calls])


def test_differences_cancel_a_steady_drift() -> None:
    assert differences(np.arange(8.0)) == pytest.approx(np.zeros(5))
    assert differences(np.array([0.0, 1.0, 1.0, 0.0])) == pytest.approx([1.0])


def test_equal_figures_have_no_spread_and_no_differences() -> None:
    found = of(np.zeros(COUNT))
    assert (found.spread, found.half_width, found.false_differences.share) == (0, 0, 0)
    assert found.coverage.share == 1


def test_too_few_repeats_say_nothing() -> None:
    with pytest.raises(ValueError, match="19 repeats are too few"):
        repeatability([1.0] * (LEAST - 1), [None] * (LEAST - 1))


def test_a_share_is_compared_with_its_range() -> None:
    inside, above = Share(0.05, (0.02, 0.08)), Share(0.09, (0.02, 0.08))
    assert (inside.is_below, inside.is_above) == (False, False)
    assert (above.is_below, above.is_above) == (False, True)


def test_the_same_repeats_give_the_same_figures() -> None:
    assert asdict(of(noise(3))) == asdict(of(noise(3)))


def test_claims_need_intervals_that_are_apart() -> None:
    assert claims_difference(1.0, (0.9, 1.1), 2.0, (1.9, 2.1))
    assert claims_difference(2.0, (1.9, 2.1), 1.0, (0.9, 1.1))
    assert not claims_difference(1.0, (0.9, 1.1), 1.1, (1.0, 1.2))
    # Zou and Donner: 0.15 apart is more than sqrt(0.1^2 + 0.1^2), although the intervals overlap.
    assert claims_difference(1.0, (0.9, 1.1), 1.15, (1.05, 1.25))
