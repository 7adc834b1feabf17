"""Metrics against figures computed by hand, and how often the intervals hold the true value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from gpubench.results.result import Interval
from gpubench.statistics.accuracy import (
    IGNORED,
    NO_ANSWER,
    AccuracyMetric,
    Scores,
    drop_interval,
    interval,
    samples_to_decide,
    scores,
)

Integers = NDArray[np.int64]
Coverage = tuple[float, float]  # how often the interval of the accuracy, and of the drop, is right


def integers(*values: object) -> Integers:
    return np.array(values, np.int64)


def of_classes(
    metric: AccuracyMetric, labels: Integers, answers: Integers, classes: int | None = None
) -> Scores:
    return scores(metric, labels, answers, spans=False, classes=classes)


def of_spans(metric: AccuracyMetric, labels: Integers, answers: Integers) -> float:
    return scores(metric, labels, answers, spans=True, classes=None).mean


def f1_of(label: int, labels: Integers, answers: Integers) -> float:
    """From the definition, with precision and recall."""
    right = int(((labels == label) & (answers == label)).sum())
    if right == 0:
        return 0.0
    precision, recall = right / (answers == label).sum(), right / (labels == label).sum()
    return float(2 * precision * recall / (precision + recall))


def test_top1_is_the_share_of_right_answers() -> None:
    labels, answers = integers(0, 1, 2, 2, 1), integers(0, 1, 2, 0, NO_ANSWER)
    assert of_classes("top1", labels, answers).mean == pytest.approx(3 / 5)


def test_exact_match_needs_both_ends_of_a_span() -> None:
    labels = integers((0, 3), (2, 2), (4, 6), (1, 5))
    answers = integers((0, 3), (2, 3), (3, 6), (1, 5))
    assert of_spans("exact-match", labels, answers) == pytest.approx(2 / 4)


def test_exact_match_of_a_list_leaves_out_ignored_places() -> None:
    labels = integers((1, 2, IGNORED), (1, 2, 3), (IGNORED, IGNORED, 3))
    answers = integers((1, 2, 9), (1, 2, 9), (7, 8, 3))
    assert of_classes("exact-match", labels, answers).mean == pytest.approx(2 / 3)


def test_f1_of_two_classes_is_that_of_class_1() -> None:
    labels, answers = integers(1, 1, 1, 0, 0, 0, 0), integers(1, 1, 0, 1, 0, 0, 0)
    found = of_classes("f1", labels, answers, classes=2)
    assert found.mean == pytest.approx(2 / 3)  # precision 2/3, recall 2/3
    assert of_classes("f1", labels, answers, classes=None).mean == pytest.approx(2 / 3)


def test_f1_of_more_classes_is_the_mean_over_the_classes_that_occur() -> None:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 4, 300)
    answers = np.where(generator.random(300) < 0.6, labels, generator.integers(0, 9, 300))
    answers[:5] = NO_ANSWER
    expected = np.mean([f1_of(label, labels, answers) for label in range(4)])
    assert of_classes("f1", labels, answers, classes=9).mean == pytest.approx(expected)


def test_f1_without_a_sample_of_class_1_is_not_defined() -> None:
    with pytest.raises(ValueError, match="no sample has the label 1"):
        of_classes("f1", integers(0, 0), integers(0, 1), classes=2)


def test_f1_of_lists_is_refused() -> None:
    with pytest.raises(ValueError, match="f1 needs one class"):
        of_classes("f1", integers((0, 1)), integers((0, 1)))


@pytest.mark.parametrize(
    ("label", "answer", "expected"),
    [
        ((3, 5), (3, 5), 1.0),
        ((3, 5), (4, 7), 2 * 2 / (3 + 4)),
        ((3, 5), (0, 9), 2 * 3 / (3 + 10)),
        ((3, 5), (6, 8), 0.0),
        ((3, 5), (5, 3), 0.0),  # it ends before it starts
        ((0, 0), (0, 0), 1.0),
        ((0, 0), (NO_ANSWER, NO_ANSWER), 0.0),
        ((0, 0), (NO_ANSWER, 0), 0.0),
    ],
)
def test_f1_of_a_span(label: tuple[int, int], answer: tuple[int, int], expected: float) -> None:
    assert of_spans("f1", integers(label), integers(answer)) == pytest.approx(expected)


def test_the_scores_of_f1_say_what_each_sample_changes() -> None:
    """Their differences are those that F1 itself has when one sample is added."""
    generator = np.random.default_rng(2)
    labels = generator.integers(0, 3, 5000)
    answers = np.where(generator.random(5000) < 0.7, labels, generator.integers(0, 3, 5000))
    found = of_classes("f1", labels, answers, classes=3)
    for sample in range(10):
        more_labels, more_answers = (np.append(each, each[sample]) for each in (labels, answers))
        change = of_classes("f1", more_labels, more_answers, classes=3).mean - found.mean
        assert change * 5001 == pytest.approx(found.each[sample] - found.mean, rel=1e-3)


def test_the_interval_of_a_share_is_wilsons() -> None:
    """8 of 10: the figures of Brown, Cai and DasGupta's formula, computed by hand."""
    low, high = interval(of_classes("top1", np.zeros(10, np.int64), integers(*[0] * 8, 1, 1)))
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_the_interval_of_the_drop_is_that_of_bonett_and_price() -> None:
    """n = 100; the reference alone is right on 8, the engine alone on 3."""
    labels = np.zeros(100, np.int64)
    reference, engine = labels.copy(), labels.copy()
    engine[:8] = 1
    reference[8:11] = 1
    p12, p21 = 9 / 102, 4 / 102
    half = 1.959964 * np.sqrt((p12 + p21 - (p12 - p21) ** 2) / 102)
    found = drop_interval(of_classes("top1", labels, reference), of_classes("top1", labels, engine))
    assert found == pytest.approx((p12 - p21 - half, p12 - p21 + half), abs=1e-6)


