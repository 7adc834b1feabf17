"""All figures of a result that come from its samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpubench.results.result import CountedRows, Interval, Lag, Latency, Stages, TrtexecTimes
from gpubench.results.samples import Nanoseconds, Samples
from gpubench.statistics.drift import Change, service_changes
from gpubench.statistics.intervals import throughput_interval
from gpubench.statistics.lag import batch_lag_ns, summarise_lag
from gpubench.statistics.latency import percentile_effective_size, summarise_latency
from gpubench.statistics.offered import (
    due_inside,
    kept_up,
    least_kept_up,
    requests_offered_per_second,
    served_interval,
)
from gpubench.statistics.percentiles import rank
from gpubench.statistics.queues import tau_of_load
from gpubench.statistics.stages import device_gaps, summarise_stages, trtexec_times
from gpubench.statistics.windows import (
    ClosedLoopRule,
    Mask,
    OpenLoopRule,
    Window,
    closed_window,
    counted_rows,
    counted_samples,
    open_window,
)
from gpubench.statistics.worst import worst_request

# The percentile whose effective sample size the verdict judges.
HEADLINE_PERCENT = 95


@dataclass(frozen=True)
class Analysis:
    """The figures of one cell. None means absent, never zero."""

    window_seconds: float | None
    window_ns: tuple[int, int] | None  # its start and end, on the clock of the samples
    completed_by_worker: tuple[int, ...]  # requests that completed inside the window
    completed: int  # requests that count; n of a percentile is this plus `unfinished`
    unfinished: int  # open loop: requests that were due inside the window and never completed
    offered_per_second: float | None  # open loop: inferences that became due per second
    throughput_per_second: float | None  # inferences
    throughput_interval: Interval | None
    throughput_interval_note: str | None
    latency: Latency
    stages: Stages
    trtexec: TrtexecTimes | None  # of a batch; None without device events
    lag: Lag | None
    littles_law_residual: float | None  # closed loop: 1 - throughput * mean latency / clients
    counted: Mask  # the rows of the samples whose latencies count
    counted_rows: CountedRows | None  # the rule for these rows; None: no request counts
    # For the verdict.
    p95_effective_size: float | None  # the effective sample size of P95
    clients: int | None  # closed loop
    least_served_client: float | None  # closed loop: its completions / an equal share of all
    kept_up: float | None  # open loop: completions / requests due in the same time
    settling: Change | None  # of the service time: first fifth compared with the rest
    drift: Change | None  # of the service time: last two fifths compared with the two before
    # Median times for which the device waits for the CPU: to gather the inputs of a batch, and to
    # launch it.
    input_gap_ms: float | None
    launch_gap_ms: float | None


def analyse(
    samples: Samples,
    loop: ClosedLoopRule | OpenLoopRule,
    *,
    inferences_per_request: int = 1,
    max_batch: int = 1,
    max_delay_ns: int = 0,
) -> Analysis:
    """All figures of a result that come from its samples.

    `max_batch` (in requests) and `max_delay_ns` are those of dynamic batching. With few or no
    samples, a figure that they do not give is None. Raises ValueError for samples that hold those
    of the warm-up.
    """
    if samples.warmup is not None:
        raise ValueError("samples of a warm-up are in no figure; leave them out")
    if isinstance(loop, ClosedLoopRule):
        window = closed_window(samples, loop)
    else:
        window = open_window(samples, loop)
    rows = counted_rows(loop, window)
    counted, unfinished = counted_samples(samples, rows)

    interval, note = throughput_interval(window, loop.round, inferences_per_request)
    offered = share_served = None
    if isinstance(loop, OpenLoopRule):
        due_ns = due_inside(samples, loop)
        offered = requests_offered_per_second(loop, due_ns)
        share_served = kept_up(samples, loop, due_ns)
        if share_served is not None and share_served >= least_kept_up(len(due_ns)):
            interval, note = served_interval(samples, loop, window, due_ns, inferences_per_request)
    counted_batches = counted[samples.batch_starts]
    latency_ns = samples.latency_ns[counted]
    tau = tau_of_load(samples, counted, loop, max_batch)
    latency = summarise_latency(latency_ns, unfinished, tau)
    if window is not None and unfinished == 0:
        latency.worst = worst_request(samples, counted, window.opens_ns)
    settling, drift = service_changes((samples.completed_ns - samples.departed_ns)[counted])
    lag_ns = batch_lag_ns(samples, max_batch, max_delay_ns)
    gaps = device_gaps(samples)
    return Analysis(
        window_seconds=None if window is None else window.seconds,
        window_ns=None if window is None else (window.opens_ns, window.closes_ns),
        completed_by_worker=_completed_by_worker(samples, window),
        completed=int(counted.sum()),
        unfinished=unfinished,
        offered_per_second=None if offered is None else offered * inferences_per_request,
        throughput_per_second=(
            None if window is None else window.requests_per_second * inferences_per_request
        ),
        throughput_interval=interval,
        throughput_interval_note=note,
        latency=latency,
        stages=summarise_stages(samples, counted),
        trtexec=trtexec_times(samples, counted),
        lag=summarise_lag(lag_ns[counted_batches]),
        littles_law_residual=_littles_law_residual(samples, loop, window, counted),
        counted=counted,
        counted_rows=rows,
        p95_effective_size=percentile_effective_size(latency_ns, unfinished, HEADLINE_PERCENT, tau),
        clients=loop.clients if isinstance(loop, ClosedLoopRule) else None,
        least_served_client=_least_served_client(samples, loop, counted),
        kept_up=share_served,
        settling=settling,
        drift=drift,
        input_gap_ms=_median_ms(gaps.input_ns if gaps else None, counted_batches),
        launch_gap_ms=_median_ms(gaps.launch_ns if gaps else None, counted_batches),
    )


def _completed_by_worker(samples: Samples, window: Window | None) -> tuple[int, ...]:
    """Completions inside the window of each worker, up to the last worker that has any."""
    if window is None:
        return ()
    inside = (samples.completed_ns > window.opens_ns) & (samples.completed_ns <= window.closes_ns)
    return tuple(np.bincount(samples.worker[inside]).tolist())


def _littles_law_residual(
    samples: Samples, loop: ClosedLoopRule | OpenLoopRule, window: Window | None, counted: Mask
) -> float | None:
    """1 - throughput * mean latency / clients. None in an open loop.

    In a closed loop every client always waits for an answer. By Little's law (Operations Research
    9(3), 1961) the residual is then 0, except for the requests that the ends of the window cut.
    """
    if isinstance(loop, OpenLoopRule) or window is None:
        return None
    mean_latency_s = float(samples.latency_ns[counted].mean()) / 1e9
    return 1 - window.requests_per_second * mean_latency_s / loop.clients


def _least_served_client(
    samples: Samples, loop: ClosedLoopRule | OpenLoopRule, counted: Mask
) -> float | None:
    """Completions of the client with the fewest, divided by an equal share of all."""
    if isinstance(loop, OpenLoopRule) or not counted.any():
        return None
    completions = np.bincount(samples.id[counted], minlength=loop.clients)
    return float(completions.min()) / (float(counted.sum()) / loop.clients)


def _median_ms(batch_ns: Nanoseconds | None, counted: Mask) -> float | None:
    if batch_ns is None or not counted.any():
        return None
    counted_ns = batch_ns[counted]
    middle = rank(50, len(counted_ns)) - 1
    return float(np.partition(counted_ns, middle)[middle]) / 1e6
