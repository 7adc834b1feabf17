"""Tests with a kernel of known length: time stamps, service times, overlap."""

from __future__ import annotations

import numpy as np
import pytest

from gpubench import core

# The most that a launch and its events add to the time of a kernel, in the median.
OVERHEAD_NS = 50_000


def run(
    executor: core.Executor, *, clients: int, requests: int, max_batch: int = 1
) -> core.Timeline:
    runner = core.Runner([executor])
    try:
        runner.run(core.ClosedLoop(clients), max_batch=max_batch, stop_after_completions=50)
        outcome = runner.run(
            core.ClosedLoop(clients), max_batch=max_batch, stop_after_completions=requests
        )
    finally:
        runner.close()
    assert outcome.error is None
    (timeline,) = outcome.timelines
    return timeline


@pytest.mark.gpu
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("request_bytes", [0, 600_000])
def test_stamps_lie_within_what_the_host_saw(depth: int, request_bytes: int) -> None:
    executor = core.cuda.SyntheticExecutor(
        0, 100_000, depth=depth, max_batch=4, request_bytes=request_bytes, reply_bytes=4000
    )
    timeline = run(executor, clients=8 * depth, requests=8000, max_batch=4)
    assert timeline.device_ns is not None
    stamps = [timeline.submitted_ns, *timeline.device_ns.T, timeline.completed_ns]
    assert (np.diff(np.stack(stamps), axis=0) >= 0).all()
    fit = executor.clock
    assert fit is not None
    assert abs(fit.drift_ppm) < 500
    assert fit.contradiction_ns <= 2_000  # a little more than the resolution of events
    assert fit.largest_shift_ns <= fit.contradiction_ns + 1
    assert fit.width_ns is None or fit.width_ns < 200_000


@pytest.mark.gpu
@pytest.mark.parametrize("service_ns", [20_000, 1_000_000])
def test_the_service_time_is_that_between_the_events(service_ns: int) -> None:
    timeline = run(core.cuda.SyntheticExecutor(0, service_ns), clients=1, requests=300)
    assert timeline.device_ns is not None
    compute_ns = timeline.device_ns[:, 2] - timeline.device_ns[:, 1]
    assert 0 <= np.median(compute_ns) - service_ns + 2_000 < OVERHEAD_NS


@pytest.mark.gpu
def test_batches_in_flight_overlap_on_the_device() -> None:
    alone = run(core.cuda.SyntheticExecutor(0, 1_000_000, depth=1), clients=2, requests=200)
    both = run(core.cuda.SyntheticExecutor(0, 1_000_000, depth=2), clients=2, requests=200)

    def overlapping(timeline: core.Timeline) -> float:
        assert timeline.device_ns is not None
        stamps = timeline.device_ns[np.argsort(timeline.device_ns[:, 0])]
        return float((stamps[1:, 0] < stamps[:-1, 3]).mean())

    assert overlapping(alone) == 0
    assert overlapping(both) > 0.4  # 0.5 if the two always begin and end at the same time


@pytest.mark.gpu
def test_events_agree_with_the_kernel_s_own_timer() -> None:
    lengths_ns = [10_000, 100_000, 1_000_000, 10_000_000, 100_000_000]
    for row in core.cuda.check_event_clock(0, lengths_ns, repeats=11):
        assert abs(row.error_ns) <= 2_000 + row.tick_ns, f"{row.length_ns} ns: {row.error_ns} ns"
