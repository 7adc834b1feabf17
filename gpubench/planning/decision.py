"""What to rent: the cheapest candidate of each workload, the Pareto front, and the knees.

docs/planning.md has the rules. Pure functions, but for `plan`, which reads run directories.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from gpubench.errors import InputError, nearest
from gpubench.planning.candidates import (
    AS_STORED,
    OBSTACLES,
    OF_THE_METHOD,
    Candidate,
    Documents,
    GivenPrices,
    MeasuredSetting,
    Obstacle,
    OperatingPoint,
    Place,
    Unmet,
    Workload,
    candidates,
    combined_cells,
    filtered,
    is_for,
    measured_settings,
    nearest_probe,
    obstacles,
    point_costs,
    searches_of,
    whole_instance,
    workload_of,
)
from gpubench.planning.knee import knee
from gpubench.pricing.cost import check_prices
from gpubench.pricing.energy import with_electricity
from gpubench.pricing.owned import Electricity, Owned
from gpubench.results.result import Cost, Result
from gpubench.results.run_directory import open_run
from gpubench.results.search_result import SearchResult
from gpubench.spec.objective import Objective, parse_objective


@dataclass(frozen=True)
class FrontPoint:
    """A setting at a rate and a price, to which no other is preferable in cost and latency."""

    point: OperatingPoint
    cost: Cost
    rate_per_second: float  # inferences, of the whole instance
    usd_per_million: float
    latency_ms: float  # the percentile of the objective
    obstacles: tuple[Obstacle, ...]


CurveAxis = Literal["batch", "clients", "rate", "workers"]
AXES: tuple[CurveAxis, ...] = ("batch", "clients", "rate", "workers")


@dataclass(frozen=True)
class Knee:
    """Where a curve of throughput against one setting becomes flat."""

    axis: CurveAxis
    at: Result
    x: float
    throughput_per_second: float
    highest_x: float  # where the throughput is highest
    highest_throughput_per_second: float
    count: int  # points of the curve
    is_last: bool  # no larger x was measured, so the curve may still rise


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
class DeploymentPlan:
    objective: Objective
    allowed: frozenset[Obstacle]
    decisions: tuple[Decision, ...]  # one for each workload, by model
    directories: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()  # files that could not be read, one line each


def plan(
    directories: str | Path | Sequence[str | Path],
    objective: str | Objective,
    instance: Sequence[str] = (),
    usd_per_hour: float | None = None,
    allow: Iterable[str] = (),
    only: Sequence[str] = (),
    owned: Owned | None = None,
    electricity: Electricity | None = None,
) -> DeploymentPlan:
    """Which measured setting, on which instance, is cheapest within `objective` ("p95:100ms").

    `directories` are run directories: paths or URLs. `instance`, `usd_per_hour` and `owned`
    hardware price the results anew; `electricity` adds its figures to them. `allow` names
    obstacles with which a candidate may win nevertheless, and `only` ("inputs=host") leaves out
    results with other settings. Nothing is measured, and no file is changed.

    Raises InputError for anything that cannot be used, and if nothing was measured.
    """
    if isinstance(objective, str):
        objective = parse_objective(objective)
    allowed = parse_obstacles(allow)
    prices = GivenPrices(tuple(instance), usd_per_hour, owned)
    check_prices(prices.instances)
    if isinstance(directories, (str, Path)):
        directories = [directories]
    documents, problems = read_documents(directories)
    documents = _with_electricity(documents, electricity)
    decided = decide(filtered(documents, only), objective, prices, allowed)
    return replace(decided, directories=tuple(map(str, directories)), problems=problems)


def parse_obstacles(names: Iterable[str]) -> frozenset[Obstacle]:
    """The obstacles with these names. Raises InputError, which names --allow, for another name."""
    known: dict[str, Obstacle] = {name: name for name in OBSTACLES}
    found = set()
    for name in names:
        if name not in known:
            raise InputError(f"--allow: unknown obstacle '{name}'; {nearest(name, known)}")
        found.add(known[name])
    return frozenset(found)


def read_documents(directories: Sequence[str | Path]) -> tuple[Documents, tuple[str, ...]]:
    """Every cell and every search of these directories, and what could not be read.

    Raises InputError as `RunDirectory.read_all` does, and if there is no cell and no search.
    """
    if not directories:
        raise InputError("plan needs a run directory; measure with gpubench sweep --output DIR")
    # A directory and its copy have the same documents, and a document counts once.
    cells: dict[tuple[str, str], tuple[Place, Result]] = {}
    searches: dict[tuple[str, str], tuple[Place, SearchResult]] = {}
    problems: list[str] = []
    for url in dict.fromkeys(map(str, directories)):
        contents = open_run(url).read_all(searches=True, cold=True)
        problems += contents.problems
        for name, result in contents.cells:
            where = result.environment.model_dump_json()
            cells.setdefault((name, where), (Place(url, name), result))
        for name, found in contents.searches:
            where = found.environment.model_dump_json() if found.environment else ""
            searches.setdefault((name, where), (Place(url, name), found))
    if not cells and not searches:
        raise InputError(
            f"{directories[0]} holds no cell and no search; measure with gpubench sweep --output "
            f"{directories[0]}"
        )
    return Documents(tuple(cells.values()), tuple(searches.values())), tuple(problems)


def _with_electricity(documents: Documents, asked: Electricity | None) -> Documents:
    if asked is None:
        return documents

    def priced(found: SearchResult) -> SearchResult:
        probes = [
            each.model_copy(update={"result": with_electricity(each.result, asked)})
            for each in found.probes
        ]
        return found.model_copy(update={"probes": probes})

    return Documents(
        tuple((place, with_electricity(result, asked)) for place, result in documents.cells),
        tuple((place, priced(found)) for place, found in documents.searches),
    )


def decide(
    documents: Documents,
    objective: Objective,
    prices: GivenPrices = AS_STORED,
    allowed: frozenset[Obstacle] = frozenset(),
) -> DeploymentPlan:
    """The decision for each workload.

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
            points += _front_points(each, prices)
        decisions.append(
            _decision(
                workload,
                found,
                unmet,
                points,
                knees(documents, workload, objective),
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
    points: Iterable[FrontPoint], figures: Callable[[FrontPoint], tuple[float, float]]
) -> list[FrontPoint]:
    """The points that no other point dominates, by their first figure, in rising order.

    A point dominates another if neither of its two figures is larger, and one is smaller. So
    points with the same two figures are all kept, or none of them is. O(n log n).
    """
    front: list[FrontPoint] = []
    for point in sorted(points, key=figures):
        second = figures(point)[1]
        best = figures(front[-1]) if front else (math.inf, math.inf)
        if second < best[1] or figures(point) == best:
            front.append(point)
    return front


def knees(documents: Documents, workload: Workload, objective: Objective) -> tuple[Knee, ...]:
    """The knee of every curve with three points or more.

    The points of a curve are cells that differ only in one number (and in what follows from it,
    such as the threads of each of more workers), with their throughputs; or searches for the
    objective, with the rates that they found.
    """
    curves: dict[str, list[_CurvePoint]] = {}
    for each in _curve_points(documents, workload, objective):
        for axis in AXES:
            if each.settings[axis] is not None:
                curves.setdefault(_curve(each, axis), []).append(each)
    found = []
    for name, points in curves.items():
        axis = _axis_of(name)
        xs = [float(each.settings[axis] or 0) for each in points]
        ys = [each.throughput_per_second for each in points]
        index = knee(list(zip(xs, ys, strict=True))) if len(set(xs)) == len(xs) else None
        if index is None:
            continue
        highest = max(range(len(ys)), key=ys.__getitem__)
        found.append(
            Knee(
                axis=axis,
                at=points[index].result,
                x=xs[index],
                throughput_per_second=ys[index],
                highest_x=xs[highest],
                highest_throughput_per_second=ys[highest],
                count=len(xs),
                is_last=xs[index] == max(xs),
            )
        )
    return tuple(found)


@dataclass(frozen=True)
class _CurvePoint:
    result: Result
    settings: dict[str, str | float | int | bool | None]
    throughput_per_second: float  # inferences
    evidence: str  # cells and searches are in different curves


def _curve_points(
    documents: Documents, workload: Workload, objective: Objective
) -> Iterator[_CurvePoint]:
    for result, _ in combined_cells(documents):
        rate = result.throughput_per_second
        if rate is not None and result.error is None and workload_of(result.spec) == workload:
            yield _CurvePoint(result, result.spec.measured_settings(), rate, "cell")
    for found, _ in searches_of(documents):
        rate = found.max_rate_per_second
        if rate is not None and is_for(found, objective) and workload_of(found.spec) == workload:
            settings = found.spec.measured_settings() | {"rate": None}
            result = nearest_probe(found, rate)
            yield _CurvePoint(result, settings, rate * found.spec.batch, "search")


def _curve(point: _CurvePoint, axis: CurveAxis) -> str:
    """What the points of a curve along `axis` have in common."""
    follows = {"workers": {"threads", "depth"}, "clients": {"depth"}}.get(axis, set())
    settings = {
        name: value
        for name, value in point.settings.items()
        if name not in OF_THE_METHOD | follows | {axis}
    }
    if point.settings["clients"] == point.settings["workers"]:
        settings["clients"] = "workers"
    environment = point.result.environment.model_dump_json(exclude={"time"})
    return f"{axis} {point.evidence} {settings} {environment}"


def _axis_of(curve: str) -> CurveAxis:
    return next(axis for axis in AXES if curve.startswith(f"{axis} "))
