"""One entry: samples in, every figure that a result takes from them out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpubench.results.result import Interval, Lag, Latency, Stages, TrtexecTimes
from gpubench.results.samples import Nanoseconds, Samples
from gpubench.statistics.drift import Change, service_changes
from gpubench.statistics.intervals import throughput_interval
from gpubench.statistics.lag import batch_lag_ns, summarise_lag
from gpubench.statistics.latency import independent_requests, summarise_latency
from gpubench.statistics.offered import (
    due_inside,
    kept_up,
    least_kept_up,
    requests_offered_per_second,
    served_interval,
)
from gpubench.statistics.percentiles import rank
from gpubench.statistics.queues import requests_per_independent_one
from gpubench.statistics.stages import launch_gap_ns, summarise_stages, trtexec_times
from gpubench.statistics.windows import (
    ClosedLoop,
    Mask,
    OpenLoop,
    Window,
    closed_window,
    counted_in_closed_loop,
    open_window,
)

# Of which the verdict asks how many independent requests it comes from.
HEADLINE_PERCENT = 95


@dataclass(frozen=True)
class Analysis:
    """What the samples of one cell say. None is absent, never zero."""

    window_seconds: float | None
    window_ns: tuple[int, int] | None  # when it opened and closed, on the clock of the samples
    completed_by_worker: tuple[int, ...]  # requests that completed inside the window
    completed: int  # requests that count: with `unfinished`, the n of every percentile
    unfinished: int  # open loop: due inside the window and never completed
    offered_per_second: float | None  # open loop: inferences that fell due, per second
    throughput_per_second: float | None  # inferences
    throughput_interval: Interval | None
    throughput_interval_note: str | None
    latency: Latency
    stages: Stages
    trtexec: TrtexecTimes | None  # per batch; None without device events
    lag: Lag | None
    littles_law_residual: float | None  # closed loop: 1 - throughput * mean latency / clients
    counted: Mask  # which rows of the samples the latencies are of
    # For the verdict.
    independent: float | None  # requests that P95 is worth, were they independent of each other
    clients: int | None  # closed loop
    least_served_client: float | None  # closed loop: its completions over an equal share of them
    kept_up: float | None  # open loop: completions over requests due, in the same time
    settling: Change | None  # service time, first fifth of the window against the rest
    drift: Change | None  # service time, last two fifths against the two before
    launch_gap_ms: float | None  # median wait of the device for a launch


def analyse(
    samples: Samples,
    loop: ClosedLoop | OpenLoop,
    *,
    inferences_per_request: int = 1,
    max_batch: int = 1,
    max_delay_ns: int = 0,
) -> Analysis:
    """Every figure that a result takes from samples.

    `max_batch` (in requests) and `max_delay_ns` are those of dynamic batching. Few or no samples
    are no error: what they do not carry is None.
    """
    if isinstance(loop, ClosedLoop):
        window = closed_window(samples, loop)
        counted = counted_in_closed_loop(samples, window)
        unfinished = 0  # at the end of a run every client is due again: that is no failure
    else:
        window = open_window(samples, loop)
        counted = loop.inside(samples.scheduled_ns)  # whenever they completed
        unfinished = int(loop.inside(samples.unfinished_scheduled_ns).sum())

    interval, note = throughput_interval(window, loop.round, inferences_per_request)
    offered = share_served = None
    if isinstance(loop, OpenLoop):
        due_ns = due_inside(samples, loop)
        offered = requests_offered_per_second(loop, due_ns)
        share_served = kept_up(samples, loop, due_ns)
        if share_served is not None and share_served >= least_kept_up(len(due_ns)):
            interval, note = served_interval(samples, loop, window, due_ns, inferences_per_request)
    counted_batches = counted[samples.batch_starts]
    latency_ns = samples.latency_ns[counted]
    dependence = requests_per_independent_one(samples, counted, loop, max_batch)
    settling, drift = service_changes((samples.completed_ns - samples.departed_ns)[counted])
    lag_ns = batch_lag_ns(samples, max_batch, max_delay_ns)
    launch_gap = launch_gap_ns(samples)
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
        latency=summarise_latency(latency_ns, unfinished, dependence),
        stages=summarise_stages(samples, counted),
        trtexec=trtexec_times(samples, counted),
        lag=summarise_lag(lag_ns[counted_batches]),
        littles_law_residual=_littles_law_residual(samples, loop, window, counted),
        counted=counted,
        independent=independent_requests(latency_ns, unfinished, HEADLINE_PERCENT, dependence),
        clients=loop.clients if isinstance(loop, ClosedLoop) else None,
        least_served_client=_least_served_client(samples, loop, counted),
        kept_up=share_served,
        settling=settling,
        drift=drift,
        launch_gap_ms=_median_ms(launch_gap, counted_batches),
    )


def _completed_by_worker(samples: Samples, window: Window | None) -> tuple[int, ...]:
    """The completions that make the throughput, by worker up to the last that has any."""
    if window is None:
        return ()
    inside = (samples.completed_ns > window.opens_ns) & (samples.completed_ns <= window.closes_ns)
    return tuple(np.bincount(samples.worker[inside]).tolist())


def _littles_law_residual(
    samples: Samples, loop: ClosedLoop | OpenLoop, window: Window | None, counted: Mask
) -> float | None:
    """1 - throughput * mean latency / clients: the share of the clients' time not accounted for.

    In a closed loop every client always waits for an answer, so that Little's law (Operations
    Research 9(3), 1961) makes it zero, up to the requests cut by the window's two ends.
    """
    if isinstance(loop, OpenLoop) or window is None:
        return None
    mean_latency_s = float(samples.latency_ns[counted].mean()) / 1e9
    return 1 - window.requests_per_second * mean_latency_s / loop.clients


def _least_served_client(
    samples: Samples, loop: ClosedLoop | OpenLoop, counted: Mask
) -> float | None:
    """Counted completions of the client that got the fewest, over an equal share of them."""
    if isinstance(loop, OpenLoop) or not counted.any():
        return None
    completions = np.bincount(samples.id[counted], minlength=loop.clients)
    return float(completions.min()) / (float(counted.sum()) / loop.clients)


def _median_ms(batch_ns: Nanoseconds | None, counted: Mask) -> float | None:
    if batch_ns is None or not counted.any():
        return None
    chosen = batch_ns[counted]
    middle = rank(50, len(chosen)) - 1
    return float(np.partition(chosen, middle)[middle]) / 1e6
