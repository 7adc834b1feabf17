"""The core accepts an argument, or says in one line what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpubench import core

Call = Callable[..., Any]

NUMBERS = st.one_of(
    st.integers(-3, 50),
    st.integers(),
    st.sampled_from([2**31, 2**32, 2**63 - 1, 2**63, -(2**63), 2**64, 10**18, 10**19, 10**400]),
    st.floats(),
    st.booleans(),
    st.sampled_from([np.int64(3), np.uint64(2**63), np.float32(2.5), np.bool_(True)]),
)
ARRAYS = st.sampled_from(
    [
        np.arange(6),
        np.arange(6)[::-1],
        np.arange(12)[::3],
        np.arange(6).reshape(2, 3),
        np.array(5),
        np.array([2**63], np.uint64),
        np.array([1.5, math.nan]),
        np.array([1, None, "x"], dtype=object),
        np.array(["2026-01-01"], "datetime64[D]"),
        np.arange(4, dtype=">i8"),
        np.arange(4, dtype=np.int8),
        np.empty(0),
        np.broadcast_to(np.int64(7), (5,)),
        np.zeros(3, [("a", int)]),
    ]
)
ODD: st.SearchStrategy[Any] = st.one_of(
    NUMBERS,
    ARRAYS,
    st.sampled_from([None, "", "spin", "half \ud800", b"\xff", [], {}, (), object(), int, ..., 1j]),
    st.lists(st.integers(-2, 2**65), max_size=4),
)

RUNNER = core.Runner([core.DelayExecutor(0)])
ANY: Any = core  # without types, to pass arguments of wrong types

# Functions with valid arguments. The tests replace one argument at a time.
CALLS: dict[str, tuple[Call, dict[str, Any]]] = {
    "constant_arrivals": (core.constant_arrivals, {"rate_per_second": 5.0, "count": 3}),
    "poisson_arrivals": (core.poisson_arrivals, {"rate_per_second": 5.0, "count": 3, "seed": 1}),
    "burst_arrivals": (core.burst_arrivals, {"rate_per_second": 5.0, "count": 3, "burst": 2}),
    "exponential_service": (core.exponential_service, {"mean_ns": 5.0, "count": 3, "seed": 1}),
    "ClosedLoop": (core.ClosedLoop, {"clients": 2, "think_time_ns": 1}),
    "OpenLoop": (core.OpenLoop, {"due_ns": [1, 2]}),
    "LiveQueue": (core.LiveQueue, {"capacity": 2}),
    "DelayExecutor": (core.DelayExecutor, {"service_ns": 0, "spin": True}),
    "simulate": (
        lambda **given: core.simulate(**({"source": core.ClosedLoop(2)} | given)),
        {
            "source": None,  # every example has its own
            "executors": 2,
            "service_ns": 10,
            "max_batch": 2,
            "max_delay_ns": 5,
            "stop_after_completions": 20,
            "stop_after_ns": 1000,
            "capacity": 100,
        },
    ),
    "run": (
        lambda **given: RUNNER.run(**({"source": core.ClosedLoop(2)} | given)),
        {
            "source": None,
            "max_batch": 2,
            "max_delay_ns": 5,
            "stop_after_completions": 20,
            "stop_after_ns": 1_000_000,
            "batch_deadline_ns": 10**10,
            "capacity": 100,
        },
    ),
    "stop": (lambda **given: RUNNER.stop(**given), {"grace_s": 1.0}),
    "submit": (lambda **given: core.LiveQueue(1).submit(**given), {"id": 1, "wait_s": 0.0}),
    "Runner": (
        lambda **given: core.Runner(**({"executors": [core.DelayExecutor(0)]} | given)),
        {"executors": None, "wait": "spin"},
    ),
    "check_event_clock": (
        core.cuda.check_event_clock,
        {"device": 0, "lengths_ns": [100], "repeats": 1},
    ),
    "PinnedBuffer": (core.cuda.PinnedBuffer, {"device": 0, "bytes": 1}),
}

PLACES = [(call, name) for call, (_, defaults) in CALLS.items() for name in defaults]

# A valid number that needs more time or memory than a test may use.
LARGEST = {"clients": 1000, "count": 1000, "capacity": 10_000, "executors": 1000, "max_batch": 1000}


@pytest.mark.parametrize(("call", "name"), PLACES, ids=[f"{c}-{n}" for c, n in PLACES])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=ODD)
def test_an_odd_argument_is_taken_or_refused_in_one_line(call: str, name: str, value: Any) -> None:
    function, defaults = CALLS[call]
    works = {key: each for key, each in defaults.items() if each is not None}
    whole = isinstance(value, int | np.integer)
    if whole and LARGEST.get(name, 2**63) < value < 10**13:
        value = LARGEST[name]
    try:
        function(**(works | {name: value}))
    except (TypeError, ValueError, core.CudaUnavailable) as error:
        text = str(error)
        assert "\n" not in text
        assert len(text) < 300
        if not isinstance(error, core.CudaUnavailable):
            assert name in text or "capacity" in text or "rate" in text or "executors[" in text


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: core.ClosedLoop(2**70), ValueError, r"^clients is 1180.*at most 64 bits$"),
        (lambda: ANY.ClosedLoop(1.5), TypeError, "^clients must be a whole number, not float$"),
        (lambda: ANY.ClosedLoop("1"), TypeError, "^clients must be a whole number, not str$"),
        (lambda: core.ClosedLoop(10**6000), ValueError, "^clients is an integer of more digits"),
        (lambda: core.poisson_arrivals(1, 1, -1), ValueError, r"^seed is -1; .*2\*\*64 - 1$"),
        (lambda: ANY.poisson_arrivals("1", 1, 1), TypeError, "^rate_per_second must be a number"),
        (lambda: core.constant_arrivals(10**400, 1), ValueError, "^rate_per_second is 1000"),
        (
            lambda: core.LiveQueue(1).submit(1, math.nan),
            ValueError,
            "^wait_s is nan; give a number",
        ),
        (lambda: core.LiveQueue(1).submit(1, -1), ValueError, "^wait_s is -1.0"),
        (lambda: RUNNER.stop(math.inf), ValueError, "^grace_s is inf; give a number of seconds"),
        (
            lambda: ANY.Runner.run(RUNNER, "x"),
            TypeError,
            "^source must be a RequestSource, not str$",
        ),
        (
            lambda: ANY.Runner.run(RUNNER, None),
            TypeError,
            "^source must be a RequestSource, not NoneType$",
        ),
        (lambda: ANY.Runner([1]), TypeError, "^executors must be a list of Executors, not list$"),
        (lambda: ANY.Runner([None]), ValueError, r"^executors\[0\] is absent"),
        (
            lambda: core.simulate(core.ClosedLoop(1), executors=10**12, service_ns=1),
            ValueError,
            "lower executors$",
        ),
        (
            lambda: core.simulate(core.ClosedLoop(1), service_ns=10**18),
            ValueError,
            "^the simulated clock passed 4e18 ns",
        ),
    ],
)
def test_bad_numbers_are_named_in_one_line(
    call: Call, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_service_time_may_be_any_integer() -> None:
    outcome = ANY.simulate(ANY.ClosedLoop(1), service_ns=np.int64(5), stop_after_completions=1)
    assert outcome.timelines[0].completed_ns.tolist() == [5]


@pytest.mark.parametrize("returned", [None, 1, "text", [1] * 1000, object(), float("nan")])
def test_what_an_executor_returns_is_not_looked_at(returned: object) -> None:
    runner = core.Runner([core.PythonExecutor(lambda ids: returned)])
    assert runner.run(core.ClosedLoop(1), stop_after_completions=3).completed == 3


def test_a_closed_queue_stays_closed() -> None:
    queue = core.LiveQueue(1)
    queue.close()
    queue.close()
    with pytest.raises(RuntimeError, match="the queue is closed"):
        queue.submit(1, wait_s=1)
    assert core.simulate(queue, service_ns=1).reason == "finished"
