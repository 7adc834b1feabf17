"""How well a search finds the highest rate, on simulated queues whose true answer is known.

As a program, it prints the table of docs/search.md:

    python tests/python/test_search_coverage.py 200
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from queueing import erlang_c, md1_waiting_distribution
from scipy import optimize

from gpubench import core
from gpubench.measure.collect import collect
from gpubench.measure.search import find
from gpubench.statistics.crossing import Answer, Tally, conclude, expected_load, tally

SERVICE_NS = 1_000_000
SETTLE = 2_000  # requests before those that count


@dataclass(frozen=True)
class System:
    """A queue with a mean service time of 1 ms and an objective, in ms."""

    name: str
    percent: int
    latency_ms: float
    late_share_at: Callable[[float], float]  # of the load: the truth
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
        """The tail of the time in an M/M/c queue: of what has to wait, and of what has not."""
        waits, surplus = erlang_c(load, 4), 4 * (1 - load)  # service rates that are free
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


def answer(system: System, requests: int, run: int, tolerance: float) -> tuple[Answer, int]:
    """What a search finds, and after how many probes."""
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
    """Of many searches of one system."""

    truth: float
    rates: list[float]
    intervals: list[tuple[float, float]]
    probes: float  # mean
    runs: int

    @property
    def covered(self) -> float:
        """Share of the given intervals that hold the truth; 0 where none is given."""
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


RUNS = 12
REQUESTS = 4_000


@pytest.mark.parametrize("number", range(7), ids=[system.name for system in SYSTEMS[:7]])
def test_a_search_finds_the_highest_rate(number: int) -> None:
    found = outcome(number, REQUESTS, RUNS)
    assert len(found.rates) == RUNS
    error = float(np.std(found.rates, ddof=1)) / math.sqrt(RUNS)
    bias = float(np.mean(found.rates)) - found.truth
    # 4.4: Student's t of 11 degrees of freedom at 0.1%, in seven systems. One percent is allowed
    # to the line that stands in for a curve.
    assert abs(bias) <= 4.4 * error + 0.01 * found.truth
    assert len(found.intervals) >= RUNS / 2
    assert found.covered >= 0.75  # of twelve: fewer than nine has a probability of 0.2%


def test_requests_that_depend_too_much_on_each_other_carry_no_interval() -> None:
    found = outcome(7, 800, 4)  # at 94% load one late request comes with hundreds
    assert found.intervals == []


def table(runs: int) -> Iterator[str]:
    """Markdown: a row for each system and length of a probe."""
    yield (
        "| system, objective in service times | truth | requests a probe | rates found | error "
        "| interval holds the truth (given) | half its width | probes |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for number, system in enumerate(SYSTEMS):
        for requests in (1_000, 4_000, 16_000):
            found = outcome(number, requests, runs)
            rates, truth = np.array(found.rates), found.truth
            given = len(found.intervals) / runs
            error = math.sqrt(float(np.mean((rates / truth - 1) ** 2)))
            halves = [(high - low) / 2 / truth for low, high in found.intervals]
            covered = f"{found.covered:.1%} ({given:.0%})" if given >= 0.1 else f"- ({given:.0%})"
            half = f"{np.median(halves):.1%}" if given >= 0.1 else "-"
            yield (
                f"| {system.name} | {truth:.1f} | {requests:,} | {rates.min():.0f} to "
                f"{rates.max():.0f} | {error:.1%} | {covered} | {half} | {found.probes:.1f} |"
            )


def bisection(system: System, requests: int, run: int) -> float:
    """What a search finds that believes each probe: met or missed, until 1% is left."""
    low, high = 0.0, system.capacity
    probes = 0
    while high - low > 0.01 * high:
        rate = (low + high) / 2
        found = system.tally_at(rate, requests, 1_000 * run + probes)
        low, high = (rate, high) if found.late_share <= system.allowed else (low, rate)
        probes += 1
    return (low + high) / 2


def bisected(runs: int) -> Iterator[str]:
    system = SYSTEMS[0]
    for requests in (1_000, 4_000, 16_000):
        rates = np.array([bisection(system, requests, run) for run in range(runs)])
        error = math.sqrt(float(np.mean((rates / system.truth - 1) ** 2)))
        yield (
            f"bisection, {system.name}, {requests:,} requests a probe: {rates.min():.0f} to "
            f"{rates.max():.0f}, error {error:.1%}"
        )


if __name__ == "__main__":
    for line in itertools.chain(table(int(sys.argv[1])), bisected(int(sys.argv[1]))):
        print(line, flush=True)
