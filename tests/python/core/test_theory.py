"""The queue in simulated time against queueing theory.

Every comparison is made with an exact formula and a tolerance that follows from statistics, not
from trial: `RUNS` independent runs (seeds 0, 1, ...) give one estimate each, and their mean must
lie within z standard errors of the truth, with Student's t for the unknown variance. `Z` is chosen
so that all comparisons of this file together fail by chance with a probability below 1%; since the
seeds are fixed, they either pass for ever or something has changed.

Runs start with an empty queue, so the first part of each is left out (`WARM_UP`); at a load of 0.95
the relaxation time is about 2 / (1 - load)^2 = 800 service times (Abate and Whitt, 1987).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from queueing import erlang_c, md1_waiting_distribution, mdc_mean_wait, mm1_waiting_distribution
from scipy import optimize, stats

from gpubench import core
from gpubench.statistics.queueing_theory import mean_latency, mm1_latency_quantile

SERVICE_NS = 1_000_000
RUNS = 12
REQUESTS = 200_000
WARM_UP = 10_000
COMPARISONS = 400  # more than the comparisons in this file
Z = float(stats.t.ppf(1 - 0.01 / COMPARISONS / 2, RUNS - 1))

LOADS = [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95]

Integers = NDArray[np.int64]


@dataclass
class Rows:
    """Requests of a run in the order of the schedule, in service times."""

    waiting: NDArray[np.float64]  # due to departed
    latency: NDArray[np.float64]


def rows(outcome: core.Outcome) -> Rows:
    columns = []
    for timeline in outcome.timelines:
        departed = np.repeat(timeline.departed_ns, timeline.size)
        completed = np.repeat(timeline.completed_ns, timeline.size)
        columns.append((timeline.scheduled_ns, departed, completed, timeline.id))
    scheduled, departed, completed, place = (np.concatenate(c) for c in zip(*columns, strict=True))
    order = np.argsort(place)[WARM_UP:]
    return Rows(
        waiting=(departed - scheduled)[order] / SERVICE_NS,
        latency=(completed - scheduled)[order] / SERVICE_NS,
    )


def run_open(load: float, servers: int, service: int | Integers, seed: int) -> Rows:
    rate = load * servers / (SERVICE_NS * 1e-9)
    due = core.poisson_arrivals(rate, REQUESTS, seed)
    outcome = core.simulate(core.OpenLoop(due), executors=servers, service_ns=service)
    assert outcome.completed == REQUESTS
    return rows(outcome)


def assert_agree(estimates: list[float], truth: float, resolution: float = 1e-9) -> None:
    """The mean of independent estimates is the true value, except for chance.

    `resolution`: what may remain even if all estimates are equal.
    """
    error = Z * float(np.std(estimates, ddof=1)) / math.sqrt(len(estimates)) + resolution
    assert abs(float(np.mean(estimates)) - truth) <= error, (np.mean(estimates), truth, error)


def quantile(distribution: Callable[[float], float], p: float) -> float:
    """The smallest t >= 0 with distribution(t) >= p."""
    if distribution(0.0) >= p:
        return 0.0
    high = 1.0
    while distribution(high) < p:
        high *= 2
    return float(optimize.brentq(lambda t: distribution(t) - p, 0.0, high))


@pytest.mark.parametrize("load", LOADS)
def test_md1_waiting_time_has_erlang_s_distribution(load: float) -> None:
    samples = [run_open(load, 1, SERVICE_NS, seed) for seed in range(RUNS)]
    mean_wait = mean_latency(load, service_variance=0) - 1
    assert_agree([float(s.waiting.mean()) for s in samples], mean_wait)
    cdf = md1_waiting_distribution(load)
    for p in (0.5, 0.95, 0.99):
        truth = quantile(cdf, p)
        # The share of requests that wait no longer than the true percentile is p. It has no bias,
        # unlike the percentile of a finite sample.
        assert_agree([float((s.waiting <= truth).mean()) for s in samples], max(p, cdf(0.0)))


@pytest.mark.parametrize("load", LOADS)
def test_mm1_waiting_time_is_exponential_with_an_atom_at_zero(load: float) -> None:
    samples = [
        run_open(load, 1, core.exponential_service(SERVICE_NS, REQUESTS, seed), seed)
        for seed in range(RUNS)
    ]
    mean_wait = mean_latency(load, service_variance=1) - 1
    assert_agree([float(s.waiting.mean()) for s in samples], mean_wait)
    cdf = mm1_waiting_distribution(load)
    for p in (0.5, 0.95, 0.99):
        truth = quantile(cdf, p)
        assert_agree([float((s.waiting <= truth).mean()) for s in samples], max(p, cdf(0.0)))
        latency = mm1_latency_quantile(load, p)
        assert_agree([float((s.latency <= latency).mean()) for s in samples], p)


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("servers", [2, 4, 16])
def test_mdc_mean_wait_is_crommelin_s(load: float, servers: int) -> None:
    samples = [run_open(load, servers, SERVICE_NS, seed) for seed in range(RUNS)]
    assert_agree([float(s.waiting.mean()) for s in samples], mdc_mean_wait(load, servers))


@pytest.mark.parametrize("load", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("servers", [2, 8])
def test_mmc_waiting_time_has_erlang_s_distribution(load: float, servers: int) -> None:
    samples = [
        run_open(load, servers, core.exponential_service(SERVICE_NS, REQUESTS, seed), seed)
        for seed in range(RUNS)
    ]
    waits = erlang_c(load, servers)
    assert_agree([float((s.waiting > 0).mean()) for s in samples], waits)
    rate = servers * (1 - load)
    assert_agree([float(s.waiting.mean()) for s in samples], waits / rate)
    for p in (0.95, 0.99):
        truth = max(0.0, math.log(waits / (1 - p)) / rate)
        expected = 1 - waits * math.exp(-rate * truth)
        assert_agree([float((s.waiting <= truth).mean()) for s in samples], expected)


def bulk_service_mean_waiting(load: float, largest: int) -> float:
    """Mean number waiting in M/M[1,b]/1: exponential batch service of up to b, no delay.

    A batch in service is not joined. While the server is busy, the number waiting is geometric with
    ratio r, the root in (0, 1) of mu r^(b + 1) - (lambda + mu) r + lambda = 0 (Gross et al.,
    Fundamentals of Queueing Theory, bulk service; Bailey 1954 with a minimum batch of one).
    """
    arrival = load * largest  # mu = 1
    r = float(
        optimize.brentq(lambda x: x ** (largest + 1) - (arrival + 1) * x + arrival, 1e-9, 1 - 1e-9)
    )
    # Balance of the idle state: arrival * p_idle = p_busy(0 waiting); total probability 1.
    busy_none_waiting = 1 / (1 / arrival + 1 / (1 - r))
    return busy_none_waiting * r / (1 - r) ** 2


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("largest", [2, 8])
def test_batch_service_has_bailey_s_mean_wait(load: float, largest: int) -> None:
    estimates = []
    rate = load * largest / (SERVICE_NS * 1e-9)
    for seed in range(RUNS):
        due = core.poisson_arrivals(rate, REQUESTS, seed)
        service = core.exponential_service(SERVICE_NS, REQUESTS, seed)
        outcome = core.simulate(core.OpenLoop(due), service_ns=service, max_batch=largest)
        estimates.append(float(rows(outcome).waiting.mean()))
    truth = bulk_service_mean_waiting(load, largest) / (load * largest)  # Little
    assert_agree(estimates, truth)


@pytest.mark.parametrize("workers", [1, 2, 3, 16])
@pytest.mark.parametrize("clients", [1, 2, 5, 16, 40])
def test_closed_network_with_constant_service_is_exact(clients: int, workers: int) -> None:
    """throughput = min(clients, workers) / service, and Little's law, to the nanosecond."""
    in_service = min(clients, workers)
    rounds = 200
    outcome = core.simulate(
        core.ClosedLoop(clients),
        executors=workers,
        service_ns=SERVICE_NS,
        stop_after_completions=rounds * in_service,
    )
    assert outcome.completed == rounds * in_service
    assert outcome.end_ns == rounds * SERVICE_NS
    latency = np.concatenate(
        [np.repeat(t.completed_ns, t.size) - t.scheduled_ns for t in outcome.timelines]
    )
    settled = latency[latency >= np.quantile(latency, 0.2)]
    assert settled.min() >= SERVICE_NS
    assert np.isclose(
        settled.mean() * in_service / SERVICE_NS, clients, rtol=0.05 if clients > workers else 0
    )


