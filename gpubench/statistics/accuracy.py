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
        return Scores(_class_f1(labels, answers, classes), of_right_answers=False)
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


def _class_f1(labels: Answers, answers: Answers, classes: int | None) -> NDArray[np.float64]:
    """Two classes: F1 of class 1. More: the mean of the F1 of each class that occurs as a label."""
    present = np.unique(labels)
    if classes == 2 or (classes is None and present.max() <= _POSITIVE):
        if _POSITIVE not in present:
            raise ValueError("no sample has the label 1, so f1 is not defined; add such samples")
        present = np.array([_POSITIVE])
    count = len(labels)
    right = labels == answers
    most = 1 + int(max(labels.max(), answers.max(), 0))
    hits = np.bincount(labels[right], minlength=most)[present]
    given = np.bincount(answers[answers >= 0], minlength=most)[present]
    sizes = (np.bincount(labels, minlength=most)[present] + given) / count  # mean of 2 TP + FP + FN
    each = 2 * hits / count / sizes
    # What a sample adds for its label, and for the class of its answer. Classes that no label has
    # are not averaged.
    for_label, for_answer = np.zeros(most), np.zeros(most)
    for_label[present] = for_answer[present] = -each / sizes / len(present)
    for_right = np.zeros(most)
    for_right[present] = 2 / sizes / len(present)
    change = for_label[labels] + np.where(answers >= 0, for_answer[answers], 0.0)
    change += np.where(right, for_right[labels], 0.0)
    return np.asarray(each.mean() + change, np.float64)


def interval(found: Scores) -> Interval:
    """The 95% interval of the metric, within 0 and 1."""
    count = len(found.each)
    if found.of_right_answers:
        share, weight = found.mean, _Z * _Z / count
        centre = (share + weight / 2) / (1 + weight)
        half = math.sqrt(weight * share * (1 - share) + weight * weight / 4) / (1 + weight)
    else:
        centre, half = _wald(np.append(found.each, [0.0, 0.0, 1.0, 1.0]))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return min(low, found.mean), max(high, found.mean)  # they may differ by rounding


def drop_interval(reference: Scores, found: Scores) -> Interval:
    """The 95% interval of the drop: the metric of `reference` less that of `found`."""
    centre, half = _wald(np.append(reference.each - found.each, [1.0, -1.0]))
    return centre - half, centre + half


def _wald(values: NDArray[np.float64]) -> tuple[float, float]:
    """(mean, half of its 95% interval)."""
    return float(values.mean()), _Z * float(values.std()) / math.sqrt(len(values))


def samples_to_decide(drop: float, within: Interval, most: float, samples: int) -> int | None:
    """How many samples will probably show whether a drop is larger than `most`, if it stays.

    The distance from the drop to the ends of its interval `within` falls with the root of the
    number of samples. With this many, the interval is clear of `most` in 80% of all cases. None:
    the drop is so close to `most` that no number is useful.
    """
    distance = abs(drop - most)
    half = drop - within[0] if drop > most else within[1] - drop
    if distance * _MOST_USEFUL <= half:
        return None
    needed = samples * _FOR_80_PERCENT * (half / distance) ** 2
    unit = int(10 ** max(0, math.floor(math.log10(max(needed, 1))) - 1))
    return math.ceil(needed / unit) * unit


_FOR_80_PERCENT = ((_Z + NormalDist().inv_cdf(0.8)) / _Z) ** 2
_MOST_USEFUL = 30  # more than 30**2 times as many samples is no advice
