"""What could be rented: every measured setting at every price, and its rate within an objective.

    settings, each with its points ──> x prices ──> candidates

A *candidate* is a setting at one price, with the point that says most about the objective.
docs/planning.md has the rules. Pure functions: nothing here measures, and no document is changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from gpubench.planning.documents import Place
from gpubench.planning.measured import (
    OUTPUT_CODES,
    EvidenceKind,
    MeasuredSetting,
    OperatingPoint,
    is_as_strict,
    is_for,
    met_every_probe,
    price_key,
    whole_instance,
    within,
)
from gpubench.pricing.cost import measured_hardware, price
from gpubench.pricing.owned import Owned
from gpubench.results.result import Cost, Interval, Result
from gpubench.results.search_result import SearchResult
from gpubench.spec.objective import Objective
from gpubench.spec.spec import Spec
from gpubench.spec.workload import Workload

# What the rate of a candidate is: the highest rate that meets the objective, a lower bound of it,
# or an upper bound of it. "none": neither of the two bounds.
Bound = Literal["estimate", "at-least", "at-most", "none"]
Obstacle = Literal[
    "closed-loop", "suspect", "outputs-differ", "accuracy-drop", "other-hardware", "extrapolated"
]
OBSTACLES: tuple[Obstacle, ...] = get_args(Obstacle)


@dataclass(frozen=True)
class GivenPrices:
    """The prices that the results are priced with again. If there are none, they keep theirs."""

    instances: tuple[str, ...] = ()
    usd_per_hour: float | None = None
    owned: Owned | None = None

    def __bool__(self) -> bool:
        return bool(self.instances) or self.is_of_one_machine

    @property
    def is_of_one_machine(self) -> bool:
        """Whether a price is that of the machine that was measured, and not of an instance."""
        return self.usd_per_hour is not None or self.owned is not None


AS_STORED = GivenPrices()


@dataclass(frozen=True)
class Candidate:
    """One setting on one instance at one price, and the rate that meets the objective there."""

    workload: Workload
    cost: Cost | None  # None: no price is known
    point: OperatingPoint
    bound: Bound
    rate_per_second: float  # of the whole instance
    interval: Interval | None  # 95%, of the rate of the whole instance
    is_certain: bool  # whether the objective is met at this rate with 95% confidence
    obstacles: tuple[Obstacle, ...]

    @property
    def evidence(self) -> EvidenceKind:
        return self.point.evidence

    @property
    def result(self) -> Result:
        return self.point.result

    @property
    def spec(self) -> Spec:
        return self.point.result.spec

    @property
    def documents(self) -> tuple[Place, ...]:
        """The documents that the rate comes from. A cell has a sample file of the same name."""
        return self.point.documents

    @property
    def latency_ms(self) -> float | None:
        """The percentile of the objective at this rate. None: unknown."""
        return self.point.latency_ms

    @property
    def usd_per_million(self) -> float | None:
        return self.cost.usd_per_million if self.cost else None


@dataclass(frozen=True)
class Unmet:
    """A setting that is no candidate, because nothing measured of it meets the objective."""

    workload: Workload
    result: Result  # with the lowest latency, or one that failed
    latency_ms: float | None  # lowest value of the percentile that was measured; None: unknown
    at_rate_per_second: float | None  # inferences, on the hardware that was measured
    reason: Literal["missed", "unknown", "failed", "pruned"]
    note: str | None  # more about it, from the document


def candidates(
    measured: MeasuredSetting,
    objective: Objective,
    prices: GivenPrices = AS_STORED,
    allowed: frozenset[Obstacle] = frozenset(),
) -> list[Candidate] | Unmet:
    """The candidates of one setting, one for each price; or why it has none.

    The prices are those given here, or else those that are stored with the results, which have not
    changed since. Without any there is one candidate, which has no price.
    Of several points, one without an obstacle (but for those `allowed`) goes first, then the kind
    of evidence decides, then certainty, and then the higher rate.

    Raises InputError for an instance that is not in the catalog or has no price there, and for a
    negative price.
    """
    ended = [each for each in measured.searches if each.error is None]
    if ended and all(each.max_rate_per_second is None for each in ended):
        return _unmet(measured, ended)
    fitting = [point for point in measured.points if _rank(point, objective) is not None]
    if not fitting:
        return _unmet(measured, [])
    by_price: dict[str, list[Candidate]] = {}
    for point in fitting:
        costs: list[Cost | None] = [*point_costs(point, measured, prices)]
        for cost in costs or [None]:
            candidate = _candidate(measured, point, cost, objective)
            by_price.setdefault(price_key(cost), []).append(candidate)
    return [
        min(each, key=lambda c: _preference(c, objective, allowed)) for each in by_price.values()
    ]


def point_costs(
    point: OperatingPoint, measured: MeasuredSetting, prices: GivenPrices = AS_STORED
) -> list[Cost]:
    """The costs of a million inferences at the rate of a point. Raises as `candidates` does."""
    if not prices:
        return [each.at(point.rate_per_second, point.interval) for each in measured.stored]
    return price(
        point.rate_per_second,
        point.interval,
        measured_hardware(point.result.spec, point.result.environment),
        prices.instances,
        prices.usd_per_hour,
        owned=prices.owned,
        measured_w=point.result.power_w,
    )


def obstacles(
    measured: MeasuredSetting, point: OperatingPoint, cost: Cost | None
) -> tuple[Obstacle, ...]:
    """What speaks against renting this, in the order of `OBSTACLES`."""
    codes = {reason.code for reason in point.verdict.reasons}
    found: set[Obstacle] = set(measured.wrong)
    if point.evidence == "closed-loop":
        found.add("closed-loop")
    if point.verdict.status == "suspect" and not (codes and codes <= OUTPUT_CODES.keys()):
        found.add("suspect")
    if cost is not None and cost.instance is not None and cost.measured_here is not True:
        found.add("other-hardware")
    if cost is not None and cost.extrapolated:
        found.add("extrapolated")
    return tuple(name for name in OBSTACLES if name in found)


def _rank(point: OperatingPoint, objective: Objective) -> int | None:
    """How much a point says about the objective, the best first. None: it does not meet it."""
    limit = objective.latency_s * 1e3
    if point.search is not None:
        if is_for(point.search, objective):
            return 0
        return 1 if is_as_strict(point.search, objective) else None
    if point.latency_ms is None or not within(point.latency_ms, limit):
        return None
    if point.evidence == "open-loop":
        return 1
    return 2 if point.keeps_busy else 3


def _candidate(
    measured: MeasuredSetting, point: OperatingPoint, cost: Cost | None, objective: Objective
) -> Candidate:
    rate = whole_instance(point.rate_per_second, cost)
    factor = rate / point.rate_per_second if point.rate_per_second else 1.0
    at_most = point.at_most_ms
    return Candidate(
        workload=measured.workload,
        cost=cost,
        point=point,
        bound=_bound(point, objective),
        rate_per_second=rate,
        interval=point.interval and (point.interval[0] * factor, point.interval[1] * factor),
        is_certain=point.interval is not None
        if point.search is not None
        else at_most is not None and within(at_most, objective.latency_s * 1e3),
        obstacles=obstacles(measured, point, cost),
    )


def _bound(point: OperatingPoint, objective: Objective) -> Bound:
    bounds: tuple[Bound, ...] = ("estimate", "at-least", "at-most", "none")
    rank = _rank(point, objective) or 0
    if rank == 0 and point.search is not None and met_every_probe(point.search, objective):
        return "at-least"
    return bounds[rank]


def _preference(
    candidate: Candidate, objective: Objective, allowed: frozenset[Obstacle]
) -> tuple[bool, int, bool, float]:
    """Sort key: the candidate that says most about its setting is first.

    Of several bounds the highest one counts. Of several estimates it is the one with the narrowest
    interval: to choose the highest would choose errors upwards.
    """
    rank = _rank(candidate.point, objective)
    last = -candidate.rate_per_second
    if rank == 0:
        low, high = candidate.interval or (0.0, math.inf)
        last = (high - low) / candidate.rate_per_second if candidate.rate_per_second else math.inf
    return (
        not allowed.issuperset(candidate.obstacles),
        0 if rank is None else rank,
        not candidate.is_certain,
        last,
    )


def _unmet(measured: MeasuredSetting, ended: Sequence[SearchResult]) -> Unmet:
    """`ended` are the searches for this objective that ended without a rate."""
    seen = [point for point in measured.points if point.search is None and point.latency_ms]
    best = min(seen, key=lambda point: point.latency_ms or math.inf, default=None)
    workload, note = measured.workload, ended[-1].note if ended else None
    pruned = [each.pruned for each in ended if each.pruned is not None]
    if pruned:
        at_most = pruned[-1].figure * measured.result.spec.batch
        note = f"a sweep dropped it: at most {at_most:.3g}/s, and {pruned[-1].best} serves more"
    result, latency_ms, rate = measured.result, None, None
    if best is not None:
        result, latency_ms, rate = best.result, best.latency_ms, best.rate_per_second
    if pruned:
        return Unmet(workload, result, latency_ms, rate, "pruned", note)
    if best is not None:
        return Unmet(workload, result, latency_ms, rate, "missed", note)
    if measured.failed and not measured.points:
        failed = measured.failed[-1]
        message = " ".join(failed.error.message.split()) if failed.error else None
        return Unmet(workload, failed, None, None, "failed", message)
    return Unmet(workload, result, None, None, "unknown", note)