def test_the_drop_has_an_interval_if_no_answer_differs() -> None:
    same = of_classes("top1", np.zeros(500, np.int64), np.zeros(500, np.int64))
    low, high = drop_interval(same, same)
    assert -0.01 < low < 0 < high < 0.01


def test_a_sample_alone_has_an_interval() -> None:
    one = of_classes("top1", integers(0), integers(0))
    assert interval(one)[1] == pytest.approx(1.0)
    assert drop_interval(one, one)[0] < 0 < drop_interval(one, one)[1]


@pytest.mark.parametrize("drop", [0.0, 0.03])
def test_with_so_many_samples_it_is_usually_decided(drop: float) -> None:
    """The number that samples_to_decide gives is enough in about 80% of all cases."""
    most, count = 0.015, 300

    def found(worse: int, better: int, of: int) -> Interval:
        gain = np.repeat([-1.0, 1.0, 0.0], [worse, better, of - worse - better])
        return drop_interval(Scores(np.zeros(of), True), Scores(gain, True))

    within = found(round(count * (0.02 + drop)), round(count * 0.02), count)
    needed = samples_to_decide(drop, within, most, count)
    assert needed is not None
    assert needed > count
    shares = [0.02 + drop, 0.02, 0.96 - drop]
    drawn = np.random.default_rng(3).multinomial(needed, shares, 400)
    ends = [found(worse, better, needed) for worse, better, _ in drawn]
    assert 0.7 < np.mean([not low <= most <= high for low, high in ends]) < 0.9


@pytest.mark.parametrize("samples", [20, 133, 275])
def test_276_samples_without_a_difference_are_enough_for_1_percent(samples: int) -> None:
    def same(count: int) -> Interval:
        return drop_interval(Scores(np.ones(count), True), Scores(np.ones(count), True))

    assert same(275)[1] > 0.01 > same(276)[1]
    assert samples_to_decide(0.0, same(samples), 0.01, samples) == 280


def test_a_drop_at_the_limit_cannot_be_decided() -> None:
    assert samples_to_decide(0.01, (0.0, 0.02), 0.01, 1000) is None


RUNS = 2000


