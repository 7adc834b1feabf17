"""A load request by request, on instances that start and stop, in the core's simulated time.

    load, service times, policy ──> core.simulate_fleet ──> per hour: instances, P95, late requests

docs/autoscaling.md says what the autoscaler, the load balancer and the bill do. Everything is
simulated from measured service times: nothing is measured here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gpubench import core
from gpubench.errors import InputError
from gpubench.planning.fleet import HOURS_A_MONTH, Balancing
from gpubench.planning.service_times import ServiceTimes
from gpubench.planning.traffic import Load
from gpubench.spec.objective import Objective
from gpubench.statistics.percentiles import rank

_NS = 1e9
_MOST_REQUESTS = 2e9  # about ten minutes
_MOST_INSTANCES = 100_000
# The first of these reports that has no more rows than this is made.
_REPORT_PERIODS_S = (60.0, 300.0, 3600.0, 24 * 3600.0, 7 * 24 * 3600.0)
_MOST_ROWS = 48


@dataclass(frozen=True)
class Policy:
    """What the autoscaler aims for. `least` == `most` is a constant number of instances."""

    least: int
    most: int
    target_utilisation: float = 0.7
    start_s: float = 0.0  # from the decision until the instance serves
    scale_down_delay_s: float = 300.0
    period_s: float = 15.0

    def check(self) -> None:
        """Raises InputError, which names the flag, for a value that is not allowed."""
        if not 0 <= self.least <= self.most or not 1 <= self.most <= _MOST_INSTANCES:
            raise InputError(
                f"--autoscale {self.least}:{self.most}: give MIN:MAX with MIN from 0 to MAX, and "
                f"MAX from 1 to {_MOST_INSTANCES:,}"
            )
        if not 0 < self.target_utilisation <= 1:
            raise InputError(
                f"--target-utilisation {self.target_utilisation:g} is not a share; write it like "
                "0.7"
            )
        if self.period_s < 1:
            raise InputError("--evaluation-period must be at least 1 s; write it like 15s")


@dataclass(frozen=True)
class PeriodRow:
    """What happened to the inferences that were asked for in one period."""

    begin_s: float
    end_s: float
    inferences: int
    late: int
    percentile_ms: float | None  # the percentile of the objective; None: no requests
    mean_instances: float  # that are billed
    most_instances: int


@dataclass(frozen=True, eq=False)
class Simulated:
    """What a fleet did under a load."""

    policy: Policy
    outcome: core.FleetOutcome
    inferences_a_request: int
    percent: int
    period_s: float

    @property
    def span_s(self) -> float:
        return self.outcome.span_ns / _NS

    @property
    def inferences(self) -> int:
        return int(self.outcome.requests.sum()) * self.inferences_a_request

    @property
    def late(self) -> int:
        return int(self.outcome.late.sum()) * self.inferences_a_request

    @property
    def late_share(self) -> float:
        return self.late / self.inferences if self.inferences else 0.0

    @cached_property
    def percentile_ms(self) -> float | None:
        """The percentile of the objective over the whole load. At most 0.4% too high."""
        return self._percentile_ms(int(self.outcome.requests.sum()), None)

    @property
    def launches(self) -> int:
        """Instances that were launched after the start."""
        return int((self.outcome.launched_ns > 0).sum())

    @property
    def instance_hours(self) -> float:
        """Billed from the launch to the stop, or to the end of the load."""
        return float(self._billed_s.sum()) / 3600

    @property
    def active_hours(self) -> float:
        """Instance hours in which an instance started or had a request."""
        out = self.outcome
        starting = np.minimum(out.serving_ns, self._stopped_ns) - out.launched_ns
        return float((starting + out.busy_ns).sum()) / _NS / 3600

    @property
    def hours_a_month(self) -> float:
        """`instance_hours` of a month that consists of such loads."""
        return self.instance_hours * self.months_factor

    @property
    def months_factor(self) -> float:
        """How often the load fits into a month of 730 hours."""
        return HOURS_A_MONTH / (self.span_s / 3600)

    @property
    def most_instances(self) -> int:
        return max(row.most_instances for row in self.rows)

    @cached_property
    def rows(self) -> tuple[PeriodRow, ...]:
        out = self.outcome
        requests, late = out.requests, out.late
        launched, stopped = out.launched_ns / _NS, self._stopped_ns / _NS
        rows = []
        for number, count in enumerate(requests):
            begin = number * self.period_s
            end = min(begin + self.period_s, self.span_s)
            billed = np.minimum(stopped, end) - np.maximum(launched, begin)
            rows.append(
                PeriodRow(
                    begin_s=begin,
                    end_s=end,
                    inferences=int(count) * self.inferences_a_request,
                    late=int(late[number]) * self.inferences_a_request,
                    percentile_ms=self._percentile_ms(int(count), number),
                    mean_instances=float(np.maximum(billed, 0).sum()) / (end - begin),
                    most_instances=_most_at_once(launched, stopped, begin, end),
                )
            )
        return tuple(rows)

    @cached_property
    def _stopped_ns(self) -> NDArray[np.int64]:
        return np.minimum(self.outcome.stopped_ns, self.outcome.span_ns)

    @property
    def _billed_s(self) -> NDArray[np.float64]:
        billed: NDArray[np.float64] = (self._stopped_ns - self.outcome.launched_ns) / _NS
        return billed

    def _percentile_ms(self, count: int, period: int | None) -> float | None:
        if not count:
            return None
        return self.outcome.latency_ns(rank(self.percent, count), period) / 1e6


def _most_at_once(
    launched: NDArray[np.float64], stopped: NDArray[np.float64], begin: float, end: float
) -> int:
    """The largest number of instances at one time in [begin, end)."""
    at_begin = int(((launched <= begin) & (stopped > begin)).sum())
    starts = launched[(launched > begin) & (launched < end)]
    stops = stopped[(stopped > begin) & (stopped < end)]
    times = np.concatenate([starts, stops])
    changes = np.concatenate([np.ones(len(starts)), -np.ones(len(stops))])
    order = np.lexsort((changes, times))  # of simultaneous changes the stops come first
    return at_begin + int(np.max(np.cumsum(changes[order]), initial=0))


def check_most(policy: Policy, load: Load, service: ServiceTimes, needed: int) -> None:
    """Raises InputError if the instances cannot execute the mean load, so the queue only grows.

    `needed`: instances for the peak.
    """
    most_per_second = policy.most * service.most_per_second
    if most_per_second < load.mean_per_second:
        raise InputError(
            f"--autoscale {policy.least}:{policy.most}: {policy.most} instances execute at most "
            f"{most_per_second:,.4g} inferences/s, and the load has {load.mean_per_second:,.4g} on "
            f"average; give a MAX of {needed} for the peak"
        )


def simulate(
    load: Load,
    service: ServiceTimes,
    rate_per_instance: float,
    policy: Policy,
    objective: Objective,
    balancing: Balancing = "least-requests",
    seed: int = 0,
) -> Simulated:
    """Every request of `load`. `rate_per_instance`: inferences per second within the objective.

    It starts with as many instances as the policy wants for the first rate of the load. Raises
    InputError for a policy that is not allowed, for more than 2,000 million requests, and if more
    requests wait than fit into memory.
    """
    policy.check()
    batch = service.inferences
    if load.inferences / batch > _MOST_REQUESTS:
        raise InputError(
            f"{load.origin} has {load.inferences / batch:.3g} requests, and at most "
            f"{_MOST_REQUESTS:.0e} are simulated; give a shorter part of the load"
        )
    target = policy.target_utilisation * rate_per_instance
    first = math.ceil(load.steps[0].per_second / target * (1 - 1e-12))
    period_s = _report_period_s(load.span_s)
    until_ns = np.rint(np.array([step.until_s for step in load.steps]) * _NS).astype(np.int64)
    due_ns = None
    if load.times_s is not None:
        # A request of several inferences leaves when the last of them is asked for.
        due_ns = np.rint(load.times_s[batch - 1 :: batch] * _NS).astype(np.int64)
        due_ns = np.minimum(due_ns, until_ns[-1] - 1)
        if not len(due_ns):
            raise InputError(
                f"{load.origin} has fewer inferences than one request, {batch}; give a longer trace"
            )
    try:
        outcome = core.simulate_fleet(
            until_ns,
            [step.per_second / batch for step in load.steps],
            due_ns=due_ns,
            service_ns=service.by_size,
            workers=service.workers,
            max_batch=len(service.by_size),
            max_delay_ns=service.max_delay_ns if len(service.by_size) > 1 else 0,
            least=policy.least,
            most=policy.most,
            first=min(max(first, policy.least), policy.most),
            target_per_second=target / batch,
            period_ns=round(policy.period_s * _NS),
            start_ns=round(policy.start_s * _NS),
            scale_down_delay_ns=round(policy.scale_down_delay_s * _NS),
            balancing=balancing,
            late_after_ns=objective.latency_ns,
            report_period_ns=round(period_s * _NS),
            seed=seed,
        )
    except ValueError as error:  # most likely: too many requests wait
        raise InputError(f"{load.origin} with --autoscale: {error}") from None
    return Simulated(policy, outcome, batch, objective.percent, period_s)


def _report_period_s(span_s: float) -> float:
    for period_s in _REPORT_PERIODS_S:
        if span_s <= period_s * _MOST_ROWS:
            return period_s
    return _REPORT_PERIODS_S[-1]
