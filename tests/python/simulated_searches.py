"""How well a search finds the highest rate, on simulated queues whose true answer is known.

The tests use this with few searches, tests/benchmarks/search_coverage.py with many.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from queueing import erlang_c, md1_waiting_distribution
from scipy import optimize

from gpubench import core
from gpubench.measure.collect import collect
from gpubench.measure.search import find
from gpubench.statistics.crossing import Conclusion, Tally, conclude, expected_load, tally

SERVICE_NS = 1_000_000
SETTLE = 2_000  # requests that do not count, before those that do


@dataclass(frozen=True)
class System:
    """A queue with a mean service time of 1 ms and an objective, in ms."""

    name: str
    percent: int
    latency_ms: float
    late_share_at: Callable[[float], float]  # the true share at a load
    workers: int = 1
    exponential: bool = False

    @property
    def allowed(self) -> float:
        return 1 - self.percent / 100

    @property
    def capacity(self) -> float:
        return self.workers * 1e9 / SERVICE_NS

    @property
    def truth(self) -> float:
        """The highest rate, per second."""
        load = optimize.brentq(lambda load: self.late_share_at(load) - self.allowed, 0.01, 0.99)
        return float(load) * self.capacity

    def tally_at(self, rate: float, requests: int, seed: int) -> Tally:
        due = core.poisson_arrivals(rate, SETTLE + requests, seed)
        service: int | NDArray[np.int64] = SERVICE_NS
        if self.exponential:
            service = core.exponential_service(SERVICE_NS, len(due), seed + 2**40)
        source = core.OpenLoop(due)
        samples = collect(core.simulate(source, service_ns=service, executors=self.workers))
        latency_ns = samples.latency_ns[np.argsort(samples.scheduled_ns)][SETTLE:]
        return tally(rate, latency_ns, 0, round(self.latency_ms * SERVICE_NS))


def md1(percent: int, latency_ms: float) -> System:
    return System(
        f"M/D/1, P{percent} within {latency_ms:g}",
        percent,
        latency_ms,
        lambda load: 1 - md1_waiting_distribution(load)(latency_ms - 1),
    )


def mm1(percent: int, latency_ms: float) -> System:
    return System(
        f"M/M/1, P{percent} within {latency_ms:g}",
        percent,
        latency_ms,
        lambda load: math.exp(-(1 - load) * latency_ms),
        exponential=True,
    )


def mm4(percent: int, latency_ms: float) -> System:
    def late_share(load: float) -> float:
        """The tail of the latency in M/M/c: of the requests that wait, and of the others."""
        waits, surplus = erlang_c(load, 4), 4 * (1 - load)  # free capacity in service rates
        service = math.exp(-latency_ms)
        if surplus == 1:
            return service * (1 + waits * latency_ms)
        delayed = (surplus * service - math.exp(-surplus * latency_ms)) / (surplus - 1)
        return (1 - waits) * service + waits * delayed

    return System(
        f"M/M/4, P{percent} within {latency_ms:g}",
        percent,
        latency_ms,
        late_share,
        workers=4,
        exponential=True,
    )


SYSTEMS = [
    md1(99, 10), md1(95, 3), mm1(99, 10), mm1(95, 5), mm1(95, 20), mm1(90, 5), mm4(95, 6),
    mm1(95, 50),
]  # fmt: skip


def answer(system: System, requests: int, run: int, tolerance: float) -> tuple[Conclusion, int]:
    """The conclusion of a search, and its number of probes."""
    seeds: list[int] = []

    def tally_at(rate: float) -> Tally:
        seeds.append(1_000 * run + len(seeds))
        return system.tally_at(rate, requests, seeds[-1])

    waiting_s = (system.latency_ms - 1) / 1e3
    first_rate = system.capacity * expected_load(system.allowed, waiting_s, system.capacity)
    crossing = find(tally_at, first_rate, system.capacity, system.allowed, tolerance)
    return conclude(crossing, system.capacity, system.allowed), len(seeds)


@dataclass(frozen=True)
class Outcome:
    """The outcome of many searches of one system."""

    truth: float
    rates: list[float]
    intervals: list[tuple[float, float]]
    probes: float  # mean
    runs: int

    @property
    def covered(self) -> float:
        """Share of the given intervals that contain the true value. 0 if none is given."""
        if not self.intervals:
            return 0.0
        return float(np.mean([low <= self.truth <= high for low, high in self.intervals]))


def outcome(number: int, requests: int, runs: int, tolerance: float = 0.05) -> Outcome:
    system = SYSTEMS[number]
    answers = [answer(system, requests, run, tolerance) for run in range(runs)]
    return Outcome(
        truth=system.truth,
        rates=[found.rate for found, _ in answers if found.rate is not None],
        intervals=[found.interval for found, _ in answers if found.interval is not None],
        probes=float(np.mean([probes for _, probes in answers])),
        runs=runs,
    )
