"""How often the intervals of an open loop contain the true value, and how often it is suspect.

The arrivals are those that the program makes, the queue is that of the core in simulated time, and
the figures are those of a result. Prints the table of docs/measurement.md in two to eight minutes:

    python tests/benchmarks/interval_coverage.py 200
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gpubench import core
from gpubench.cells.resolve import resolve
from gpubench.measure.collect import collect
from gpubench.measure.loads import offered_load
from gpubench.results.samples import Nanoseconds
from gpubench.spec.cell import Cell
from gpubench.spec.parse import make_spec
from gpubench.statistics import Analysis, analyse
from gpubench.statistics.latency import summarise_latency
from gpubench.statistics.verdicts import judge
from gpubench.system.machine import this_machine

SERVICE_NS = 1_000_000
REQUESTS = (130, 1_000, 10_000, 100_000)
LOADS = (0.1, 0.3, 0.5, 0.8, 0.9, 0.95)
PERCENTS = (50, 90, 95, 99)
MOST_REQUESTS = 2_000_000  # of all runs of one row together
TRUTH_RUNS, TRUTH_REQUESTS = 4, 2_000_000


@dataclass(frozen=True)
class System:
    """A queue. Its load refers to all workers with full batches."""

    name: str
    load: float
    exponential: bool = False
    workers: int = 1
    max_batch: int = 1
    arrivals: str = "poisson"

    def cell(self, requests: int, seed: int) -> Cell:
        batches = self.workers * 1e9 / SERVICE_NS
        settings = {
            "model": "synthetic",
            "device": "cpu",
            "service_time": SERVICE_NS / 1e9,
            "workers": self.workers,
            "depth": 1,
            "rate": self.load * batches * self.max_batch,
            "arrivals": self.arrivals,
            "requests": requests,
            "load_seed": seed,
        }
        if self.max_batch > 1:
            settings["dynamic_batch"] = f"{self.max_batch}:2ms"
        return resolve(make_spec(settings), this_machine())

    def measure(self, requests: int, seed: int) -> tuple[Analysis, Nanoseconds]:
        """The figures of a run and the latencies that they come from."""
        load = offered_load(self.cell(requests, seed), 0.0)
        service: int | Nanoseconds = SERVICE_NS
        if self.exponential:
            service = core.exponential_service(SERVICE_NS, load.expected, seed + 2**40)
        delay_ns = 2_000_000 if self.max_batch > 1 else 0
        outcome = core.simulate(
            load.source,
            service_ns=service,
            executors=self.workers,
            max_batch=self.max_batch,
            max_delay_ns=delay_ns,
            capacity=load.expected,
        )
        samples = collect(outcome)
        loop = load.counted(outcome.start_ns)
        analysis = analyse(samples, loop, max_batch=self.max_batch, max_delay_ns=delay_ns)
        return analysis, samples.latency_ns[analysis.counted]

    @cached_property
    def truth_ms(self) -> dict[int, float]:
        """Percentiles of the latency: in M/M/1 it is exponential, else those of very long runs."""
        if self.name == "M/M/1":
            return {p: -math.log(1 - p / 100) / (1 - self.load) for p in PERCENTS}
        runs = [self.measure(TRUTH_REQUESTS, 10**6 + run)[1] for run in range(TRUTH_RUNS)]
        latency_ns = np.sort(np.concatenate(runs))
        return {p: float(latency_ns[-(-p * len(latency_ns) // 100) - 1]) / 1e6 for p in PERCENTS}


def systems() -> list[System]:
    return [
        *(System("M/M/1", load, exponential=True) for load in LOADS),
        *(System("M/D/1", load) for load in (0.5, 0.9)),
        System("M/M/4", 0.9, exponential=True, workers=4),
        System("M/D/4", 0.9, workers=4),
        System("batches of 8, constant", 0.9, max_batch=8),
        System("batches of 8, exponential", 0.5, exponential=True, max_batch=8),
    ]


@dataclass
class Share:
    """How many intervals were given, and how many of them contain the true value."""

    runs: int = 0
    given: int = 0
    right: int = 0

    def add(self, interval: tuple[float, float] | None, truth: float) -> None:
        self.runs += 1
        if interval is not None:
            self.given += 1
            rounding = 1e-9 * truth
            self.right += interval[0] - rounding <= truth <= interval[1] + rounding

    def __str__(self) -> str:
        if self.given < max(2, 0.005 * self.runs):
            return "-"
        return f"{self.right / self.given:.0%} ({self.given / self.runs:.0%})"


@dataclass
class Coverage:
    """The outcome of many runs of one system with one length."""

    percentiles: dict[int, Share]
    without_load: dict[int, Share]  # the same, only from the latencies
    throughput: Share
    suspect: float  # share of the runs
    counted: int  # the smallest number of requests of a run


def cell(system: System, requests: int, runs: int) -> Coverage:
    found = Coverage(
        {p: Share() for p in PERCENTS}, {p: Share() for p in PERCENTS}, Share(), 0.0, 10**9
    )
    runs = max(20, min(runs, MOST_REQUESTS // requests))
    for run in range(runs):
        analysis, latency_ns = system.measure(requests, 1_000 * requests + run)
        alone = summarise_latency(latency_ns, analysis.unfinished)
        for percent in PERCENTS:
            name, truth = f"p{percent}_interval", system.truth_ms[percent]
            found.percentiles[percent].add(getattr(analysis.latency, name), truth)
            found.without_load[percent].add(getattr(alone, name), truth)
        found.throughput.add(analysis.throughput_interval, system.cell(1, 0).spec.rate or 0.0)
        found.suspect += (judge(analysis).status == "suspect") / runs
        found.counted = min(found.counted, analysis.completed + analysis.unfinished)
    return found


def table(runs: int) -> Iterator[str]:
    yield (
        "| system, load | requests | P50 | P90 | P95 | P95 from latencies alone | P99 | throughput "
        "| suspect |\n|---|---|---|---|---|---|---|---|---|"
    )
    for system in systems():
        for requests in REQUESTS:
            found = cell(system, requests, runs)
            assert found.counted >= requests
            yield (
                f"| {system.name}, {system.load:g} | {requests:,} | {found.percentiles[50]} | "
                f"{found.percentiles[90]} | {found.percentiles[95]} | {found.without_load[95]} | "
                f"{found.percentiles[99]} | {found.throughput} | {found.suspect:.0%} |"
            )


if __name__ == "__main__":
    for line in table(int(sys.argv[1])):
        print(line, flush=True)