@pytest.mark.parametrize("think", [0.5, 4.0])
@pytest.mark.parametrize(("clients", "workers"), [(1, 1), (5, 1), (5, 2), (20, 4)])
def test_closed_network_with_think_time_is_the_machine_repair_model(
    clients: int, workers: int, think: float
) -> None:
    """M/M/c//N: the throughput depends on the think time by its mean only (a delay station), so a
    constant one gives the same: Baskett, Chandy, Muntz, Palacios 1975."""
    weights = [1.0]
    for n in range(1, clients + 1):  # n in the queue or in service
        weights.append(weights[-1] * (clients - n + 1) / think / min(n, workers))
    busy = sum(w * min(n, workers) for n, w in enumerate(weights)) / sum(weights)
    estimates = []
    for seed in range(RUNS):
        outcome = core.simulate(
            core.ClosedLoop(clients, think_time_ns=int(think * SERVICE_NS)),
            executors=workers,
            service_ns=core.exponential_service(SERVICE_NS, REQUESTS, seed),
            stop_after_completions=REQUESTS,
        )
        estimates.append(REQUESTS / (outcome.end_ns / SERVICE_NS))
    # The start, with all clients due at once, and the drained end weigh at most this much.
    assert_agree(estimates, busy, resolution=2 * clients * busy / REQUESTS)


def test_more_cases_than_a_machine_has_cores() -> None:
    """64 workers at a load of 0.9 keep the throughput asked for."""
    due = core.poisson_arrivals(57_600, 100_000, seed=1)
    outcome = core.simulate(core.OpenLoop(due), executors=64, service_ns=SERVICE_NS)
    assert outcome.completed == 100_000
    busy = sum(len(t.size) for t in outcome.timelines) * SERVICE_NS / outcome.end_ns
    assert busy == pytest.approx(0.9 * 64, rel=0.01)
