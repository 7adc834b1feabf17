# Written by tests/python/core_stubs.py.
"""
The timed request queue. All times are int64 nanoseconds of the monotonic clock.
"""

from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing
from . import cuda

class RequestSource:
    """
    Requests with due times. A source serves one run at a time.
    """

class ClosedLoop(RequestSource):
    """
    A fixed number of clients: each sends its next request `think_time_ns` after its last one completed. The ids are the numbers of the clients, from 0.
    """
    def __init__(self, clients: int, think_time_ns: int = 0) -> None: ...

class OpenLoop(RequestSource):
    """
    Requests on a schedule of offsets from the start, however long the system takes to complete them. The ids are indices in the schedule. A read-only int64 array is used in place; any other array is copied.
    """
    def __init__(
        self, due_ns: numpy.typing.NDArray[numpy.int64] | collections.abc.Sequence[int]
    ) -> None: ...

class LiveQueue(RequestSource):
    """
    Requests that other threads submit during the run.
    """
    def __init__(self, capacity: int) -> None: ...
    def close(self) -> None:
        """
        No request is accepted any more: the run finishes when the queue is empty.
        """
    def submit(self, id: int, wait_s: float | None = None) -> bool:
        """
        Submits a request, which is due now. False if the queue is full and stays full for `wait_s` seconds (None: does not wait). Raises RuntimeError once the queue is closed, and in a child that was forked after the queue was made.
        """

class Executor:
    """
    Executes batches for one worker.
    """

class DelayExecutor(Executor):
    """
    An executor with a known service time for each batch, whatever its size: an int, or an int64 array of which each batch takes the next entry. 0 is the null system. The thread spins or sleeps during the service time.
    """
    def __init__(
        self,
        service_ns: int | numpy.typing.NDArray[numpy.int64] | collections.abc.Sequence[int],
        spin: bool = True,
    ) -> None: ...

class PythonExecutor(Executor):
    """
    Calls run(ids) once for each batch, where ids is a new int64 array, and open() and close() once each, all on the worker's thread.
    """
    def __init__(
        self,
        run: collections.abc.Callable[[numpy.typing.NDArray[numpy.int64]], object],
        open: collections.abc.Callable[[], object] | None = None,
        close: collections.abc.Callable[[], object] | None = None,
    ) -> None: ...

