"""Open loops: what was offered, whether it was served, and how sure their throughput is."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gpubench.results.samples import Nanoseconds, Samples
from gpubench.statistics.intervals import LEAST_EFFECTIVE_SIZE, Interval
from gpubench.statistics.windows import OpenLoop, Window

# A queue that is stable ends about as long as it began. Two percent, or the square root of the
# requests where that is more: what a queue at the brink of its capacity drifts by chance.
MOST_FALLING_BEHIND = 0.02

_MOMENTS = 512  # at which the state of the queue is looked at
_CLOCK_NS = 2  # differences of due times up to this are rounding


def due_inside(samples: Samples, loop: OpenLoop) -> Nanoseconds:
    """Due times inside the window, sorted, whatever became of the requests."""
    due = np.concatenate((samples.scheduled_ns, samples.unfinished_scheduled_ns))
    return np.sort(due[loop.inside(due)])


def requests_offered_per_second(loop: OpenLoop, due_ns: Nanoseconds) -> float | None:
    """Requests that fell due per second inside the window, whose sorted due times are given.

    The rate of the schedule; of a trace what its arrivals say, from the first to the last.
    """
    if loop.rate is not None:
        return loop.rate
    if len(due_ns) == 0 or due_ns[0] == due_ns[-1]:
        return None
    after_the_first = len(due_ns) - int(np.searchsorted(due_ns, due_ns[0], side="right"))
    return after_the_first / (int(due_ns[-1] - due_ns[0]) / 1e9)


def kept_up(samples: Samples, loop: OpenLoop, due_ns: Nanoseconds) -> float | None:
    """Completions over requests due, both in the same stretch of time."""
    if len(due_ns) == 0:
        return None
    return int(loop.inside(samples.completed_ns).sum()) / len(due_ns)


def least_kept_up(due: int) -> float:
    """Completions over requests due below which a queue is taken for one that grows."""
    return 1 - max(MOST_FALLING_BEHIND, 1 / math.sqrt(max(1, due)))


def served_interval(
    samples: Samples,
    loop: OpenLoop,
    window: Window | None,
    due_ns: Nanoseconds,
    inferences_per_request: int = 1,
) -> tuple[Interval | None, str | None]:
    """95% interval of the inferences per second of a queue that keeps up; None and the reason.

    Such a queue serves what is offered, and the schedule is made in advance, so the arrivals have
    no spread. The throughput differs from the offered rate only by

        requests in the system when the window opens - requests in the system when it closes

    and by the parts of a gap between requests that are cut off because the window opens and closes
    at completions. Both ends are looked at as if they were at other moments of the same run. The
    middle 95% of what all pairs of such ends differ by, or as much as this window differs by where
    that is more, is the width: so the interval always holds the offered rate.
    """
    offered = requests_offered_per_second(loop, due_ns)
    if window is None or offered is None or due_ns[0] == due_ns[-1]:
        return None, "too few requests completed to open and close a window; measure longer"
    count = len(window.completed_ns)
    if count < LEAST_EFFECTIVE_SIZE:
        return None, f"{count} requests; an interval needs {LEAST_EFFECTIVE_SIZE}"
    span_ns = window.closes_ns - window.opens_ns
    this_window = count - offered / 1e9 * span_ns
    ends = _Ends(samples, offered)
    moments = _moments(due_ns)
    # Requests in the throughput that are not in the offered rate.
    excess = (ends.opening(moments)[:, None] + ends.closing(moments)[None, :]).ravel()
    # What was left out to count whole rounds.
    excess += this_window - float(ends.opening(loop.opens_ns) + ends.closing(loop.end_ns))
    least = min(0.0, this_window, float(np.quantile(excess, 0.025, method="lower")))
    most = max(0.0, this_window, float(np.quantile(excess, 0.975, method="higher")))
    if most >= count:
        return None, "the number of requests in the system varies too much; measure longer"
    per_s = 1e9 / span_ns * inferences_per_request
    return ((count - most) * per_s, (count - least) * per_s), None


class _Ends:
    """By how many requests a window counts too many, if it opens or closes at a moment."""

    def __init__(self, samples: Samples, offered_per_second: float) -> None:
        self._completed = np.sort(samples.completed_ns)
        self._due = np.sort(np.concatenate((samples.scheduled_ns, samples.unfinished_scheduled_ns)))
        self._per_ns = offered_per_second / 1e9

    def opening(self, moments: Nanoseconds | int) -> NDArray[np.float64]:
        """At the first completion from the moment on, which is not counted itself."""
        before = np.searchsorted(self._completed, moments)
        opens_ns = self._completed[np.minimum(before, len(self._completed) - 1)]
        uncounted = np.searchsorted(self._completed, opens_ns, side="right")
        arrived = np.searchsorted(self._due, moments)
        return np.asarray(arrived - uncounted + self._per_ns * (opens_ns - moments))

    def closing(self, moments: Nanoseconds | int) -> NDArray[np.float64]:
        """At the last completion up to the moment."""
        counted = np.searchsorted(self._completed, moments, side="right")
        closes_ns = self._completed[np.maximum(counted - 1, 0)]
        arrived = np.searchsorted(self._due, moments)
        return np.asarray(counted - arrived + self._per_ns * (moments - closes_ns))


def _moments(due_ns: Nanoseconds) -> Nanoseconds:
    """Moments that stand to the arrivals as the window's own ends do.

    Where arrivals are regular, those of arrivals, as the window's ends are; otherwise evenly spaced
    ones, since what happens between two arrivals of a Poisson process is as likely as any of them.
    """
    starts = due_ns[np.diff(due_ns, prepend=due_ns[0] - 1) > 0]
    gaps = np.diff(starts)
    if gaps.max() - gaps.min() <= _CLOCK_NS:
        return starts[:: -(-len(starts) // _MOMENTS)]
    return np.linspace(starts[0], starts[-1], _MOMENTS).astype(np.int64)
