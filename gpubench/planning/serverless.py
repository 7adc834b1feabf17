"""What a load costs on a serverless function that was measured, beside instances.

    calls a second   = inferences a second / (requests of a call * batch)
    concurrency      = calls a second * mean time of a warm call in the handler    (Little's law)
    usd_per_month    = calls in a month * (usd_per_call + cold share * usd_per_start)

The platform ends a process that was idle for `keep_alive_s`. With random calls (Poisson) at rate r,
the share exp(-r * keep_alive_s) of them comes after all processes were idle for that long, and is
cold. More calls may be cold than that, because calls at the same time need several processes, each
of which may be idle for long. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gpubench.planning.fleet import HOURS_A_MONTH, Fleet
from gpubench.planning.traffic import Load
from gpubench.pricing.serverless import with_function_cost
from gpubench.results.cold_result import ColdResult
from gpubench.results.function_calls import FunctionCall, MemoryTimePrice, ServerlessFunction
from gpubench.spec.objective import Objective
from gpubench.spec.workload import Workload, workload_of
from gpubench.statistics.percentiles import least_count


@dataclass(frozen=True)
class BreakEven:
    """The constant load from which instances cost less than the function."""

    rate_per_second: float  # inferences
    fleet: Fleet  # of these instances


@dataclass(frozen=True)
class FunctionPlan:
    """The load on one function."""

    result: ColdResult
    function: ServerlessFunction
    concurrency: float | None  # at the peak: processes that work at the same time, on average
    cold_share: float | None  # of the calls, at least; None: the keep-alive time was not told
    usd_per_month: float | None  # None: no price was stated, or no warm call was measured
    usd_per_million: float | None
    is_lower_bound: bool  # cold starts cost more than is in these figures
    latency_ms: float | None  # percentile of the objective of warm calls, from outside
    late_share: float | None  # of all calls; None: too few warm calls for this percentile
    break_even: BreakEven | None  # None: instances never cost less, or a price is missing

    def meets(self, objective: Objective) -> bool | None:
        """Whether enough of the calls are within the limit. None: it is not known."""
        return None if self.late_share is None else self.late_share <= objective.late_share


def function_plans(
    functions: Iterable[ColdResult],
    workload: Workload,
    load: Load,
    objective: Objective,
    fleets: Sequence[Fleet],
    price: MemoryTimePrice | None = None,
    keep_alive_s: float | None = None,
) -> tuple[FunctionPlan, ...]:
    """The load on each function of this workload, the cheapest first.

    `price` replaces the prices that are stored with the functions.
    """
    found = [
        _plan(with_function_cost(result, price), load, objective, fleets, keep_alive_s)
        for result in functions
        if result.function is not None and workload_of(result.spec) == workload
    ]
    return tuple(
        sorted(found, key=lambda each: (each.usd_per_month is None, each.usd_per_month or 0.0))
    )


def _plan(
    result: ColdResult,
    load: Load,
    objective: Objective,
    fleets: Sequence[Fleet],
    keep_alive_s: float | None,
) -> FunctionPlan:
    function = result.function
    assert function is not None
    per_call = function.inferences * result.spec.batch
    share = None if keep_alive_s is None else cold_share(load, per_call, keep_alive_s)
    handler = function.warm.handler if function.warm else None
    usd, is_lower_bound = _usd_per_inference(function, per_call, share)
    a_month = load.mean_per_second * HOURS_A_MONTH * 3600
    return FunctionPlan(
        result=result,
        function=function,
        concurrency=load.peak_per_second / per_call * handler.mean / 1e3 if handler else None,
        cold_share=share,
        usd_per_month=None if usd is None else usd * a_month,
        usd_per_million=None if usd is None else usd * 1e6,
        is_lower_bound=is_lower_bound,
        latency_ms=_warm_latency_ms(function, objective),
        late_share=_late_share(function, objective, share or 0.0),
        break_even=None if usd is None else _break_even(function, fleets),
    )


def cold_share(load: Load, per_call: int, keep_alive_s: float) -> float:
    """The least share of the calls that are cold, if each call has `per_call` inferences.

    The load is repeated for ever, so the first call of a trace comes after the last one.
    """
    if load.times_s is not None:
        calls = load.times_s[::per_call]
        gaps = [*(calls[1:] - calls[:-1]), load.span_s - calls[-1] + calls[0]]
        return sum(1 for gap in gaps if gap > keep_alive_s) / len(gaps)
    begin_s, calls_made, cold = 0.0, 0.0, 0.0
    for step in load.steps:
        per_second = step.per_second / per_call
        of_step = per_second * (step.until_s - begin_s)
        calls_made += of_step
        cold += of_step * math.exp(-per_second * keep_alive_s)
        begin_s = step.until_s
    return cold / calls_made


def _usd_per_inference(
    function: ServerlessFunction, per_call: int, share: float | None
) -> tuple[float | None, bool]:
    """(what an inference costs, whether cold starts cost more than is in it)."""
    cost = function.cost
    if cost is None or cost.usd_per_call is None:
        return None, False
    is_known = share == 0 or (share is not None and cost.usd_per_start is not None)
    starts = (share or 0.0) * (cost.usd_per_start or 0.0)
    return (cost.usd_per_call + starts) / per_call, not is_known


def _warm(function: ServerlessFunction) -> list[float]:
    return _round_trips(call for call in function.calls if call.cold is False)


def _round_trips(calls: Iterable[FunctionCall]) -> list[float]:
    return [call.round_trip_ms for call in calls if call.round_trip_ms is not None]


def _warm_latency_ms(function: ServerlessFunction, objective: Objective) -> float | None:
    figure = function.warm.round_trip if function.warm else None
    value: float | None = getattr(figure, f"p{objective.percent}", None)
    return value


def _late_share(function: ServerlessFunction, objective: Objective, cold: float) -> float | None:
    """The share of the calls over the limit of the objective, if the share `cold` is cold.

    A call that was sent alone and failed counts as a warm call that is late. Without a measured
    cold call, all cold calls count as late.
    """
    limit_ms = objective.latency_s * 1e3
    warm = _warm(function)
    if len(warm) < least_count(objective.percent):
        return None

    def late(times_ms: Sequence[float]) -> float:
        return sum(each > limit_ms for each in times_ms) / len(times_ms)

    failed = sum(call.error is not None and call.parallel == 1 for call in function.calls)
    warm += [math.inf] * failed
    waited = _round_trips(call for call in function.calls if call.started_for_it)
    return (1 - cold) * late(warm) + cold * (late(waited) if waited else 1.0)


def _break_even(function: ServerlessFunction, fleets: Sequence[Fleet]) -> BreakEven | None:
    """The lowest constant load at which whole instances cost no more than warm calls.

    n instances and the spare ones cost as much as (n + spare) * k inferences a second, where k is
    what one instance costs. They can serve that if it is at most n times the rate of one.
    """
    cost = function.cost
    if cost is None or not cost.usd_per_million:
        return None
    found = []
    for fleet in fleets:
        price, rate = fleet.candidate.cost, fleet.size.rate_per_instance
        if price is None:
            continue
        spare = fleet.size.spare
        same = price.usd_per_hour / 3600 / cost.usd_per_million * 1e6
        if same > rate or (same == rate and spare):
            continue
        needed = max(1, math.ceil(spare * same / (rate - same))) if spare else 1
        found.append(BreakEven((needed + spare) * same, fleet))
    return min(found, key=lambda each: each.rate_per_second, default=None)
