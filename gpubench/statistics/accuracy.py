"""Accuracy on labelled samples, its drop from the fp32 model, and the intervals of both.

Every metric is the mean of one score a sample, so one method gives the intervals of all of them:

- `top1` and `exact-match`: the score is 1 if the answer is right, otherwise 0.
- `f1` of spans: the score is the F1 of the positions that the answer and the label have in common.
- `f1` of classes: F1 = 2 TP / (2 TP + FP + FN) is a ratio of two means. The score of a sample is F1
  plus the first-order change of F1 that the sample causes (delta method). See K. Takahashi, K.
  Yamamoto, A. Kuchiba and T. Koyama, "Confidence interval for micro-averaged F1 and macro-averaged
  F1 scores", Applied Intelligence 52 (2022), https://doi.org/10.1007/s10489-021-02635-5.

Interval of a share of right answers: E. Wilson, "Probable inference, the law of succession, and
statistical inference", JASA 22 (1927). Interval of F1: the scores with two zeros and two ones
added, after A. Agresti and B. Coull, "Approximate is better than 'exact' for interval estimation of
binomial proportions", The American Statistician 52 (1998).

The engine and the fp32 model answer the same samples, so only the samples on which they differ say
anything about the drop. Its interval is that of the mean of the differences, with one difference of
+1 and one of -1 added: D. Bonett and R. Price, "Adjusted Wald confidence interval for a difference
of binomial proportions based on paired data", Journal of Educational and Behavioral Statistics 37
(2012), https://doi.org/10.3102/1076998611411915. So the interval has a width even if the two differ
on no sample.

Shapes: `labels` and `answers` are int64 arrays. They have the shape (samples,) for classes,
(samples, 2) for the start and the end of spans, and (samples, length) for sequences. An answer of
`NO_ANSWER` is always wrong. A label of `IGNORED` in a sequence is not compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gpubench.results.result import Interval

AccuracyMetric = Literal["top1", "f1", "exact-match"]
Answers = NDArray[np.int64]

NO_ANSWER = -1
IGNORED = -100  # as in torch.nn.CrossEntropyLoss

_Z = NormalDist().inv_cdf(0.975)
_POSITIVE = 1


@dataclass(frozen=True)
class Scores:
    """One score for each sample. The metric is their mean."""

    each: NDArray[np.float64]
    of_right_answers: bool  # each score is 0 or 1
    # The difference between a right and a wrong sample among those that the intervals add. It is 1
    # for a share. For the F1 of classes it follows from the rarest class: if only 10 of 1000
    # samples are of class 1, one of them changes F1 as much as 50 samples change a share.
    added: float = 1.0

    @property
    def mean(self) -> float:
        return float(self.each.mean())


def scores(
    metric: AccuracyMetric, labels: Answers, answers: Answers, *, spans: bool, classes: int | None
) -> Scores:
    """The scores of `answers`. `classes` is how many classes the model has; None: unknown.

    Raises ValueError, one line, if the metric is not defined for these labels.
    """
    if metric == "f1":
        if spans:
            return Scores(_span_f1(labels, answers), of_right_answers=False)
        if labels.ndim > 1:
            raise ValueError("f1 needs one class for each sample, or a start and an end")
        return _class_f1(labels, answers, classes)
    right = answers == labels
    if right.ndim > 1:
        right |= (labels == IGNORED) & (not spans)
        right = right.all(axis=1)
    return Scores(right.astype(np.float64), of_right_answers=True)


def _span_f1(labels: Answers, answers: Answers) -> NDArray[np.float64]:
    """F1 of the positions from start to end, both included. 0 if the answer ends before it starts.

    It is the F1 of SQuAD, with positions in place of words: https://aclanthology.org/D16-1264.
    """
    (label_start, label_end), (start, end) = labels.T, answers.T
    common = np.minimum(label_end, end) - np.maximum(label_start, start) + 1
    lengths = (label_end - label_start + 1) + (end - start + 1)
    valid = (start >= 0) & (end >= start) & (common > 0)
    return np.where(valid, 2 * common / np.maximum(lengths, 1), 0.0)


def _class_f1(labels: Answers, answers: Answers, classes: int | None) -> Scores:
    """Two classes: F1 of class 1. More: the mean of the F1 of each class that occurs as a label."""
    count = len(labels)
    present, places, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    is_binary = classes == 2 or (classes is None and present[-1] <= _POSITIVE)
    # Place of the class of each answer in `present`. The last place is for all other answers.
    other = len(present)
    found = np.searchsorted(present, answers).clip(max=other - 1)
    found = np.where(present[found] == answers, found, other)
    averaged = np.append(present == _POSITIVE if is_binary else present >= 0, False)
    if not averaged.any():
        raise ValueError("no sample has the label 1, so f1 is not defined; add such samples")
    right = places == found
    hits = np.bincount(places[right], minlength=other + 1)
    sizes = np.append(sizes, 0)
    means = (sizes + np.bincount(found, minlength=other + 1)) / count  # of 2 TP + FP + FN
    means = np.where(averaged, means, np.inf)  # F1 of the classes that are not averaged: 0
    each = 2 * hits / count / means
    # What a sample adds for its label and for the class of its answer, and if the two are the same.
    number = averaged.sum()
    change = -(each / means)[places] - (each / means)[found] + np.where(right, 2 / means[places], 0)
    return Scores(
        each.sum() / number + change / number,
        of_right_answers=False,
        added=count / (2 if is_binary else number) / sizes[averaged].min(),
    )


def interval(found: Scores) -> Interval:
    """The 95% interval of the metric, within 0 and 1."""
    count = len(found.each)
    if found.of_right_answers:
        share, weight = found.mean, _Z * _Z / count
        centre = (share + weight / 2) / (1 + weight)
        half = math.sqrt(weight * share * (1 - share) + weight * weight / 4) / (1 + weight)
    else:
        two = [found.mean * (1 - found.added)] * 2  # as far from the mean as 0 and 1, or further
        centre, half = _wald(np.append(found.each, [*two, *(each + found.added for each in two)]))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return min(low, found.mean), max(high, found.mean)  # they may differ by rounding


def drop_interval(reference: Scores, found: Scores) -> Interval:
    """The 95% interval of the drop: the metric of `reference` less that of `found`."""
    added = reference.added  # the same as that of `found`: it depends only on the labels
    centre, half = _wald(np.append(reference.each - found.each, [added, -added]))
    return centre - half, centre + half


def _wald(values: NDArray[np.float64]) -> tuple[float, float]:
    """(mean, half of its 95% interval)."""
    return float(values.mean()), _Z * float(values.std()) / math.sqrt(len(values))


def samples_to_decide(drop: float, within: Interval, most: float, samples: int) -> int | None:
    """How many samples will show in 80% of all cases whether a drop is above `most`, if it stays.

    `within` is its interval with so many `samples`. None: the drop is so close to `most` that no
    number is useful.
    """
    variance = max(0.0, ((within[1] - within[0]) / 2 / _Z * (samples + 2)) ** 2 - 2) / samples
    counts = samples * np.geomspace(1, _MOST_USEFUL, 2000)
    half = _Z * np.sqrt(variance * counts + 2) / (counts + 2)  # two differences are added
    enough = counts[abs(drop - most) - _Z_80 * np.sqrt(variance / counts) > half]
    if not len(enough):
        return None
    needed = float(enough[0])
    unit = int(10 ** max(0, math.floor(math.log10(needed)) - 1))
    return math.ceil(needed / unit) * unit


_Z_80 = NormalDist().inv_cdf(0.8)
_MOST_USEFUL = 1000  # more than so many times as many samples is no advice