def held(runs: Iterable[tuple[Scores, Scores, int]], value: float, drop: float) -> Coverage:
    """How often the intervals hold these. A run: (of the reference, of the engine, how often)."""
    total, of_value, of_drop = 0, 0, 0
    for expected, found, times in runs:
        total += times
        low, high = interval(found)
        of_value += times * (low <= value <= high)
        low, high = drop_interval(expected, found)
        of_drop += times * (low <= drop <= high)
    return of_value / total, of_drop / total


def coverage_of_shares(count: int, accuracy: float, lost: float, gained: float) -> Coverage:
    """`lost`: the share of samples that only the engine has wrong; `gained`: only the reference."""
    shares = [accuracy - lost, lost, gained, 1 - accuracy - gained]
    drawn = np.random.default_rng(4).multinomial(count, shares, RUNS)
    kinds, times = np.unique(drawn, axis=0, return_counts=True)
    runs = (
        (Scores(np.repeat([1.0, 1, 0, 0], row), True), Scores(np.repeat([1.0, 0, 1, 0], row), True))
        for row in kinds
    )
    of_each = ((*both, int(often)) for both, often in zip(runs, times, strict=True))
    return held(of_each, accuracy - lost + gained, lost - gained)


def coverage_of_f1(count: int, classes: Sequence[float], right: float, same: float) -> Coverage:
    """Of `classes`, with these shares. The other answers, and those that differ, are at random."""
    generator = np.random.default_rng(5)
    labels = generator.choice(len(classes), 20_000, p=classes)
    guesses = generator.integers(0, len(classes), (2, len(labels)))
    reference = np.where(generator.random(len(labels)) < right, labels, guesses[0])
    engine = np.where(generator.random(len(labels)) < same, reference, guesses[1])

    def f1(rows: Integers) -> tuple[Scores, Scores]:
        given = (reference[rows], engine[rows])
        expected, found = (of_classes("f1", labels[rows], each, len(classes)) for each in given)
        return expected, found

    expected, found = f1(np.arange(len(labels)))
    runs = ((*f1(generator.integers(0, len(labels), count)), 1) for _ in range(RUNS // 2))
    return held(runs, found.mean, expected.mean - found.mean)


@pytest.mark.parametrize(
    "case", [(100, 0.8, 0.05, 0.02), (400, 0.95, 0.01, 0.01), (1000, 0.76, 0.03, 0.01)]
)
def test_the_intervals_hold_the_true_value(case: tuple[int, float, float, float]) -> None:
    of_value, of_drop = coverage_of_shares(*case)
    assert 0.93 < of_value < 0.98
    assert 0.94 < of_drop < 0.99


F1_CASES: Sequence[tuple[int, Sequence[float], float, float]] = (
    (200, (0.5, 0.5), 0.8, 0.95),
    (400, (0.2, 0.2, 0.2, 0.2, 0.2), 0.7, 0.95),
    (1000, (0.97, 0.03), 0.98, 0.99),
    (1000, (0.5, 0.3, 0.15, 0.04, 0.01), 0.98, 0.998),
)


@pytest.mark.parametrize("case", F1_CASES)
def test_the_intervals_of_f1_hold_the_true_value(
    case: tuple[int, Sequence[float], float, float],
) -> None:
    of_value, of_drop = coverage_of_f1(*case)
    assert 0.93 < of_value < 0.995
    assert of_drop > 0.94


def test_the_intervals_of_f1_are_those_of_a_share_of_the_samples_of_a_rare_class() -> None:
    """All right, 10 samples of class 1 among 1000: one mistake more would cost 1/20 of F1."""
    labels = np.repeat([0, 1], [990, 10])
    found = of_classes("f1", labels, labels, 2)
    half = 1.959964 * 2**0.5 * 50 / 1002
    assert drop_interval(found, found) == pytest.approx((-half, half), rel=1e-5)
    assert 0.7 < interval(found)[0] < 0.85


def test_f1_takes_any_integers_as_answers() -> None:
    labels, answers = integers(0, 1, 10**12, 1), integers(-7, 1, 10**12, 2**62)
    found = of_classes("f1", labels, answers)
    assert found.mean == pytest.approx((0 + 2 / 3 + 1) / 3)
