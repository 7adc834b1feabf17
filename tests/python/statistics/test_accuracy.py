"""Metrics against figures computed by hand, and how often the intervals hold the true value."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

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
    generator, most, count = np.random.default_rng(3), 0.015, 300
    right = np.zeros(count)
    worse, better = int(count * (0.02 + drop)), int(count * 0.02)
    engine = right.copy()
    engine[:worse], engine[worse : worse + better] = -1, 1
    within = drop_interval(Scores(right, True), Scores(engine, True))
    needed = samples_to_decide(drop, within, most, count)
    assert needed is not None
    assert needed > count

    def decides() -> bool:
        kinds = generator.random(needed)
        gain = np.where(kinds < 0.02 + drop, -1.0, np.where(kinds < 0.04 + drop, 1.0, 0.0))
        low, high = drop_interval(Scores(np.zeros(needed), True), Scores(gain, True))
        return not low <= most <= high

    assert 0.65 < np.mean([decides() for _ in range(400)]) < 0.95


def test_a_drop_at_the_limit_cannot_be_decided() -> None:
    assert samples_to_decide(0.01, (0.0, 0.02), 0.01, 1000) is None


# (samples, share of right answers of the reference, of samples that only the engine has wrong,
# and of samples that only the reference has wrong)
CASES = [
    (100, 0.8, 0.05, 0.02),
    (400, 0.95, 0.01, 0.01),
    (1000, 0.76, 0.03, 0.01),
    (200, 0.9, 0, 0),
]
RUNS = 2000


@pytest.mark.parametrize(("count", "accuracy", "lost", "gained"), CASES)
def test_the_intervals_hold_the_true_value(
    count: int, accuracy: float, lost: float, gained: float
) -> None:
    generator = np.random.default_rng(4)
    kinds = generator.random((RUNS, count))
    both = accuracy - lost
    reference = (kinds < accuracy).astype(float)
    engine = ((kinds < both) | (kinds > 1 - gained)).astype(float)
    value_held = drop_held = 0
    for ours, theirs in zip(engine, reference, strict=True):
        found, expected = Scores(ours, True), Scores(theirs, True)
        low, high = interval(found)
        value_held += low <= both + gained <= high
        low, high = drop_interval(expected, found)
        drop_held += low <= lost - gained <= high
    assert 0.93 < value_held / RUNS < 0.98
    assert 0.94 < drop_held / RUNS <= 1.0


@pytest.mark.parametrize(
    ("count", "classes", "right"), [(200, 2, 0.8), (400, 5, 0.7), (300, 3, 0.97)]
)
def test_the_intervals_of_f1_hold_the_true_value(count: int, classes: int, right: float) -> None:
    generator, runs = np.random.default_rng(5), 1000

    def answers_of(labels: Integers, share: float) -> Integers:
        other = generator.integers(0, classes, len(labels))
        return np.where(generator.random(len(labels)) < share, labels, other)

    def f1(labels: Integers, answers: Integers) -> Scores:
        return of_classes("f1", labels, answers, classes=classes)

    many = generator.integers(0, classes, 2_000_000)
    reference = answers_of(many, right)
    engine = np.where(generator.random(len(many)) < 0.95, reference, answers_of(many, 0.0))
    true_value = f1(many, engine).mean
    true_drop = f1(many, reference).mean - true_value
    value_held = drop_held = 0
    for _ in range(runs):
        rows = generator.integers(0, len(many), count)
        found, expected = f1(many[rows], engine[rows]), f1(many[rows], reference[rows])
        low, high = interval(found)
        value_held += low <= true_value <= high
        low, high = drop_interval(expected, found)
        drop_held += low <= true_drop <= high
    assert 0.925 < value_held / runs < 0.985
    assert 0.935 < drop_held / runs <= 1.0
