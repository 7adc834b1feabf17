"""Estimates of a ratio from repeats, and the answers to them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from gpubench.statistics.comparison import (
    Estimate,
    Observation,
    answers,
    holm,
    paired,
    unpaired,
)

A = [100.0, 103.0, 98.0, 101.0, 99.0]
B = [110.0, 114.0, 107.0, 112.0, 108.0]


def one_a_round(a: list[float], b: list[float]) -> Estimate:
    estimate = paired([([x], [y]) for x, y in zip(a, b, strict=True)])
    assert estimate is not None
    return estimate


def series(a: list[float], b: list[float], spread: float | None = None) -> Estimate:
    estimate = unpaired([Observation(x) for x in a], [Observation(y) for y in b], spread)
    assert estimate is not None
    return estimate


def around(figure: float, share: float) -> Observation:
    return Observation(figure, (figure / (1 + share), figure * (1 + share)))


def test_paired_rounds_are_students_test_of_the_logarithms() -> None:
    estimate = one_a_round(A, B)
    expected = scipy.stats.ttest_rel(np.log(B), np.log(A))
    assert estimate.p_difference() == pytest.approx(expected.pvalue)
    assert np.log(estimate.interval()) == pytest.approx([*expected.confidence_interval()])
    assert (estimate.method, estimate.rounds) == ("paired", 5)


def test_several_repeats_in_a_round_are_averaged_first() -> None:
    estimate = paired([([a, a * 1.1], [b * 1.1, b]) for a, b in zip(A, B, strict=True)])
    assert estimate is not None
    assert estimate.dof == 4
    assert estimate.log_ratio == pytest.approx(one_a_round(A, B).log_ratio)
    assert estimate.standard_error == pytest.approx(one_a_round(A, B).standard_error)


def test_what_a_round_does_to_both_sides_cancels() -> None:
    rounds = [1.0, 1.5, 0.7, 1.2, 0.9]
    shaken = one_a_round(
        [a * r for a, r in zip(A, rounds, strict=True)],
        [b * r for b, r in zip(B, rounds, strict=True)],
    )
    assert shaken.standard_error == pytest.approx(one_a_round(A, B).standard_error)


def test_two_series_are_welchs_test_and_the_stated_spread() -> None:
    tiny = series(A, B, 1e-9)
    expected = scipy.stats.ttest_ind(np.log(B), np.log(A), equal_var=False)
    assert tiny.p_difference() == pytest.approx(expected.pvalue, rel=1e-6)
    assert tiny.dof == pytest.approx(expected.df, rel=1e-6)
    wide = series(A, B, 0.05)
    assert wide.standard_error == pytest.approx(
        math.hypot(tiny.standard_error, 0.05 * math.sqrt(2))
    )
    assert wide.dof > 50  # nearly all of the variance is stated and not estimated


def test_two_series_have_a_spread_of_two_percent_unless_another_is_stated() -> None:
    assert series(A, B).standard_error == series(A, B, 0.02).standard_error
    assert series(A, B).method == "series"


def test_single_runs_have_an_estimate_only_with_a_stated_spread() -> None:
    a, b = [around(100, 0.01)], [around(120, 0.01)]
    assert unpaired(a, b) is None
    estimate = unpaired(a, b, 0.02)
    assert estimate is not None
    assert (estimate.method, estimate.dof) == ("single", math.inf)
    inside = math.log(1.01) / scipy.stats.norm.ppf(0.975)
    assert estimate.standard_error == pytest.approx(math.sqrt(2 * (inside**2 + 0.02**2)))
    assert unpaired([Observation(100)], b, 0.02) is None  # without an interval
    assert unpaired([Observation(100, (0.0, 200.0))], b, 0.02) is None


def test_two_rounds_are_too_few() -> None:
    assert paired([([1.0], [2.0])] * 2) is None
    assert paired([([1.0], [2.0])] * 3) is not None


def test_without_any_spread_the_answers_are_certain() -> None:
    same, apart = one_a_round([5.0] * 3, [5.0] * 3), one_a_round([5.0] * 3, [6.0] * 3)
    assert same.interval() == (1.0, 1.0)
    assert [answer.kind for answer in answers([same, apart])] == ["equivalent", "higher"]
    assert same.p_above(1.0) == 0.5
    assert (apart.p_above(1.05), apart.p_below(1.05)) == (0.0, 1.0)


def test_two_one_sided_tests_are_the_90_percent_interval_inside_the_margin() -> None:
    for width in (0.004, 0.008, 0.009, 0.0095, 0.011, 0.02):
        estimate = Estimate(0.005, width, 9, "paired", 10)
        low, high = estimate.interval(0.90)
        is_inside = low > 1 / 1.02 and high < 1.02
        assert (estimate.p_equivalence(0.02) <= 0.05) == is_inside


def test_equivalent_is_preferred_to_a_small_and_certain_difference() -> None:
    small = Estimate(math.log(1.01), 0.001, 9, "paired", 10)
    (answer,) = answers([small])
    assert answer.p_difference < 1e-5
    assert answer.kind == "equivalent"
    (strict,) = answers([small], within=0.005)
    assert strict.kind == "higher"


def test_holm_gives_the_same_as_stepping_down_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_differences_are_corrected_for_the_number_of_comparisons() -> None:
    likely = Estimate(0.05, 0.02, 100, "paired", 101)  # p = 0.014
    assert answers([likely])[0].kind == "higher"
    assert {answer.kind for answer in answers([likely] * 4)} == {"undecided"}


def test_one_sided_bounds_agree_with_the_one_sided_test() -> None:
    estimate = one_a_round(A, B)
    at_least, at_most = estimate.bounds()
    assert estimate.p_above(at_least) == pytest.approx(0.05)
    assert estimate.p_below(at_most) == pytest.approx(0.05)


def test_the_proposed_rounds_would_decide_in_four_of_five_cases() -> None:
    estimate = Estimate(0.03, 0.02 * math.sqrt(2 / 5), 4, "paired", 5)
    (answer,) = answers([estimate])
    assert answer.kind == "undecided"
    assert answer.more_rounds is not None
    # Such a design has a power of 84% with 10 rounds: see test_comparison_simulated.py.
    assert answer.more_rounds == pytest.approx(5, abs=1)
    later = estimate.with_rounds(5 + answer.more_rounds)
    assert answers([later])[0].kind == "higher"


def test_rounds_without_end_are_not_proposed() -> None:
    on_the_margin = Estimate(math.log(1.02), 0.02, 4, "paired", 5)
    assert answers([on_the_margin])[0].more_rounds is not None  # the difference itself is found
    tiny = Estimate(math.log(1.0201), 0.9, 4, "paired", 5)
    assert answers([tiny])[0].more_rounds is None


def test_more_repeats_do_not_reduce_what_differs_between_two_series() -> None:
    close = series(A, [a * 1.03 for a in A])
    (answer,) = answers([close])
    assert (answer.kind, answer.more_rounds) == ("undecided", None)
    shaken = series([90.0, 110.0, 95.0], [118.0, 103.0, 128.0])
    (answer,) = answers([shaken])
    assert answer.kind == "undecided"
    assert answer.more_rounds is not None


def test_far_ratios_stay_finite() -> None:
    estimate = one_a_round([1e-300] * 3, [1e300, 1e299, 1e298])
    assert math.isfinite(estimate.ratio)
    assert all(map(math.isfinite, estimate.interval()))
