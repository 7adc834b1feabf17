"""How often a 95% interval contains the true value, in simulated systems with a known true value.

The tests use this with few runs, tests/benchmarks/latency_interval_coverage.py with many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from gpubench.results.result import Latency
from gpubench.statistics.intervals import throughput_interval
from gpubench.statistics.latency import summarise_latency
from gpubench.statistics.percentiles import PERCENTS, percentile_key
from gpubench.statistics.windows import Window

Floats = NDArray[np.float64]
Simulate = Callable[
    [np.random.Generator, int, int], Floats
]  # (rng, runs, requests) -> one row a run
Quantile = Callable[[float], float]

MS = 1e6  # nanoseconds: the mean service time of every system below
REQUESTS = (130, 500, 2_000, 10_000)


def independent_exponential(rng: np.random.Generator, runs: int, requests: int) -> Floats:
    return rng.exponential(MS, (runs, requests))


def independent_lognormal(rng: np.random.Generator, runs: int, requests: int) -> Floats:
    return MS * rng.lognormal(0, 1, (runs, requests))


def constant_and_noise(rng: np.random.Generator, runs: int, requests: int) -> Floats:
    return MS * (1 + 0.05 * rng.standard_normal((runs, requests)))


def autoregressive(correlation: float) -> Simulate:
    """AR(1): requests that are k apart correlate by correlation**k, as on a noisy machine."""

    def simulate(rng: np.random.Generator, runs: int, requests: int) -> Floats:
        shocks = rng.standard_normal((requests, runs)) * math.sqrt(1 - correlation**2)
        series = np.empty((requests, runs))
        value = rng.standard_normal(runs)
        for request, shock in enumerate(shocks):
            value = correlation * value + shock
            series[request] = value
        return np.asarray(MS * (1 + 0.05 * series.T))

    return simulate


def exponential_quantile(mean: float) -> Quantile:
    return lambda share: -mean * math.log(1 - share)


def normal_quantile(share: float) -> float:
    return MS * (1 + 0.05 * NormalDist().inv_cdf(share))


def lognormal_quantile(share: float) -> float:
    return MS * math.exp(NormalDist().inv_cdf(share))


LATENCIES: dict[str, tuple[Simulate, Quantile]] = {
    "independent, exponential": (independent_exponential, exponential_quantile(MS)),
    "independent, lognormal": (independent_lognormal, lognormal_quantile),
    "closed loop, constant + 5% noise": (constant_and_noise, normal_quantile),
    "AR(1), 0.5": (autoregressive(0.5), normal_quantile),
    "AR(1), 0.9": (autoregressive(0.9), normal_quantile),
}


def one_client(service: Simulate) -> Simulate:
    """Completions of a closed loop: a request starts when the previous one completes."""
    return lambda rng, runs, requests: np.cumsum(service(rng, runs, requests), axis=1)


def two_workers(service: Simulate) -> Simulate:
    """Completions of two clients that start together, each with its own worker."""

    def simulate(rng: np.random.Generator, runs: int, requests: int) -> Floats:
        both = [one_client(service)(rng, runs, -(-requests // 2) + 1) for _ in range(2)]
        return np.sort(np.hstack(both), axis=1)[:, :requests]

    return simulate


def batches_of_four(service: Simulate) -> Simulate:
    """Completions of four clients whose requests are always served together."""

    def simulate(rng: np.random.Generator, runs: int, requests: int) -> Floats:
        batches = one_client(service)(rng, runs, -(-requests // 4))
        return np.repeat(batches, 4, axis=1)[:, :requests]

    return simulate


# Completions, requests that complete together, true requests per mean service time.
THROUGHPUTS: dict[str, tuple[Simulate, int, float]] = {
    "one client, exponential": (one_client(independent_exponential), 1, 1.0),
    "one client, constant + 5% noise": (one_client(constant_and_noise), 1, 1.0),
    "one client, AR(1), 0.9": (one_client(autoregressive(0.9)), 1, 1.0),
    "two workers, exponential": (two_workers(independent_exponential), 2, 2.0),
    "two workers, constant + 5% noise": (two_workers(constant_and_noise), 2, 2.0),
    "batches of four, constant + 5% noise": (batches_of_four(constant_and_noise), 4, 4.0),
}


@dataclass
class Coverage:
    """Shares of all simulated runs."""

    given: float  # runs that give an interval
    misled: float  # runs whose interval does not contain the true value

    @property
    def covered(self) -> float:
        """Share of the given intervals that contain the true value."""
        return 1 - self.misled / self.given if self.given else math.nan


def coverage_of(
    latencies: Iterable[Latency], true_ms: Mapping[str, float], runs: int
) -> dict[str, Coverage]:
    """Of the interval of each percentile ("p95") and of its upper bound ("p95_at_most")."""
    coverages = {f"{key}{end}": Coverage(0, 0) for end in ("", "_at_most") for key in true_ms}
    for latency in latencies:
        for key, true in true_ms.items():
            interval = getattr(latency, f"{key}_interval")
            if interval is not None:
                coverages[key].given += 1 / runs
                coverages[key].misled += (not interval[0] <= true <= interval[1]) / runs
            at_most = getattr(latency, f"{key}_at_most")
            if at_most is not None:
                coverages[f"{key}_at_most"].given += 1 / runs
                coverages[f"{key}_at_most"].misled += (true > at_most) / runs
    return coverages


def percentile_coverage(name: str, requests: int, runs: int) -> dict[str, Coverage]:
    """The coverage of simulated latencies whose true percentiles are known."""
    simulate, quantile = LATENCIES[name]
    rng = np.random.default_rng(requests)
    true_ms = {percentile_key(percent): quantile(float(percent) / 100) / MS for percent in PERCENTS}
    simulated = simulate(rng, runs, requests)
    latencies = (summarise_latency(latency_ns.astype(np.int64)) for latency_ns in simulated)
    return coverage_of(latencies, true_ms, runs)


def throughput_coverage(name: str, requests: int, runs: int) -> Coverage:
    simulate, together, true_rate = THROUGHPUTS[name]
    rng = np.random.default_rng(requests)
    coverage = Coverage(0, 0)
    for times in simulate(rng, runs, requests + together):
        completed = times.astype(np.int64)
        window = Window(int(completed[together - 1]), completed[together:])
        interval, _ = throughput_interval(window, together)
        if interval is not None:
            coverage.given += 1 / runs
            coverage.misled += (not interval[0] <= true_rate * 1e9 / MS <= interval[1]) / runs
    return coverage
