"""Whether requests with new inputs take longer than requests that repeat earlier inputs."""

from __future__ import annotations

import math

import numpy as np

from gpubench.results.result import Interval
from gpubench.results.samples import Nanoseconds
from gpubench.statistics.drift import Change
from gpubench.statistics.student import student_t

LEAST_PAIRS = 4

_CONFIDENCE = 0.99  # as for other changes of speed: every result is judged
# Standard error of a median / that of a mean, for a normal distribution: sqrt(pi / 2). With more
# outliers it is less, so the interval is then too wide.
_MEDIAN_ERROR = math.sqrt(math.pi / 2)


def new_inputs_slower(repeated_ns: Nanoseconds, new_ns: Nanoseconds) -> tuple[Change, Interval]:
    """(how much longer new inputs take, relative to repeated ones; its 95% interval).

    The two columns hold service times of pairs of requests that ran one after the other. The median
    of their ratios is taken: on a busy machine some requests take several times as long, and a
    cache makes nearly all new ones slower. There must be LEAST_PAIRS of them.
    """
    logs = np.log(np.maximum(new_ns, 1)) - np.log(np.maximum(repeated_ns, 1))
    pairs = len(logs)
    median = float(np.median(logs))
    error = _MEDIAN_ERROR * float(logs.std(ddof=1)) / math.sqrt(pairs)
    margin = student_t(pairs - 1) * error
    noise = math.expm1(student_t(pairs - 1, _CONFIDENCE) * error)
    interval = math.expm1(median - margin), math.expm1(median + margin)
    return Change(math.expm1(median), noise), interval
