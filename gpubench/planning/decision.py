"""What to rent: the cheapest candidate of each workload, the Pareto front, and the knees.

docs/planning.md has the rules. Pure functions, but for `plan`, which reads run directories.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from gpubench.displayed import Displayed
from gpubench.errors import InputError, nearest
from gpubench.planning.candidates import (
    AS_STORED,
    OBSTACLES,
    Candidate,
    GivenPrices,
    Obstacle,
    Unmet,
    candidates,
    obstacles,
    point_costs,
)
from gpubench.planning.curves import Knee, knees
from gpubench.planning.documents import (
    Documents,
    Source,
    electrified,
    filtered,
    listed,
    read_documents,
)
from gpubench.planning.measured import (
    MeasuredSetting,
    OperatingPoint,
    measured_settings,
    whole_instance,
)
from gpubench.pricing.cost import check_prices
from gpubench.pricing.owned import Electricity, Owned
from gpubench.results.cold_result import ColdResult
from gpubench.results.result import Cost, Result
from gpubench.spec.objective import Objective, parse_objective
from gpubench.spec.parse import names
from gpubench.spec.workload import Workload

_Point = TypeVar("_Point")


@dataclass(frozen=True)
class FrontPoint:
    """A setting at a rate and a price, to which no other is preferable in cost and latency."""

    point: OperatingPoint
    cost: Cost
    rate_per_second: float  # inferences, of the whole instance
    usd_per_million: float
    latency_ms: float  # the percentile of the objective
    obstacles: tuple[Obstacle, ...]


@dataclass(frozen=True)
class Decision:
    """The answer for one workload."""

    workload: Workload
    winner: Candidate | None
    next_best: Candidate | None  # the next that may win
    # Cheaper than the winner, but may not win. Without a winner, the cheapest one; of closed loops
    # only if nothing else was measured.
    best_with_obstacles: Candidate | None
    candidates: tuple[Candidate, ...]  # the cheapest first
    unmet: tuple[Unmet, ...]  # the lowest latency first
    front: tuple[FrontPoint, ...]  # the cheapest first
    knees: tuple[Knee, ...]


@dataclass(frozen=True)
class DeploymentPlan(Displayed):
    objective: Objective
    allowed: frozenset[Obstacle]
    decisions: tuple[Decision, ...]  # one for each workload, by model
    directories: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()  # files that could not be read, one line each
    functions: tuple[ColdResult, ...] = ()  # serverless functions that were called from outside


def plan(
    sources: Source | Sequence[Source],
    objective: str | Objective,
    instance: str | Sequence[str] = (),
    usd_per_hour: float | None = None,
    allow: str | Iterable[str] = (),
    only: str | Sequence[str] = (),
    owned: Owned | None = None,
    electricity: Electricity | None = None,
) -> DeploymentPlan:
    """Which measured setting, on which instance, is cheapest within `objective` ("p95:100ms").

    `sources` are run directories or JSON files (paths or URLs), what `gpubench.load` returned, or
    results of `run`, `sweep` and `search`. `instance`, `usd_per_hour` and `owned`
    hardware price the results anew; `electricity` adds its figures to them. `allow` names
    obstacles with which a candidate may win nevertheless, and `only` ("inputs=host") leaves out
    results with other settings. Nothing is measured, and no file is changed.

    Raises InputError for anything that cannot be used, and if nothing was measured.
    """
    objective = parse_objective(objective)
    allowed = parse_obstacles(names(allow))
    prices = GivenPrices(names(instance), usd_per_hour, owned)
    check_prices(prices.instances)
    documents, problems = read_documents(listed(sources))
    documents = electrified(documents, electricity)
    documents = filtered(documents, names(only))
    return replace(
        decide(documents, objective, prices, allowed),
        directories=documents.directories,
        problems=problems,
        functions=tuple(found for _, found in documents.cold if found.function is not None),
    )


def parse_obstacles(names: Iterable[str]) -> frozenset[Obstacle]:
    """The obstacles with these names. Raises InputError, which names --allow, for another name."""
    known: dict[str, Obstacle] = {name: name for name in OBSTACLES}
    found = set()
    for name in names:
        if name not in known:
            raise InputError(f"--allow: unknown obstacle '{name}'; {nearest(name, known)}")
        found.add(known[name])
    return frozenset(found)


def decide(
    documents: Documents,
    objective: Objective,
    prices: GivenPrices = AS_STORED,
    allowed: frozenset[Obstacle] = frozenset(),
    *,
    with_curves: bool = True,
) -> DeploymentPlan:
    """The decision for each workload. Without `with_curves` it has no front and no knees.

    Raises InputError as `measured_settings` and `candidates` do, and if one price of an hour is
    given for several machines.
    """
    if prices.is_of_one_machine:
        _refuse_several_machines(documents)
    by_workload: dict[Workload, list[MeasuredSetting]] = {}
    for each in measured_settings(documents, objective):
        by_workload.setdefault(each.workload, []).append(each)
    decisions = []
    for workload, settings in by_workload.items():
        found: list[Candidate] = []
        unmet: list[Unmet] = []
        points: list[FrontPoint] = []
        for each in settings:
            made = candidates(each, objective, prices, allowed)
            if isinstance(made, Unmet):
                unmet.append(made)
            else:
                found += made
            if with_curves:
                points += _front_points(each, prices)
        decisions.append(
            _decision(
                workload,
                found,
                unmet,
                points,
                knees(documents, workload, objective) if with_curves else (),
                allowed,
            )
        )
    decisions.sort(key=lambda each: (each.workload.model, str(each.workload)))
    return DeploymentPlan(objective, allowed, tuple(decisions))


def _decision(
    workload: Workload,
    found: Sequence[Candidate],
    unmet: Sequence[Unmet],
    points: Sequence[FrontPoint],
    curves: tuple[Knee, ...],
    allowed: frozenset[Obstacle],
) -> Decision:
    ordered = cheapest_first(found)
    may_win = [each for each in ordered if allowed.issuperset(each.obstacles)]
    if not _are_comparable(may_win):
        may_win = []
    winner = may_win[0] if may_win else None
    best = ordered[0] if ordered and ordered[0] is not winner else None
    if winner is None:
        best = next((each for each in ordered if "closed-loop" not in each.obstacles), best)
    fit = [each for each in points if allowed.issuperset(each.obstacles)]
    others = [each for each in points if each.point.evidence != "closed-loop"]
    return Decision(
        workload=workload,
        winner=winner,
        next_best=may_win[1] if len(may_win) > 1 else None,
        best_with_obstacles=best,
        candidates=tuple(ordered),
        unmet=tuple(
            sorted(unmet, key=lambda each: (each.latency_ms is None, each.latency_ms or 0))
        ),
        front=tuple(
            pareto(fit or others or points, lambda each: (each.usd_per_million, each.latency_ms))
        ),
        knees=curves,
    )


def cheapest_first(found: Iterable[Candidate]) -> list[Candidate]:
    """Those without a price are last. Of equally cheap ones the fastest is first."""
    return sorted(
        found,
        key=lambda each: (
            each.usd_per_million is None,
            each.usd_per_million or 0.0,
            -each.rate_per_second,
        ),
    )


def _are_comparable(found: Sequence[Candidate]) -> bool:
    """Whether the first of these candidates is the cheapest one.

    Without any price it is the one with the highest rate, if all have the same machine.
    """
    if any(each.usd_per_million is not None for each in found):
        return True
    machines = {(_machine(each.result), len(each.spec.devices)) for each in found}
    return len(machines) == 1


def _machine(result: Result) -> str:
    """What results of the same kind of machine have in common."""
    if result.spec.served:  # the environment is that of the client
        return f"server {result.spec.server}"
    where = result.environment
    return f"{where.instance} {where.cpu} {where.cores} {where.gpus}"


def _refuse_several_machines(documents: Documents) -> None:
    results = [result for _, result in documents.cells]
    results += [probe.result for _, found in documents.searches for probe in found.probes]
    machines = len({_machine(each) for each in results})
    if machines > 1:
        raise InputError(
            "--usd-per-hour and --capital-usd are the price of one machine, and these results are "
            f"from {machines}; give --instance NAME,NAME, or plan each directory alone"
        )


def _front_points(measured: MeasuredSetting, prices: GivenPrices) -> list[FrontPoint]:
    points = []
    # The answer of a search says more than each of the open loops from which it comes.
    for point in (each for each in measured.points if not each.is_in_an_answer):
        for cost in point_costs(point, measured, prices):
            if cost.usd_per_million is None or point.latency_ms is None:
                continue
            points.append(
                FrontPoint(
                    point=point,
                    cost=cost,
                    rate_per_second=whole_instance(point.rate_per_second, cost),
                    usd_per_million=cost.usd_per_million,
                    latency_ms=point.latency_ms,
                    obstacles=obstacles(measured, point, cost),
                )
            )
    return points


def pareto(
    points: Iterable[_Point], figures: Callable[[_Point], tuple[float, float]]
) -> list[_Point]:
    """The points that no other point dominates, by their first figure, in rising order.

    A point dominates another if neither of its two figures is larger, and one is smaller. So
    points with the same two figures are all kept, or none of them is. O(n log n).
    """
    front: list[_Point] = []
    for point in sorted(points, key=figures):
        second = figures(point)[1]
        best = figures(front[-1]) if front else (math.inf, math.inf)
        if second < best[1] or figures(point) == best:
            front.append(point)
    return front
