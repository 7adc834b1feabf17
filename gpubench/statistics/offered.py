"""Open loops: the offered rate, whether it was served, and the interval of the throughput."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gpubench.results.result import Interval
from gpubench.results.samples import Nanoseconds, Samples
from gpubench.statistics.intervals import LEAST_EFFECTIVE_SIZE
from gpubench.statistics.windows import OpenLoopRule, Window

# A stable queue is about as long at the end as at the beginning. The limit is 2%, or the square
# root of the number of requests if that is more: near its capacity, the length of a queue changes
# by that much by chance.
MOST_FALLING_BEHIND = 0.02

_MOMENTS = 512  # at which the state of the queue is computed
_CLOCK_NS = 2  # smaller differences of due times are rounding


def due_inside(samples: Samples, loop: OpenLoopRule) -> Nanoseconds:
    """Sorted due times inside the window, of completed and unfinished requests."""
    due = np.concatenate((samples.scheduled_ns, samples.unfinished_scheduled_ns))
    return np.sort(due[loop.inside(due)])


def requests_offered_per_second(loop: OpenLoopRule, due_ns: Nanoseconds) -> float | None:
    """Requests that became due per second inside the window. `due_ns` are their sorted due times.

    It is the rate of the schedule. For a trace it is (arrivals after the first) / (time from the
    first to the last). None if there are too few arrivals.
    """
    if loop.rate is not None:
        return loop.rate
    if len(due_ns) == 0 or due_ns[0] == due_ns[-1]:
        return None
    after_the_first = len(due_ns) - int(np.searchsorted(due_ns, due_ns[0], side="right"))
    return after_the_first / (int(due_ns[-1] - due_ns[0]) / 1e9)


def kept_up(samples: Samples, loop: OpenLoopRule, due_ns: Nanoseconds) -> float | None:
    """Completions divided by the requests that were due in the same time."""
    if len(due_ns) == 0:
        return None
    return int(loop.inside(samples.completed_ns).sum()) / len(due_ns)


def least_kept_up(due: int) -> float:
    """The value of `kept_up` below which the queue counts as growing. `due` is in requests."""
    return 1 - max(MOST_FALLING_BEHIND, 1 / math.sqrt(max(1, due)))


def served_interval(
    samples: Samples,
    loop: OpenLoopRule,
    window: Window | None,
    due_ns: Nanoseconds,
    inferences_per_request: int = 1,
) -> tuple[Interval | None, str | None]:
    """95% interval of the inferences per second of a queue that keeps up, or None and the reason.

    A stable queue serves what arrives. The schedule is made in advance, so the number of arrivals
    does not vary. The throughput differs from the offered rate only by

        requests in the system when the window opens - requests in the system when it closes

    and by the parts of the gaps between requests that the ends of the window cut, because it opens
    and closes at completions. Each end is moved to other moments of the same run, and each pair of
    ends gives an excess of completions over the offered rate. The interval is the middle 95% of
    these excess counts, or the excess of this window if that is larger. So it always contains the
    offered rate.
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
    # Completions of the window minus those that the offered rate gives.
    excess = (ends.opening(moments)[:, None] + ends.closing(moments)[None, :]).ravel()
    # The completions that are not counted, because only whole rounds are.
    excess += this_window - float(ends.opening(loop.opens_ns) + ends.closing(loop.end_ns))
    least = min(0.0, this_window, float(np.quantile(excess, 0.025, method="lower")))
    most = max(0.0, this_window, float(np.quantile(excess, 0.975, method="higher")))
    if most >= count:
        return None, "the number of requests in the system varies too much; measure longer"
    per_s = 1e9 / span_ns * inferences_per_request
    return ((count - most) * per_s, (count - least) * per_s), None


class _Ends:
    """The excess count of a window that opens or closes at given moments, in requests."""

    def __init__(self, samples: Samples, offered_per_second: float) -> None:
        self._completed = np.sort(samples.completed_ns)
        self._due = np.sort(np.concatenate((samples.scheduled_ns, samples.unfinished_scheduled_ns)))
        self._per_ns = offered_per_second / 1e9

    def opening(self, moments: Nanoseconds | int) -> NDArray[np.float64]:
        """If it opens at the first completion from the moment on, which is not counted itself."""
        before = np.searchsorted(self._completed, moments)
        opens_ns = self._completed[np.minimum(before, len(self._completed) - 1)]
        uncounted = np.searchsorted(self._completed, opens_ns, side="right")
        arrived = np.searchsorted(self._due, moments)
        return np.asarray(arrived - uncounted + self._per_ns * (opens_ns - moments))

    def closing(self, moments: Nanoseconds | int) -> NDArray[np.float64]:
        """If it closes at the last completion up to the moment."""
        counted = np.searchsorted(self._completed, moments, side="right")
        closes_ns = self._completed[np.maximum(counted - 1, 0)]
        arrived = np.searchsorted(self._due, moments)
        return np.asarray(counted - arrived + self._per_ns * (moments - closes_ns))


def _moments(due_ns: Nanoseconds) -> Nanoseconds:
    """Moments at which the window could open or close as well.

    If the arrivals are regular, they are times of arrivals, because the ends of the window are too.
    Otherwise they are evenly spaced, because the ends of the window have no relation to arrivals.
    """
    starts = due_ns[np.diff(due_ns, prepend=due_ns[0] - 1) > 0]
    gaps = np.diff(starts)
    if gaps.max() - gaps.min() <= _CLOCK_NS:
        return starts[:: -(-len(starts) // _MOMENTS)]
    return np.linspace(starts[0], starts[-1], _MOMENTS).astype(np.int64)
