"""Did the system stay the same while it was measured?

What must stay is the service time, from the departure of a batch to its completion. (Latency holds
the queue as well, which wanders without anything being wrong.) The window's requests are cut into a
first fifth, where a warm-up that was too short still shows, and two halves of the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpubench.results.samples import Nanoseconds
from gpubench.statistics.intervals import degrees_of_freedom, effective_size, student_t

_CONFIDENCE = 0.99  # every result is judged: one in a hundred false alarms is enough
# Service times that wander slowly are worth few independent ones. With so few, chance explains a
# change of twice their scatter; assuming fewer would explain away every drift.
_LEAST_EFFECTIVE_SIZE = 20


@dataclass(frozen=True)
class Change:
    """A relative change of the mean service time, and what chance alone explains of it (99%)."""

    figure: float
    noise: float


def service_changes(service_ns: Nanoseconds) -> tuple[Change | None, Change | None]:
    """(first fifth against the rest, last two fifths against the two before); positive is slower.

    `service_ns` is in the order in which the requests were claimed. None where they are too few.
    """
    count = len(service_ns)
    if count < _LEAST_EFFECTIVE_SIZE or not service_ns.any():
        return None, None
    cuts = (count // 5, count // 5 + (count - count // 5) // 2)
    parts = np.split(service_ns.astype(np.float64), cuts)
    scatter = np.concatenate([_without_trend(part) for part in parts])
    effective = max(_LEAST_EFFECTIVE_SIZE, effective_size(scatter, tick=1.0))
    # The standard error of the mean of m of these requests is this over sqrt(m).
    error = float(scatter.std()) * math.sqrt(count / effective)

    def change(before: NDArray[np.float64], after: NDArray[np.float64]) -> Change:
        base = float(before.mean())
        error_of_difference = error * math.sqrt(1 / len(before) + 1 / len(after))
        noise = student_t(degrees_of_freedom(effective), _CONFIDENCE) * error_of_difference
        return Change((float(after.mean()) - base) / base, noise / base)

    first, second, third = parts
    return change(np.concatenate((second, third)), first), change(second, third)


def _without_trend(part: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is left beside the straight line through the part: a ramp is drift and not chance."""
    place = np.arange(len(part)) - (len(part) - 1) / 2
    deviation = part - part.mean()
    slope = float(place @ deviation) / float(place @ place)
    return np.asarray(deviation - slope * place)
