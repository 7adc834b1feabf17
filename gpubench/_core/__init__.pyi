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
    A fixed number of clients: each sends its next request `think_time_ns` after its last one completed. Ids are the clients, from 0.
    """
    def __init__(self, clients: int, think_time_ns: int = 0) -> None: ...

class OpenLoop(RequestSource):
    """
    Requests on a schedule of offsets from the start, however slow the answers are. Ids are places on the schedule. A read-only int64 array is used in place, any other is copied.
    """
    def __init__(
        self, due_ns: numpy.typing.NDArray[numpy.int64] | collections.abc.Sequence[int]
    ) -> None: ...

class LiveQueue(RequestSource):
    """
    Requests that other threads bring while the run goes on.
    """
    def __init__(self, capacity: int) -> None: ...
    def close(self) -> None:
        """
        No more submissions: the run finishes when the queue is empty.
        """
    def submit(self, id: int, wait_s: float | None = None) -> bool:
        """
        Brings a request, due now. False if the queue is full and stays so for `wait_s` seconds (None: does not wait). Raises RuntimeError once the queue is closed, and in a child that was forked after the queue was made.
        """

class Executor:
    """
    Executes batches for one worker.
    """

class DelayExecutor(Executor):
    """
    A known service time a batch, whatever its size: an int, or an int64 array used in turn. 0 is the null system. Meanwhile the thread spins or sleeps.
    """
    def __init__(
        self,
        service_ns: int | numpy.typing.NDArray[numpy.int64] | collections.abc.Sequence[int],
        spin: bool = True,
    ) -> None: ...

class PythonExecutor(Executor):
    """
    Calls run(ids) once a batch, ids being an int64 array of its own, and open() and close() once each, all on the worker's thread.
    """
    def __init__(
        self,
        run: collections.abc.Callable[[numpy.typing.NDArray[numpy.int64]], object],
        open: collections.abc.Callable[[], object] | None = None,
        close: collections.abc.Callable[[], object] | None = None,
    ) -> None: ...

class Timeline:
    """
    Completed batches of one worker and their requests. Columns are read-only views, uncopied, that keep the timeline alive.
    """
    @property
    def batch(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Per request: the row of its batch; computed, not a view.
        """
    @property
    def completed_ns(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Per batch: its results could be read on the host.
        """
    @property
    def departed_ns(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Per batch: its requests were taken.
        """
    @property
    def device_ns(self) -> numpy.typing.NDArray[numpy.int64] | None:
        """
        Per batch: (batches, 4) stamps e0..e3 on the host's clock, or None. The last batches before a device was lost have no row.
        """
    @property
    def first_request(self) -> numpy.typing.NDArray[numpy.uint32]:
        """
        Per batch: row of its first request.
        """
    @property
    def id(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Per request: its place on the schedule, or its client.
        """
    @property
    def opened_ns(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Per batch: the worker turned to the queue for it.
        """
    @property
    def scheduled_ns(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Per request: when it was due.
        """
    @property
    def size(self) -> numpy.typing.NDArray[numpy.uint32]:
        """
        Per batch: how many requests departed together.
        """
    @property
    def submitted_ns(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Per batch: just before the executor was called.
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
        Requests whose batch raised; they are among the unfinished.
        """
    @property
    def interrupted(self) -> bool:
        """
        A signal (Ctrl-C) ended the run; the caller has yet to act on it.
        """
    @property
    def offered(self) -> int:
        """
        Requests due by the end, completed or not.
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
        One a worker, in order.
        """
    @property
    def unfinished_scheduled_ns(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Due times of the requests that were due by the end and never completed, sorted.
        """

class Runner:
    """
    One thread per executor, for any number of runs. An executor serves one runner at a time, until that is closed. In a forked child there are no threads: every call but close() raises RuntimeError.
    """
    def __init__(
        self,
        executors: collections.abc.Sequence[Executor],
        wait: typing.Literal["spin", "yield", "block"] = "spin",
    ) -> None: ...
    def close(self) -> None:
        """
        Ends the run in progress, closes the executors, ends the threads and gives the executors free for other runners, from any thread. Called by one of its own executors it does not wait for that.
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
        Drives `source` to its end or to a limit. Raises ValueError for bad arguments and RuntimeError where the runner cannot be used; whatever happens while the clock runs is in the outcome.
        """
    def stop(self, grace_s: float = 3600.0) -> None:
        """
        Ends the run in progress, from any thread; batches in flight have `grace_s` seconds.
        """

class CudaUnavailable(RuntimeError):
    """
    No GPU can be used; the message says what to do. `reason` is no-driver, driver-too-old, no-device or driver-error.
    """

    reason: typing.Literal["no-driver", "driver-too-old", "no-device", "driver-error"]

def abandoned_workers() -> int:
    """
    Workers of this process whose executor did not come back. Where it is not 0, end the process by flushing its output and calling os._exit().
    """

def burst_arrivals(
    rate_per_second: float, count: int, burst: int
) -> numpy.typing.NDArray[numpy.int64]:
    """
    Due times of groups of `burst` requests, one group every burst / rate.
    """

def constant_arrivals(rate_per_second: float, count: int) -> numpy.typing.NDArray[numpy.int64]:
    """
    Due times of one request every 1 / rate: offsets from the start, the first 0.
    """

def exponential_service(mean_ns: float, count: int, seed: int) -> numpy.typing.NDArray[numpy.int64]:
    """
    A table of exponential service times, scaled to meet the mean; independent of poisson_arrivals() with the same seed.
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
    The runner's twin in simulated time: exact, instant, deterministic. Batches take the service times in turn, in the order of their departure. Ctrl-C, and whatever else a signal's handler raises, ends it within a second; nothing is kept then.
    """
