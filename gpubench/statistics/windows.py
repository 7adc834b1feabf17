"""The measured window: when it opens and closes, and which requests count.

The window opens at one completion and closes at another. It counts the requests that completed
after it opened, including the one at which it closes. Requests that are served together complete
together. They are called a round. A count that divides a round would bias the throughput: two
clients that complete together every T would seem to complete 2n - 1 requests in (n - 1) T.
Therefore the count is a whole number of rounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpubench.results.result import CountedRows
from gpubench.results.samples import Nanoseconds, Samples

Mask = NDArray[np.bool_]

_NS_PER_S = 1e9


@dataclass(frozen=True)
class ClosedLoopRule:
    """Which samples of a closed loop count.

    All clients are due at the start of the run, and each has one request in flight. `in_flight` is
    the largest number of requests in service at one time (workers x depth x requests per batch).
    None: as many as there are clients.
    """

    clients: int
    in_flight: int | None = None

    @property
    def round(self) -> int:
        """Requests that may complete together."""
        return self.clients if self.in_flight is None else min(self.clients, self.in_flight)

    def completions_to_run(self, requests: int, max_batch: int = 1) -> int:
        """The number of completions of a run in which at least `requests` completions count.

        As many requests as clients complete before the window opens. At most max_batch - 1 further
        requests complete together with the last of them. The rest is a whole number of rounds.

        Dynamic batching needs three more rounds. Workers that wait for a batch to fill may stop in
        different rounds, so the run may drain for up to one round before its last completion. And
        batches of changing size may leave no whole round within the last two.
        """
        rounds = -(-requests // self.round) + (3 if max_batch > 1 else 0)
        return self.clients + (max_batch - 1) + rounds * self.round


@dataclass(frozen=True)
class OpenLoopRule:
    """Which samples of an open loop count: those due in the measured part of the schedule.

    The schedule lasts from `start_ns` to `end_ns`, on the clock of the samples. In its first
    `settle_ns` the queue settles, and these requests do not count. `round` is the number of
    requests that may complete together: the size of a burst or `in_flight`, whichever is larger.
    `in_flight` is the largest number of requests in service at one time (None: one batch for each
    worker in the samples). `rate` is the rate of the schedule, in requests per second (None: the
    due times show it).
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
        """Which of these times lie in the measured part of the schedule, both ends included."""
        return (times_ns >= self.opens_ns) & (times_ns <= self.end_ns)


@dataclass(frozen=True)
class Window:
    """The measured window. `completed_ns` are the sorted completions in (opens_ns, closes_ns]."""

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


def closed_window(samples: Samples, loop: ClosedLoopRule) -> Window | None:
    """The window of a closed loop. None if too few requests completed to open it.

    It opens when as many requests have completed as there are clients, so each client has completed
    one request on average. It closes at the latest at the first completion after the last
    departure. After that the run drains, and fewer requests are in service.
    """
    if len(samples) <= loop.clients:
        return None
    completed = np.sort(samples.completed_ns)
    drains = np.searchsorted(completed, samples.departed_ns.max(), side="right")
    if drains < len(completed):
        completed = completed[: np.searchsorted(completed, completed[drains], side="right")]
    return _window(completed, opening=loop.clients - 1, round_size=loop.round)


def open_window(samples: Samples, loop: OpenLoopRule) -> Window | None:
    """The window of an open loop. None if fewer than two requests completed in time.

    It lasts from the first completion in the measured part of the schedule to the last one.
    """
    completed = np.sort(samples.completed_ns[loop.inside(samples.completed_ns)])
    return _window(completed, opening=0, round_size=loop.round)


def _window(completed: Nanoseconds, opening: int, round_size: int) -> Window | None:
    """The window that opens at completed[opening] and counts the whole rounds that follow."""
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

    It is the largest multiple of the round that includes all or none of the requests that completed
    at the same time. If there is no such multiple within the last two rounds, because the size of
    the batches changes, it is the number of all completions.
    """
    last_of_its_time = np.append(np.diff(completed) > 0, len(completed) > 0)
    recent = max(0, len(completed) - 2 * round_size)
    counts = np.flatnonzero(last_of_its_time[recent:]) + recent + 1
    whole = counts[counts % round_size == 0]
    return int(whole[-1]) if len(whole) else len(completed)


def counted_rows(loop: ClosedLoopRule | OpenLoopRule, window: Window | None) -> CountedRows | None:
    """The rule for which requests count for the latency. None if none of them does.

    Those of a closed loop that completed inside the window; those of an open loop that were due in
    the measured part of the schedule, also if they completed later or never.
    """
    if isinstance(loop, OpenLoopRule):
        return CountedRows(stamp="scheduled_ns", from_ns=loop.opens_ns, to_ns=loop.end_ns)
    if window is None:
        return None
    return CountedRows(stamp="completed_ns", from_ns=window.opens_ns + 1, to_ns=window.closes_ns)


def counted_samples(samples: Samples, rows: CountedRows | None) -> tuple[Mask, int]:
    """Which samples count, and how many requests count that never completed."""
    if rows is None:
        return np.zeros(len(samples), np.bool_), 0

    def inside(times_ns: Nanoseconds) -> Mask:
        return (times_ns >= rows.from_ns) & (times_ns <= rows.to_ns)

    if rows.stamp == "completed_ns":
        # At the end every client has a request that is due. That is no failure.
        return inside(samples.completed_ns), 0
    return inside(samples.scheduled_ns), int(inside(samples.unfinished_scheduled_ns).sum())
