"""Whether queues in real time on this machine behave as queueing theory says.

The synthetic model takes 1 ms for each request, and the requests arrive at random. Latencies of
such a queue are known. A machine that stops the process at times, for example for another virtual
machine, makes them longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpubench.cells.resolve import resolve
from gpubench.doctor.finding import Finding, ok, warning
from gpubench.errors import GpubenchError
from gpubench.measure.executors import synthetic_executors
from gpubench.measure.run import measured_run
from gpubench.report.format import milliseconds, two_digits
from gpubench.results.result import Interval
from gpubench.spec.settings import ServiceDistribution
from gpubench.spec.spec import Spec
from gpubench.statistics import analyse
from gpubench.statistics.percentiles import rank
from gpubench.statistics.queueing_theory import latencies, mean_latency, mm1_latency_quantile
from gpubench.system.interrupts import Deferral
from gpubench.system.machine import Machine

LOADS = (0.5, 0.8)
DURATION_S, WARMUP_S = 10.0, 0.5
_SERVICE_S = 1e-3
_SIMULATED_RUNS = 1000
# The constant service time has no chance of its own. If the machine makes the mean latency longer
# by more than this, differences between models of this size cannot be trusted.
MOST_ERROR = 0.05


@dataclass(frozen=True)
class TheoryFigure:
    """A latency in ms, and what theory says about it.

    `by_chance`: the lowest and the highest figure of 1,000 simulated runs of the same length.
    """

    measured: float
    theory: float
    by_chance: Interval

    @property
    def fits(self) -> bool:
        return self.by_chance[0] <= self.measured <= self.by_chance[1]

    def describe(self) -> str:
        low, high = map(milliseconds, self.by_chance)
        return (
            f"{milliseconds(self.measured)} ms, theory {milliseconds(self.theory)} ({low} to "
            f"{high} by chance)"
        )


@dataclass(frozen=True)
class QueueCheck:
    """One queue: M/D/1 has a constant service time, M/M/1 an exponential one."""

    name: str
    load: float
    requests: int
    mean_ms: TheoryFigure
    p95_ms: TheoryFigure | None  # M/D/1 has no simple formula
    # M/D/1: how much longer the mean latency is than that of the same arrivals without a machine.
    error: float | None
    lag_p99_us: float | None

    @property
    def finding(self) -> Finding:
        check = f"{self.name} at load {self.load:g}"
        found = f"mean latency {self.mean_ms.describe()}"
        if self.p95_ms is not None:
            found += f"; P95 {self.p95_ms.describe()}"
        if self.error is not None:
            found += f"; the machine adds {two_digits(self.error)}"
        fits = self.mean_ms.fits and (self.p95_ms is None or self.p95_ms.fits)
        if fits and (self.error is None or abs(self.error) <= MOST_ERROR):
            return ok(check, found)
        return warning(
            check,
            found,
            "latencies of busy queues are wrong here: end other programs, leave a core free, or "
            "use a machine that other virtual machines do not use",
        )


def queue_checks(machine: Machine, duration_s: float = DURATION_S) -> Iterator[QueueCheck]:
    """Run each queue in real time. Raises KeyboardInterrupt on Ctrl-C."""
    for distribution in ("constant", "exponential"):
        for load in LOADS:
            yield check_queue(machine, distribution, load, duration_s)


def check_queue(
    machine: Machine, distribution: ServiceDistribution, load: float, duration_s: float
) -> QueueCheck:
    spec = Spec(
        model="synthetic",
        device="cpu",
        service_time=_SERVICE_S,
        service_dist=distribution,
        rate=load / _SERVICE_S,
        duration=duration_s,
        warmup=WARMUP_S,
    )
    cell = resolve(spec, machine)
    with Deferral() as deferral:
        run = measured_run(cell, synthetic_executors(cell), deferral)
    if deferral.pressed:
        raise KeyboardInterrupt
    if run.error is not None:
        raise GpubenchError(run.error)
    analysis = analyse(run.samples, run.loop)
    mean_ms, p95_ms = analysis.latency.mean, analysis.latency.p95
    if mean_ms is None or p95_ms is None:
        raise GpubenchError("the queue completed too few requests; end other programs")
    settling = round(spec.rate * WARMUP_S) if spec.rate else 0
    mean_range, p95_range = _by_chance(load, distribution, settling, analysis.completed)
    service_ms = _SERVICE_S * 1e3
    is_constant = distribution == "constant"
    theory_ms = service_ms * mean_latency(load, service_variance=0 if is_constant else 1)
    p95 = error = None
    if is_constant:
        service_ns = np.full(len(run.samples), _SERVICE_S * 1e9)
        ideal_ns = latencies(run.samples.scheduled_ns.astype(np.float64), service_ns)
        error = mean_ms / (float(ideal_ns[analysis.counted].mean()) / 1e6) - 1
    else:
        p95 = TheoryFigure(p95_ms, service_ms * mm1_latency_quantile(load, 0.95), p95_range)
    return QueueCheck(
        name="M/D/1" if is_constant else "M/M/1",
        load=load,
        requests=analysis.completed,
        mean_ms=TheoryFigure(mean_ms, theory_ms, mean_range),
        p95_ms=p95,
        error=error,
        lag_p99_us=None if analysis.lag is None else analysis.lag.p99,
    )


def _by_chance(
    load: float, distribution: ServiceDistribution, settling: int, requests: int
) -> tuple[Interval, Interval]:
    """The ranges of the mean and of P95, in ms, of simulated runs that begin with an empty queue.

    The first `settling` requests do not count.
    """
    rng = np.random.default_rng(0)
    size = settling + requests
    place = rank(95, requests) - 1
    figures: NDArray[np.float64] = np.empty((_SIMULATED_RUNS, 2))
    for each in figures:
        arrivals = np.cumsum(rng.standard_exponential(size)) / load
        service = np.ones(size) if distribution == "constant" else rng.standard_exponential(size)
        counted = latencies(arrivals, service)[settling:]
        each[:] = counted.mean(), np.partition(counted, place)[place]
    low, high = figures.min(axis=0), figures.max(axis=0)
    service_ms = _SERVICE_S * 1e3
    mean, p95 = (
        (float(a) * service_ms, float(b) * service_ms) for a, b in zip(low, high, strict=True)
    )
    return mean, p95
