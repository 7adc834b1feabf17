"""The measured window: when it opens and closes, and which requests count.

The window opens and closes at completions and counts what completed after its opening, up to and
including its closing. Requests that are served together complete together, so a count that breaks
such a round apart would bias the throughput: two clients that complete together every T would come
out as (2n - 1) / ((n - 1) T). So the count is a whole number of rounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpubench.results.samples import Nanoseconds, Samples

Mask = NDArray[np.bool_]

_NS_PER_S = 1e9


@dataclass(frozen=True)
class ClosedLoop:
    """A fixed number of clients, all due at the start of the run, each with one request at a time.

    `in_flight` is the most requests that can be in service at one time (workers x depth x requests
    per batch); None: as many as there are clients.
    """

    clients: int
    in_flight: int | None = None

    @property
    def round(self) -> int:
        """Requests that may complete together."""
        return self.clients if self.in_flight is None else min(self.clients, self.in_flight)

    def completions_to_run(self, requests: int, max_batch: int = 1) -> int:
        """Completions after which a run may stop so that at least `requests` of them count.

        Every client comes round once before the window opens, at most max_batch - 1 requests
        complete together with the last of those, and the rest is a whole number of rounds.

        With dynamic batching three more rounds: workers that wait for a batch to fill may stop in
        different rounds, so that the run drains before its last completion (up to one round), and
        batches of changing size may leave no whole round within the last two.
        """
        rounds = -(-requests // self.round) + (3 if max_batch > 1 else 0)
        return self.clients + (max_batch - 1) + rounds * self.round


@dataclass(frozen=True)
class OpenLoop:
    """Requests on a schedule from `start_ns` to `end_ns`.

    Arrivals in the first `settle_ns` only fill the queue. The window holds those due after them.
    Start and end are on the clock of the samples. `round` is how many requests may complete
    together: the size of a burst, or else the most requests that can be in service at one time,
    which is `in_flight` (None: as many as the workers seen in the samples take at one time).
    `rate` is the requests per second that the schedule was made for (None: what fell due says).
    """

    start_ns: int
    settle_ns: int
    end_ns: int
    round: int = 1
    in_flight: int | None = None
    rate: float | None = None

    @property
    def opens_ns(self) -> int:
        return self.start_ns + self.settle_ns

    def inside(self, times_ns: Nanoseconds) -> Mask:
        """Which of these times lie in the window, both ends included."""
        return (times_ns >= self.opens_ns) & (times_ns <= self.end_ns)


@dataclass(frozen=True)
class Window:
    """`completed_ns` are the sorted completions that count, in (opens_ns, closes_ns]."""

    opens_ns: int
    completed_ns: Nanoseconds

    @property
    def closes_ns(self) -> int:
        return int(self.completed_ns[-1])

    @property
    def seconds(self) -> float:
        return (self.closes_ns - self.opens_ns) / _NS_PER_S

    @property
    def requests_per_second(self) -> float:
        return len(self.completed_ns) / self.seconds


def closed_window(samples: Samples, loop: ClosedLoop) -> Window | None:
    """The window of a closed loop; None where fewer requests completed than it takes to open it.

    It opens when as many requests have completed as there are clients: each has come round once.
    Nothing after the first completion that follows the last departure counts: from there on the
    run is draining and fewer requests are in service.
    """
    if len(samples) <= loop.clients:
        return None
    completed = np.sort(samples.completed_ns)
    drains = np.searchsorted(completed, samples.departed_ns.max(), side="right")
    if drains < len(completed):
        completed = completed[: np.searchsorted(completed, completed[drains], side="right")]
    return _window(completed, opening=loop.clients - 1, round_size=loop.round)


def open_window(samples: Samples, loop: OpenLoop) -> Window | None:
    """The window of an open loop: from the first completion inside the schedule's measured part to
    the last; None where there are not two."""
    completed = np.sort(samples.completed_ns[loop.inside(samples.completed_ns)])
    return _window(completed, opening=0, round_size=loop.round)


def _window(completed: Nanoseconds, opening: int, round_size: int) -> Window | None:
    """The window that opens at completed[opening] and counts as many whole rounds as follow."""
    if len(completed) <= opening:
        return None
    opens = completed[opening]
    after = completed[np.searchsorted(completed, opens, side="right") :]
    count = _whole_rounds(after, round_size)
    if count == 0:
        return None
    return Window(int(opens), after[:count])


def _whole_rounds(completed: Nanoseconds, round_size: int) -> int:
    """How many of these sorted completions to count.

    The largest multiple of the round that takes all or none of the requests that completed at one
    time. Where batches of changing size leave no such multiple within the last two rounds, all.
    """
    last_of_its_time = np.append(np.diff(completed) > 0, len(completed) > 0)
    recent = max(0, len(completed) - 2 * round_size)
    counts = np.flatnonzero(last_of_its_time[recent:]) + recent + 1
    whole = counts[counts % round_size == 0]
    return int(whole[-1]) if len(whole) else len(completed)


def counted_in_closed_loop(samples: Samples, window: Window | None) -> Mask:
    """Which requests a closed loop reports on: those that completed inside the window."""
    if window is None:
        return np.zeros(len(samples), np.bool_)
    completed = samples.completed_ns
    return (completed > window.opens_ns) & (completed <= window.closes_ns)
