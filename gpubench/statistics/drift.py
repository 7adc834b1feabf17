"""Whether the speed of the system changed during the measurement.

The service time is compared, from the departure of a batch to its completion. (The latency also
contains the queue, whose length changes although nothing is wrong.) The requests of the window are
divided into the first fifth, which shows a warm-up that was too short, and two halves of the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpubench.results.samples import Nanoseconds
from gpubench.statistics.intervals import degrees_of_freedom, effective_size
from gpubench.statistics.student import student_t

_CONFIDENCE = 0.99  # every result is judged, so only one in a hundred may be a false alarm
# Service times that change slowly have a small effective sample size. With this size, chance
# explains a change of twice their scatter. With a smaller size it would explain every drift.
_LEAST_EFFECTIVE_SIZE = 20


@dataclass(frozen=True)
class Change:
    """A relative change of the mean service time.

    `figure` is the change, `noise` the largest change that chance explains (99%).
    """

    figure: float
    noise: float


def service_changes(service_ns: Nanoseconds) -> tuple[Change | None, Change | None]:
    """(first fifth compared with the rest, last two fifths compared with the two before them).

    Positive: the former is slower. `service_ns` is in the order in which the requests were claimed.
    None if there are too few.
    """
    count = len(service_ns)
    if count < _LEAST_EFFECTIVE_SIZE or not service_ns.any():
        return None, None
    cuts = (count // 5, count // 5 + (count - count // 5) // 2)
    parts = np.split(service_ns.astype(np.float64), cuts)
    scatter = np.concatenate([_without_trend(part) for part in parts])
    effective = max(_LEAST_EFFECTIVE_SIZE, effective_size(scatter, tick=1.0))
    # The standard error of the mean of m of these requests is `error` / sqrt(m).
    error = float(scatter.std()) * math.sqrt(count / effective)

    def change(before: NDArray[np.float64], after: NDArray[np.float64]) -> Change:
        base = float(before.mean())
        error_of_difference = error * math.sqrt(1 / len(before) + 1 / len(after))
        noise = student_t(degrees_of_freedom(effective), _CONFIDENCE) * error_of_difference
        return Change((float(after.mean()) - base) / base, noise / base)

    first, second, third = parts
    return change(np.concatenate((second, third)), first), change(second, third)


def _without_trend(part: NDArray[np.float64]) -> NDArray[np.float64]:
    """The deviations from the straight line through the part: a slope is drift and not chance."""
    place = np.arange(len(part)) - (len(part) - 1) / 2
    deviation = part - part.mean()
    slope = float(place @ deviation) / float(place @ place)
    return np.asarray(deviation - slope * place)
