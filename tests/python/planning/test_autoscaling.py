"""A load request by request: a day worked out by hand, the rows, service times, starts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gpubench import core
from gpubench.errors import InputError
from gpubench.planning.autoscaling import (
    Policy,
    Simulated,
    check_most,
    simulate,
)
from gpubench.planning.scale_to_zero import scaled_to_zero
from gpubench.planning.service_times import ServiceTimes
from gpubench.planning.traffic import Load, Step, constant_load
from gpubench.spec.objective import Objective

OBJECTIVE = Objective(95, 0.25)


def service(ms: float = 100.0, inferences: int = 1, joined: int = 1) -> ServiceTimes:
    times = tuple(np.array([round(ms * 1e6)], np.int64) for _ in range(joined))
    return ServiceTimes(times, 1, 0, inferences, "test")


def trace(times_s: list[float], span_s: float) -> Load:
    return Load("--traffic t", (Step(span_s, 1.0),), None, np.array(times_s))


def run(load: Load, policy: Policy, times: ServiceTimes | None = None, **more: Any) -> Simulated:
    """An instance serves 10 inferences per second, and is to serve 5."""
    return simulate(load, times or service(), 10.0, policy, OBJECTIVE, **more)


def test_a_day_worked_out_by_hand() -> None:
    """Two minutes: 4 a second, then 12 a second, then 4 a second for the rest.

    The autoscaler looks every 10 s, and an instance that is launched serves 15 s later. It starts
    with 1, as the rate of the trace's only step says.

        at 10 s: 40 requests, 4/s, 1 is desired
        at 20 s: 120, 12/s: 3 are desired, 2 are launched, which serve from 35 s
        at 30 s: 3
        at 40, 50 s: 4/s, 1 is desired; the 3 of 30 s hold for 20 s
        at 60 s: both are removed

    From 10 s to 30 s, 240 requests come to an instance that serves 10/s: the backlog grows by 2/s
    to 40. From 30 s to 35 s it falls by 6/s to 10. The first late one waits for two others: the
    latency is above 250 ms when the backlog exceeds 1.5.
    """
    times = [i / 4 for i in range(40)]
    times += [10 + i / 12 for i in range(240)]
    times += [30 + i / 4 for i in range(360)]
    policy = Policy(1, 5, 0.5, start_s=15.0, scale_down_delay_s=20.0, period_s=10.0)
    found = run(trace(times, 120.0), policy, balancing="least-requests")
    seconds = [
        column.tolist()
        for column in (
            found.outcome.launched_ns // 10**9,
            found.outcome.serving_ns // 10**9,
            found.outcome.stopped_ns // 10**9,
        )
    ]
    never = (2**63 - 1) // 10**9
    assert seconds == [[0, 20, 20], [0, 35, 35], [never, 60, 60]]
    assert found.instance_hours == pytest.approx((120 + 40 + 40) / 3600)
    assert found.hours_a_month == pytest.approx((200 / 120) * 730)
    assert [row.mean_instances for row in found.rows] == pytest.approx([1 + 80 / 60, 1.0])
    assert [row.most_instances for row in found.rows] == [3, 1]
    assert [row.inferences for row in found.rows] == [40 + 240 + 120, 240]
    # By hand: latencies of one queue until 35 s, then two idle instances take every request but
    # those that still wait at the first.
    late, free = 0, 0.0
    for time in times:
        if time < 35:
            free = max(free, time) + 0.1
            late += free - time > 0.25 + 1e-9
    assert found.late == late
    assert late > 200


def test_a_constant_fleet_never_launches() -> None:
    found = run(constant_load(12.0), Policy(2, 2, 0.5))
    assert found.launches == 0
    assert found.instance_hours == 2
    assert found.rows[0].percentile_ms is not None
    assert len(found.rows) == 12  # an hour has rows of 5 minutes


def test_the_fleet_begins_with_what_the_first_rate_needs() -> None:
    found = run(constant_load(14.0), Policy(1, 10, 0.5))
    assert int((found.outcome.launched_ns == 0).sum()) == 3


def test_active_hours_are_starts_and_requests() -> None:
    """Zero instances; a request at 10 s and one at 100 s, each starts an instance for 5 s."""
    load = Load("t", (Step(1.0, 0.0), Step(200.0, 1.0)), None, np.array([10.0, 100.0]))
    policy = Policy(0, 1, 0.5, start_s=5.0, scale_down_delay_s=20.0, period_s=10.0)
    found = run(load, policy)
    # Requested at 10 s, seen at 20 s, gone at the first look more than 20 s later.
    assert (found.outcome.stopped_ns // 10**9).tolist() == [50, 140]
    assert found.active_hours == pytest.approx((5 + 0.1) * 2 / 3600)
    assert found.instance_hours == pytest.approx((40 + 40) / 3600)
    assert found.late == 2


def test_a_request_of_several_inferences_leaves_with_its_last_one() -> None:
    found = run(trace([0.0, 1.0, 2.0, 3.0, 4.0], 10.0), Policy(1, 1), service(inferences=2))
    assert found.inferences == 4  # the fifth has no other one
    assert found.outcome.mean_latency_ns == 100_000_000
    with pytest.raises(InputError, match="fewer inferences than one request"):
        run(trace([0.0], 10.0), Policy(1, 1), service(inferences=2))


def test_a_seed_and_a_balancing_change_the_outcome() -> None:
    load = constant_load(15.0)
    first = run(load, Policy(2, 2)).outcome.mean_latency_ns
    assert run(load, Policy(2, 2)).outcome.mean_latency_ns == first
    assert run(load, Policy(2, 2), seed=1).outcome.mean_latency_ns != first
    assert run(load, Policy(2, 2), balancing="random").outcome.mean_latency_ns > first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"least": 3, "most": 2}, "--autoscale 3:2: give MIN:MAX"),
        ({"most": 0, "least": 0}, "--autoscale 0:0"),
        ({"most": 10**6}, "100,000"),
        ({"target_utilisation": 0.0}, "--target-utilisation 0"),
        ({"target_utilisation": 1.5}, "--target-utilisation 1.5"),
        ({"period_s": 0.0}, "--evaluation-period must be at least 1 s"),
    ],
)
def test_policies_that_are_not_allowed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(constant_load(1.0), replace(Policy(1, 2), **changes))


@pytest.mark.parametrize("start_s", [0.0, 5.0])
def test_one_instance_that_stops_when_idle_is_that_of_the_closed_form(start_s: float) -> None:
    """Poisson arrivals, 1 in 500 s; an instance stops after 500 s without one."""
    rate, timeout_s, period_s = 1 / 500, 500.0, 5.0
    load = Load("t", (Step(20_000 / rate, rate),))
    policy = Policy(0, 1, 1.0, start_s, timeout_s, period_s)
    found = simulate(load, service(0.0), 10.0, policy, Objective(95, 1e-9), "random")
    # The last request is seen at the end of its period, and the evaluation after the timeout stops.
    expected = scaled_to_zero(rate, timeout_s + 1.5 * period_s, start_s)
    assert found.instance_hours * 3600 / found.span_s == pytest.approx(
        expected.billed_share, rel=0.03
    )
    if start_s:
        assert found.late_share == pytest.approx(expected.waiting_share, rel=0.03)


def test_p95_of_mm1_is_that_of_the_closed_form() -> None:
    """The latency of M/M/1 is exponential with the mean 1 / (capacity - rate)."""
    times = core.exponential_service(0.1e9, 100_000, seed=5)
    exponential = ServiceTimes((times,), 1, 0, 1, "test")
    load = Load("t", (Step(100_000.0, 5.0),))
    found = run(load, Policy(1, 1), exponential)
    assert found.percentile_ms == pytest.approx(math.log(20) / (10 - 5) * 1e3, rel=0.03)
    assert found.late_share == pytest.approx(math.exp(-0.25 * (10 - 5)), rel=0.03)


def test_a_maximum_that_cannot_execute_the_mean_load_is_refused() -> None:
    load = Load("t", (Step(60.0, 10.0), Step(120.0, 50.0)))  # 30/s; an instance executes 10/s
    check_most(Policy(1, 3), load, service(), 5)
    with pytest.raises(InputError) as caught:
        check_most(Policy(1, 2), load, service(), 5)
    assert str(caught.value) == (
        "--autoscale 1:2: 2 instances execute at most 20 inferences/s, and the load has 30 on "
        "average; give a MAX of 5 for the peak"
    )
    # Batches of up to 4 requests of 2 inferences take as long as one.
    check_most(Policy(1, 1), load, service(joined=4), 5)
    check_most(Policy(1, 1), load, service(0.0), 5)


def test_a_load_that_is_too_long_to_simulate_is_refused() -> None:
    with pytest.raises(InputError, match="give a shorter part of the load"):
        run(constant_load(1e7), Policy(1, 2))