class Timeline:
    """
    Completed batches of one worker and their requests. Columns are read-only views, not copies, and keep the timeline alive.
    """
    @property
    def batch(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Per request: the row of its batch. Computed at each access, not a view.
        """
    @property
    def completed_ns(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Per batch: when the host could read its results.
        """
    @property
    def departed_ns(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Per batch: when its requests were removed from the queue.
        """
    @property
    def device_ns(self) -> numpy.typing.NDArray[numpy.int64] | None:
        """
        Per batch: (batches, 4) stamps e0..e3 on the host's clock, or None. The last batches before a device was lost have no row.
        """
    @property
    def first_request(self) -> numpy.typing.NDArray[numpy.uint32]:
        """
        Per batch: the row of its first request.
        """
    @property
    def id(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Per request: its index in the schedule, its client, or the caller's own id.
        """
    @property
    def opened_ns(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Per batch: when the worker began to look for it.
        """
    @property
    def scheduled_ns(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Per request: when it was due.
        """
    @property
    def size(self) -> numpy.typing.NDArray[numpy.uint32]:
        """
        Per batch: how many requests it has.
        """
    @property
    def submitted_ns(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Per batch: immediately before the executor was called.
        """

class Outcome:
    """
    What a run measured.
    """
    @property
    def completed(self) -> int:
        """
        Requests in the timelines.
        """
    @property
    def cpu_seconds(self) -> float:
        """
        CPU time of the process during the run.
        """
    @property
    def end_ns(self) -> int:
        """
        When departures ended.
        """
    @property
    def error(self) -> str | None:
        """
        None, or what went wrong: "worker 1: RuntimeError: out of memory".
        """
    @property
    def failed(self) -> int:
        """
        Requests whose batch raised an exception; they are among the unfinished ones.
        """
    @property
    def interrupted(self) -> bool:
        """
        Whether a signal (Ctrl-C) ended the run. The caller has to act on it.
        """
    @property
    def offered(self) -> int:
        """
        Requests that were due by the end, completed or not.
        """
    @property
    def reason(
        self,
    ) -> typing.Literal[
        "finished", "completions", "time", "timeline full", "stopped", "error", "deadline"
    ]:
        """
        finished, completions, time, timeline full, stopped, error or deadline.
        """
    @property
    def start_ns(self) -> int:
        """
        The zero of the schedule.
        """
    @property
    def timelines(self) -> list[Timeline]:
        """
        One for each worker, in order.
        """
    @property
    def unfinished_scheduled_ns(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Due times of the requests that were due by the end and never completed, sorted.
        """

class Runner:
    """
    One thread for each executor, for any number of runs. An executor serves one runner at a time, until the runner is closed. In a forked child there are no threads: every call but close() raises RuntimeError.
    """
    def __init__(
        self,
        executors: collections.abc.Sequence[Executor],
        wait: typing.Literal["spin", "yield", "block"] = "spin",
    ) -> None: ...
    def close(self) -> None:
        """
        Ends the run in progress, closes the executors, ends the threads and releases the executors for other runners, from any thread. If one of its own executors calls it, the call does not wait.
        """
    def run(
        self,
        source: RequestSource,
        *,
        max_batch: int = 1,
        max_delay_ns: int = 0,
        stop_after_completions: int | None = None,
        stop_after_ns: int | None = None,
        batch_deadline_ns: int = 60000000000,
        capacity: int = 1000000,
    ) -> Outcome:
        """
        Executes the requests of `source` until it is finished or a limit is reached. Raises ValueError for bad arguments and RuntimeError if the runner cannot be used. Errors during the run are in the outcome.
        """
    def stop(self, grace_s: float = 3600.0) -> None:
        """
        Ends the run in progress, from any thread. Batches in flight may take `grace_s` more seconds.
        """

class FleetOutcome:
    """
    What a simulated fleet did. Columns of instances are in the order in which they were launched; 2**63 - 1 stands for never, or not before the end of the load.
    """
    def latency_ns(self, rank: int, period: int | None = None) -> int:
        """
        The latency of a rank (rank 1 is the smallest) among all requests, or those of a period. It is never too low, and at most 0.4% too high. Raises ValueError if there is no such rank or period.
        """
    @property
    def busy_ns(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Per instance: for how long it had at least one request.
        """
    @property
    def end_ns(self) -> int:
        """
        When the last request was completed.
        """
    @property
    def late(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Per period: those of its requests that were late.
        """
    @property
    def launched_ns(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Per instance: when it was launched.
        """
    @property
    def mean_latency_ns(self) -> float:
        """
        Over all requests; 0 if there was none.
        """
    @property
    def removed_ns(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Per instance: when the autoscaler removed it.
        """
    @property
    def requests(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Per period: the requests that arrived in it.
        """
    @property
    def serving_ns(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Per instance: when it began to serve.
        """
    @property
    def span_ns(self) -> int:
        """
        The length of the load.
        """
    @property
    def stopped_ns(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Per instance: when it stopped.
        """

class CudaUnavailable(RuntimeError):
    """
    No GPU can be used; the message says what to do. `reason` is no-driver, driver-too-old, no-device or driver-error.
    """

    reason: typing.Literal["no-driver", "driver-too-old", "no-device", "driver-error"]

def abandoned_workers() -> int:
    """
    How many workers of this process were abandoned because their executor did not return. If it is not 0, end the process by flushing its output and calling os._exit().
    """

def burst_arrivals(
    rate_per_second: float, count: int, burst: int
) -> numpy.typing.NDArray[numpy.int64]:
    """
    Due times of groups of `burst` requests, one group every burst / rate seconds.
    """

def constant_arrivals(rate_per_second: float, count: int) -> numpy.typing.NDArray[numpy.int64]:
    """
    Due times of one request every 1 / rate seconds: offsets from the start; the first one is 0.
    """

def exponential_service(mean_ns: float, count: int, seed: int) -> numpy.typing.NDArray[numpy.int64]:
    """
    A table of exponential service times whose mean is `mean_ns`; independent of poisson_arrivals() with the same seed.
    """

def now_ns() -> int:
    """
    The monotonic clock, in nanoseconds.
    """

def poisson_arrivals(
    rate_per_second: float, count: int, seed: int
) -> numpy.typing.NDArray[numpy.int64]:
    """
    Due times of a Poisson process with `count` arrivals in `count / rate` seconds, sorted. A seed gives the same times on every platform.
    """

def simulate(
    source: RequestSource,
    *,
    executors: int = 1,
    service_ns: int | numpy.typing.NDArray[numpy.int64] | collections.abc.Sequence[int],
    max_batch: int = 1,
    max_delay_ns: int = 0,
    stop_after_completions: int | None = None,
    stop_after_ns: int | None = None,
    capacity: int = 1000000,
) -> Outcome:
    """
    The same as a runner, in simulated time: exact, immediate and deterministic. Each batch takes the next service time, in the order of departure. Ctrl-C, or another exception of a signal handler, ends it within a second without a result.
    """

def simulate_fleet(
    until_ns: numpy.typing.NDArray[numpy.int64] | collections.abc.Sequence[int],
    rate_per_second: collections.abc.Sequence[float],
    *,
    due_ns: numpy.typing.NDArray[numpy.int64] | collections.abc.Sequence[int] | None = None,
    service_ns: collections.abc.Sequence[
        int | numpy.typing.NDArray[numpy.int64] | collections.abc.Sequence[int]
    ],
    workers: int = 1,
    max_batch: int = 1,
    max_delay_ns: int = 0,
    least: int = 1,
    most: int = 1,
    first: int = 1,
    target_per_second: float = 1.0,
    period_ns: int = 15000000000,
    start_ns: int = 0,
    scale_down_delay_ns: int = 300000000000,
    balancing: typing.Literal["random", "least-requests", "shared"] = "least-requests",
    late_after_ns: int | None = None,
    report_period_ns: int | None = None,
    seed: int = 0,
) -> FleetOutcome:
    """
    Instances that start and stop serve a load, in simulated time. The load has steps: `rate_per_second` requests arrive at random (Poisson) until `until_ns`; or requests arrive at `due_ns`. Each instance has `workers`, and `service_ns` holds the service times of its batches, one table for each size from 1 to max_batch. The autoscaler keeps from `least` to `most` instances. Deterministic for a seed. Ctrl-C ends it within a second without a result.
    """
