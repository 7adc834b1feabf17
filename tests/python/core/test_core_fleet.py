"""Simulated fleets: queueing theory, a plain loop in Python, and bad arguments."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from queueing import erlang_c, mdc_mean_wait

from gpubench import core

SERVICE_NS = 10_000_000


def constant_fleet(
    instances: int, load: float, service_ns: NDArray[np.int64] | int, **options: Any
) -> core.FleetOutcome:
    """400,000 requests, as Poisson arrivals, at so many instances with one worker each."""
    rate = load * instances / (SERVICE_NS / 1e9)
    return core.simulate_fleet(
        [round(400_000 / rate * 1e9)],
        [rate],
        service_ns=[service_ns],
        least=instances,
        most=instances,
        first=instances,
        **options,
    )


@pytest.mark.parametrize(("instances", "load"), [(1, 0.5), (2, 0.8), (8, 0.8)])
def test_a_shared_queue_is_mdc(instances: int, load: float) -> None:
    found = constant_fleet(instances, load, SERVICE_NS, balancing="shared", seed=1)
    wait = found.mean_latency_ns / SERVICE_NS - 1
    assert wait == pytest.approx(mdc_mean_wait(load, instances), rel=0.05)


@pytest.mark.parametrize(("instances", "load"), [(1, 0.5), (2, 0.8), (8, 0.8)])
def test_a_shared_queue_with_exponential_service_is_mmc(instances: int, load: float) -> None:
    service_ns = core.exponential_service(SERVICE_NS, 200_000, seed=2)
    found = constant_fleet(instances, load, service_ns, balancing="shared", seed=3)
    wait = found.mean_latency_ns / SERVICE_NS - 1
    expected = erlang_c(load, instances) / (instances * (1 - load))
    assert wait == pytest.approx(expected, rel=0.05)


def test_requests_that_are_split_at_random_find_md1_at_each_instance() -> None:
    found = constant_fleet(8, 0.8, SERVICE_NS, balancing="random", seed=4)
    wait = found.mean_latency_ns / SERVICE_NS - 1
    assert wait == pytest.approx(mdc_mean_wait(0.8, 1), rel=0.05)


def test_fewest_requests_wait_between_a_shared_queue_and_a_random_split() -> None:
    shared, least, split = (
        constant_fleet(8, 0.8, SERVICE_NS, balancing=rule, seed=5).mean_latency_ns
        for rule in ("shared", "least-requests", "random")
    )
    assert shared < least < split


def test_two_instances_are_those_of_a_plain_loop() -> None:
    """Fewest requests first, where a tie cannot matter: the sum over both instances is the same."""
    due = core.poisson_arrivals(150, 5000, seed=6)
    found = core.simulate_fleet(
        [int(due[-1]) + 1],
        [1.0],
        due_ns=due,
        service_ns=[SERVICE_NS],
        least=2,
        most=2,
        first=2,
        late_after_ns=2 * SERVICE_NS,
    )
    ends: list[deque[int]] = [deque(), deque()]  # of the unfinished requests of each instance
    latencies = []
    for now in due.tolist():
        for unfinished in ends:
            while unfinished and unfinished[0] <= now:
                unfinished.popleft()
        # Of two instances with as many requests, the choice decides who waits later; so it
        # is compared only in distribution, and here as a bound on both sides.
        chosen = min(ends, key=lambda each: (len(each), each[-1] if each else 0))
        end = max(now, chosen[-1] if chosen else 0) + SERVICE_NS
        chosen.append(end)
        latencies.append(end - now)
    assert found.mean_latency_ns == pytest.approx(np.mean(latencies), rel=0.03)
    late = int((np.array(latencies) > 2 * SERVICE_NS).sum())
    assert int(found.late.sum()) == pytest.approx(late, rel=0.25)
    assert found.requests.sum() == 5000


def test_a_seed_gives_the_same_outcome() -> None:
    first, again, other = (constant_fleet(3, 0.9, SERVICE_NS, seed=seed) for seed in (7, 7, 8))
    assert first.mean_latency_ns == again.mean_latency_ns != other.mean_latency_ns


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"until_ns": []}, "until_ns has 0 entries and rate_per_second has 1"),
        ({"until_ns": [0]}, "until_ns of a step is 0"),
        ({"until_ns": [1.5]}, "until_ns does not hold integers"),
        ({"rate_per_second": [float("nan")]}, "the rate of a step is nan"),
        ({"due_ns": []}, "due_ns is empty"),
        ({"due_ns": [5, 3]}, "due_ns is not sorted"),
        ({"due_ns": [10**12]}, "outside the load"),
        ({"service_ns": []}, "service times for 0 sizes"),
        ({"service_ns": [[-1]]}, "-1"),
        ({"workers": 0}, "workers is 0"),
        ({"least": -1}, "least is -1"),
        ({"least": 2}, "in this order"),
        ({"target_per_second": 0.0}, "target_per_second is 0"),
        ({"period_ns": 0}, "period_ns is 0"),
        ({"start_ns": -1}, "start_ns is -1"),
        ({"balancing": "fair"}, "balancing is 'fair'; choose random, least-requests or shared"),
        ({"late_after_ns": -5}, "late_after_ns is -5"),
        ({"report_period_ns": 1}, "for at most 10000 periods"),
    ],
)
def test_bad_arguments_get_one_line(changes: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "until_ns": [10**9],
        "rate_per_second": [5.0],
        "service_ns": [1000],
    }
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        core.simulate_fleet(**(good | changes))
    assert message in str(caught.value)


def test_ranks_and_periods_outside_the_outcome_are_refused() -> None:
    outcome = core.simulate_fleet([10], [1.0], due_ns=[1, 2], service_ns=[3])
    assert outcome.latency_ns(2) == 5
    for arguments in ((0,), (3,), (1, 1)):
        with pytest.raises(ValueError, match=r"give a rank|there are 1 periods"):
            outcome.latency_ns(*arguments)
