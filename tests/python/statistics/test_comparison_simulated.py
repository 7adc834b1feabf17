"""Rates of error of comparisons, in simulated machines whose true ratio is known.

docs/comparing.md has the figures of tests/benchmarks/comparison_accuracy.py, from more comparisons.
The limits here leave room for three standard errors of a rate.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from simulated_comparisons import (
    MACHINES,
    paired_rounds,
    rates,
    single_runs,
    steady,
    tables_with_a_difference,
    two_series,
)

RUNS = 1000


def above(rate: float, runs: int = RUNS) -> float:
    return rate + 3 * math.sqrt(rate * (1 - rate) / runs)


@pytest.mark.parametrize("repeats", [1, 2], ids=["one each", "ABBA"])
@pytest.mark.parametrize("rounds", [3, 10])
@pytest.mark.parametrize("machine", MACHINES)
def test_paired_rounds_call_5_of_100_equal_systems_different(
    machine: str, rounds: int, repeats: int
) -> None:
    rng = np.random.default_rng(1)
    made = rates(paired_rounds(rng, RUNS, rounds, MACHINES[machine], 0.02, repeats=repeats))
    assert made.different <= above(0.05)


@pytest.mark.parametrize("rounds", [5, 10])
@pytest.mark.parametrize("machine", MACHINES)
def test_the_interval_of_the_ratio_contains_it(machine: str, rounds: int) -> None:
    rng = np.random.default_rng(2)
    made = rates(paired_rounds(rng, RUNS, rounds, MACHINES[machine], 0.02, 1.2), 1.2)
    assert 0.92 <= made.covered <= 0.98


@pytest.mark.parametrize("between", [0.0, 0.01, 0.02])
def test_two_series_that_differ_by_the_stated_spread_are_not_called_different(
    between: float,
) -> None:
    made = rates(two_series(np.random.default_rng(3), RUNS, 5, 0.02, between))
    assert made.different <= above(0.05)


def test_two_series_that_differ_by_more_than_the_stated_spread_are() -> None:
    made = rates(two_series(np.random.default_rng(3), RUNS, 5, 0.02, 0.06))
    assert made.different > 0.2


@pytest.mark.parametrize("spread", [0.0, 0.02])
def test_single_runs_with_a_spread_stated_rightly(spread: float) -> None:
    made = rates(single_runs(np.random.default_rng(4), RUNS, 0.005, spread, 0.02))
    assert made.different <= above(0.05)


def test_a_table_of_equal_systems_has_any_difference_in_5_of_100_cases() -> None:
    estimates = paired_rounds(np.random.default_rng(5), 20 * 300, 5, steady, 0.03)
    assert tables_with_a_difference(estimates, 20) <= above(0.05, 300)


def test_a_difference_of_3_percent_is_found_in_10_rounds() -> None:
    rng = np.random.default_rng(6)
    simple = rates(paired_rounds(rng, RUNS, 10, steady, 0.02, 1.03), 1.03)
    assert simple.different == pytest.approx(0.84, abs=0.04)
    abba = rates(paired_rounds(rng, RUNS, 10, steady, 0.02, 1.03, repeats=2), 1.03)
    assert abba.different >= 0.95


@pytest.mark.parametrize("ratio", [1.02, 1 / 1.02])
def test_a_difference_as_large_as_the_margin_is_called_none_in_5_of_100_cases(
    ratio: float,
) -> None:
    made = rates(paired_rounds(np.random.default_rng(7), RUNS, 5, steady, 0.005, ratio), ratio)
    assert made.equivalent <= above(0.05)


def test_no_difference_is_called_so() -> None:
    made = rates(paired_rounds(np.random.default_rng(8), RUNS, 10, steady, 0.01))
    assert made.equivalent >= 0.95


def test_an_error_that_all_rounds_share_looks_like_a_difference() -> None:
    """Rounds do not show what a process decides once. So --fresh is recommended for comparisons."""
    rng = np.random.default_rng(9)
    made = rates(paired_rounds(rng, RUNS, 10, steady, 0.005, in_all_rounds=0.02))
    assert made.different > 0.2
