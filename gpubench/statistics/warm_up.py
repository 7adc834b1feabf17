"""Where a warm-up ended: the point from which the speed of a system no longer changes.

The series is the service times of the batches of a warm-up, in their order. (Where all workers are
busy, throughput is their number divided by the service time, so both settle together.) Two shapes
are compared with a constant speed:

- a step: the first n batches have another mean than the rest;
- a decay: the difference from the final mean falls exponentially. It has ended when it is
  LEAST_CHANGE of the final mean.

The shape with the smallest sum of squares is taken. It is a change if it is larger than chance
explains, where the error allows for autocorrelation, and larger than LEAST_CHANGE. What follows its
end is examined in the same way, since a step may be followed by a decay. The system has settled if
enough follows the last change. `tests/benchmarks/warm_up_accuracy.py` prints how often it is wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpubench.results.result import WarmUp
from gpubench.results.samples import Nanoseconds, Samples
from gpubench.statistics.intervals import degrees_of_freedom, effective_size
from gpubench.statistics.student import student_t

# Smaller relative differences of the mean service time do not count.
LEAST_CHANGE = 0.01
# At least so many batches must follow the last change.
LEAST_BATCHES = 30
# They must also be so many that a step of this size (relative) would have been found among them.
MOST_NOT_FOUND = 0.1
# With a smaller effective sample size, an autocorrelated series that is steady looks like one that
# changes.
LEAST_EFFECTIVE_SIZE = 15
# What follows a change must be this share of the time before it: its mean is what the change is
# measured from.
LEAST_SHARE_AFTER = 0.5

# The length of a warm-up that has a fixed length, unless another is given.
USUAL_SECONDS = 2.0

# The best of many possible changes is tested, so chance gives a larger statistic than for a single
# one. This confidence for each gives less than 5% for all together (simulated).
_CONFIDENCE = 0.9995
_MOST_BLOCKS = 1000  # longer series are averaged in blocks first
_LEAST_STEP = 3  # blocks on either side of a step
_DECAYS = 150  # time constants that are tried, from one block to the whole series
# A block that differs from the median of its neighbours by this many standard deviations is an
# outlier, and is replaced by that median. One slow batch is not the end of a warm-up.
_OUTLIER = 4.0
_NEIGHBOURS = 5
_NORMAL_MAD = 1.4826  # standard deviation / median absolute deviation of the normal distribution
_MOST_CHANGES = 8  # one after another
# A change of this many standard deviations is more than a steady series wanders. (The exponential
# decay of a series with little noise also follows from its own past; see _is_more_than_inertia.)
_PLAIN = 8.0


@dataclass(frozen=True)
class Settled:
    """What was found in the service times of a warm-up.

    `batches` is the number of batches before the last change was over: 0 if there was no change.
    """

    batches: int
    settled: bool  # False: too little follows to tell, or the speed still changes
    # How much longer batches took before that point, relative to those after it; if the change
    # lasts until the end, in the first half, relative to the second. None: nothing was found.
    slower: float | None


def settled(service_ns: Nanoseconds) -> Settled:
    """The point from which the batches with these service times, in their order, are steady."""
    series = service_ns.astype(np.float64)
    begin = 0
    for _ in range(_MOST_CHANGES):
        rest = series[begin:]
        if len(rest) < LEAST_BATCHES:
            return _found(series, begin, is_settled=False)
        length, found_from = _first_change(rest)
        if length == 0:
            long_enough = float(rest.sum()) >= LEAST_SHARE_AFTER * float(series[:begin].sum())
            is_settled = long_enough and found_from <= MOST_NOT_FOUND
            return _found(series, begin, is_settled=is_settled)
        begin += length
    return _found(series, begin, is_settled=False)


def describe(
    samples: Samples, found: Settled, began_ns: int, window_s: float | None, limit_reached: bool
) -> WarmUp:
    """What the result says of a warm-up whose batches are these, and that began at `began_ns`.

    `window_s` is the length of the measured window of a closed loop; None if it is unknown.
    """
    change = None if found.slower is None else round(found.slower, 4)
    if not found.settled:
        return WarmUp(slower=change, limit_reached=limit_reached)
    starts = samples.batch_starts
    first = int(starts[found.batches])  # the row of the first steady request
    completed_ns = samples.completed_ns
    settled_ns = int(completed_ns[:first].max() if first else samples.departed_ns[0])
    after = completed_ns[completed_ns > settled_ns]
    error = None
    fixed_ns = began_ns + round(USUAL_SECONDS * 1e9)
    if window_s and settled_ns > fixed_ns and len(after) and after.max() > settled_ns:
        steady_rate = len(after) / (int(after.max()) - settled_ns)
        end_ns = min(settled_ns, fixed_ns + round(window_s * 1e9))
        early = int(((completed_ns > fixed_ns) & (completed_ns <= end_ns)).sum())
        # The rest of the window would have had the steady rate.
        error = (early / steady_rate - (end_ns - fixed_ns)) / (window_s * 1e9)
    return WarmUp(
        settled_seconds=round((settled_ns - began_ns) / 1e9, 3),
        settled_requests=first,
        slower=change,
        limit_reached=limit_reached,
        throughput_error_after_2s=None if error is None else round(error, 5),
    )


def _found(series: NDArray[np.float64], begin: int, *, is_settled: bool) -> Settled:
    # Nothing follows a change that lasts until the end: then the halves are compared.
    end = begin if begin < len(series) else begin // 2
    slower = None
    if end > 0 and (base := float(series[end:].mean())) > 0:
        slower = float(series[:end].mean()) / base - 1
    return Settled(begin, is_settled, slower)


def _first_change(series: NDArray[np.float64]) -> tuple[int, float]:
    """(batches until the change of this series is over, smallest step that would be found).

    The number is 0 if there is no change, and that of the whole series if the change is not over.
    The smallest step is that of the first third, relative to the mean of the rest.
    """
    per_block = -(-len(series) // _MOST_BLOCKS)
    count = len(series) // per_block
    blocks = series[: count * per_block].reshape(count, per_block).mean(axis=1)
    blocks = _without_outliers(blocks)
    if not blocks.any():  # faster than the clock shows
        return 0, 0.0
    step, decay = _best_step(blocks), _best_decay(blocks)
    shape = max(step, decay, key=lambda each: each.explained)
    residual = blocks - shape.fitted
    effective = effective_size(residual, tick=1.0)
    if effective < LEAST_EFFECTIVE_SIZE:
        return 0, math.inf
    # The standard error of the mean of n blocks is `error` / sqrt(n).
    error = float(residual.std()) * math.sqrt(count / effective)
    by_chance = student_t(degrees_of_freedom(effective), _CONFIDENCE) * error
    smallest = by_chance * math.sqrt(4.5 / count) / float(blocks.mean())  # 4.5: 3 + 3/2
    is_change = (
        shape.change > LEAST_CHANGE
        and shape.explained > by_chance
        and (
            float(np.ptp(shape.fitted)) > _PLAIN * float(residual.std())
            or _is_more_than_inertia(shape.fitted, blocks)
        )
    )
    if not is_change:
        return 0, smallest
    return min(len(series), max(1, round(shape.blocks * per_block))), smallest


def _is_more_than_inertia(fitted: NDArray[np.float64], blocks: NDArray[np.float64]) -> bool:
    """Whether a shape explains something that the block before each block does not explain.

    A steady series with a strong autocorrelation wanders: some step fits it well, and what is left
    then seems to be hardly autocorrelated. Such a series follows from its own past.
    """
    past = np.stack([np.ones(len(blocks) - 1), blocks[:-1]], axis=1)
    basis, _ = np.linalg.qr(past)
    shape, now = (each - basis @ (basis.T @ each) for each in (fitted[1:], blocks[1:]))
    square = float(shape @ shape)
    if square <= 1e-12 * float(fitted @ fitted):  # a decay without noise, which has no chance in it
        return True
    slope = float(shape @ now) / square
    rest = now - slope * shape
    freedom = len(now) - 3
    error = math.sqrt(float(rest @ rest) / freedom / square)
    return abs(slope) > student_t(freedom, _CONFIDENCE) * error


@dataclass(frozen=True)
class _Shape:
    """The best fit of one kind of change to a series of blocks."""

    blocks: float  # until the change is over
    change: float  # of the mean, from the beginning to the end, relative to the end; without sign
    explained: float  # square root of the sum of squares that it explains
    fitted: NDArray[np.float64]


def _best_step(blocks: NDArray[np.float64]) -> _Shape:
    count = len(blocks)
    sizes = np.arange(_LEAST_STEP, count - _LEAST_STEP + 1)
    sums = np.cumsum(blocks)[sizes - 1]
    before, after = sums / sizes, (blocks.sum() - sums) / (count - sizes)
    explained = np.abs(before - after) * np.sqrt(sizes * (count - sizes) / count)
    best = int(np.argmax(explained))
    size, base = int(sizes[best]), float(after[best])
    fitted = np.where(np.arange(count) < size, before[best], base)
    change = abs(float(before[best]) / base - 1) if base > 0 else math.inf
    return _Shape(size, change, float(explained[best]), fitted)


def _best_decay(blocks: NDArray[np.float64]) -> _Shape:
    count = len(blocks)
    constants = np.geomspace(1, count, _DECAYS)
    shapes = np.exp(-np.arange(count) / constants[:, None])
    means = shapes.mean(axis=1)
    shapes -= means[:, None]
    norms = np.sqrt((shapes**2).sum(axis=1))
    explained = shapes @ (blocks - blocks.mean()) / norms
    best = int(np.argmax(np.abs(explained)))
    amplitude = float(explained[best] / norms[best])
    fitted = blocks.mean() + amplitude * shapes[best]
    base = float(blocks.mean() - amplitude * means[best])
    # A base that is not positive is a straight line that falls: it is far from its end.
    change = abs(amplitude) / base if base > 0 else math.inf
    length = constants[best] * math.log(change / LEAST_CHANGE) if change > LEAST_CHANGE else 0.0
    return _Shape(min(length, count), change, abs(float(explained[best])), fitted)


def _without_outliers(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """`blocks`, in which the median of its neighbours replaces each outlier."""
    padded = np.pad(blocks, _NEIGHBOURS // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _NEIGHBOURS)
    medians = np.median(windows, axis=1)
    distances = np.abs(blocks - medians)
    limit = _OUTLIER * _NORMAL_MAD * float(np.median(distances))
    return np.where(distances > limit, medians, blocks)
