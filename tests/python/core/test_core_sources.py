"""Sources, service times and schedules from Python: their content, and what they refuse."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpubench import core

MASK = 2**64 - 1


def _splitmix64(state: int) -> tuple[int, int]:
    state = (state + 0x9E3779B97F4A7C15) & MASK
    z = state
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return state, z ^ (z >> 31)


def _poisson_in_python(rate: float, count: int, seed: int) -> list[float]:
    """The schedule computed a second time, with the logarithm of the C library."""
    state = _splitmix64(seed)[1] ^ int.from_bytes(b"arrivals")
    gaps = []
    for _ in range(count + 1):
        state, bits = _splitmix64(state)
        gaps.append(-math.log(((bits >> 11) + 1) * 2.0**-53))
    partial_sums = np.cumsum(gaps)
    return [float(x) for x in partial_sums[:-1] / partial_sums[-1] * count / rate * 1e9]


@given(rate=st.floats(1e-3, 1e6), count=st.integers(1, 200), seed=st.integers(0, 2**64 - 1))
def test_poisson_arrivals_are_the_inverse_cdf_of_the_generator(
    rate: float, count: int, seed: int
) -> None:
    due = core.poisson_arrivals(rate, count, seed)
    expected = _poisson_in_python(rate, count, seed)
    np.testing.assert_allclose(due, expected, rtol=1e-12, atol=0.6)  # 0.5: rounding to a ns


@pytest.mark.parametrize("count", [1, 10, 12_345])
def test_offered_rate_is_the_rate_asked_for(count: int) -> None:
    for seed in range(5):
        due = core.poisson_arrivals(750.0, count, seed)
        assert len(due) == count
        assert due[-1] <= count / 750.0 * 1e9


def test_schedule_of_a_read_only_array_is_not_copied_and_kept_alive() -> None:
    due = core.constant_arrivals(1e6, 1000)
    assert not due.flags.writeable
    source = core.OpenLoop(due)
    del due
    gc.collect()
    assert core.simulate(source, service_ns=0).completed == 1000


def test_schedule_of_a_writable_array_is_copied() -> None:
    due = np.array([0, 10, 20])
    source = core.OpenLoop(due)
    due[:] = 99
    assert core.simulate(source, service_ns=0).timelines[0].scheduled_ns.tolist() == [0, 10, 20]


def test_service_table_is_used_in_turn() -> None:
    outcome = core.simulate(
        core.ClosedLoop(1), service_ns=np.array([5, 7]), stop_after_completions=4
    )
    assert outcome.timelines[0].completed_ns.tolist() == [5, 12, 17, 24]


def test_live_queue_takes_requests_before_and_during_a_run() -> None:
    queue = core.LiveQueue(2)
    assert queue.submit(7)
    assert queue.submit(8)
    assert not queue.submit(9)
    assert not queue.submit(9, wait_s=0.001)
    queue.close()
    with pytest.raises(RuntimeError, match="closed"):
        queue.submit(9)
    outcome = core.Runner([core.DelayExecutor(0)]).run(queue)
    assert outcome.reason == "finished"
    assert outcome.timelines[0].id.tolist() == [7, 8]


NAN, INF = math.nan, math.inf
BUSY: Any = "busy"
HALVES: Any = np.array([0.5, 1.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: core.OpenLoop([0, 5, 4]), r"due_ns\[2\] is 4.*sort the due times"),
        (lambda: core.OpenLoop([-5, 4]), "0 or later"),
        (lambda: core.OpenLoop([]), "at least 1 request"),
        (lambda: core.OpenLoop(np.array([[1], [2]])), "2 dimensions"),
        (lambda: core.OpenLoop(HALVES), "give int64 nanoseconds"),
        (lambda: core.OpenLoop(HALVES * NAN), "give int64 nanoseconds"),
        (lambda: core.OpenLoop(np.array([2**63], np.uint64)), "0 or later|integers"),
        (lambda: core.ClosedLoop(0), "clients is 0"),
        (lambda: core.ClosedLoop(-1), "clients is -1"),
        (lambda: core.ClosedLoop(10**15), "GB of memory.*lower clients"),
        (lambda: core.ClosedLoop(1, think_time_ns=-1), "think_time_ns is -1"),
        (lambda: core.LiveQueue(0), "capacity is 0"),
        (lambda: core.poisson_arrivals(0, 1, 0), "positive number of requests per second"),
        (lambda: core.poisson_arrivals(NAN, 1, 0), "rate_per_second is nan"),
        (lambda: core.constant_arrivals(INF, 1), "rate_per_second is inf"),
        (lambda: core.constant_arrivals(1, 0), "count is 0"),
        (lambda: core.constant_arrivals(1, -3), "count is -3"),
        (lambda: core.constant_arrivals(1, 10**15), "lower count"),
        (lambda: core.constant_arrivals(1e-6, 10**6), "raise the rate"),
        (lambda: core.burst_arrivals(1, 1, 0), "burst is 0"),
        (lambda: core.exponential_service(NAN, 1, 0), "mean_ns is nan"),
        (lambda: core.DelayExecutor(-1), "holds -1"),
        (lambda: core.DelayExecutor(np.empty(0, np.int64)), "at least one service time"),
        (lambda: core.DelayExecutor(HALVES), "give int64 nanoseconds"),
        (lambda: core.Runner([]), "one executor per worker"),
        (lambda: core.Runner([core.DelayExecutor(0)], wait=BUSY), "choose spin, yield or block"),
    ],
)
def test_bad_input_names_the_argument_and_the_fix(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_delay_ns": 5}, "set max_batch to 2 or more"),
        ({"max_batch": 0}, "max_batch is 0"),
        ({"max_batch": 2, "max_delay_ns": -1}, "max_delay_ns is -1"),
        ({"stop_after_completions": 0}, "stop_after_completions is 0"),
        ({"stop_after_ns": 0}, "stop_after_ns is 0"),
        ({"capacity": 0}, "capacity is 0"),
        ({"capacity": 2**32}, "over 4294967295 requests"),
    ],
)
def test_bad_options_are_refused_by_runner_and_simulation(
    options: dict[str, int], message: str
) -> None:
    runner = core.Runner([core.DelayExecutor(0)])
    with pytest.raises(ValueError, match=message):
        runner.run(core.ClosedLoop(1), **options)
    with pytest.raises(ValueError, match=message):
        core.simulate(core.ClosedLoop(1), service_ns=1, **options)


def test_a_timeline_beyond_memory_is_refused_before_it_is_taken() -> None:
    runner = core.Runner([core.DelayExecutor(0)])
    with pytest.raises(ValueError, match=r"GB of memory.*lower capacity"):
        runner.run(core.ClosedLoop(1), capacity=4_000_000_000)


def test_callables_are_checked() -> None:
    with pytest.raises(TypeError, match="must be callable, not int"):
        core.PythonExecutor(3)  # type: ignore[arg-type]
