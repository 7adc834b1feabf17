"""The knees of all curves in run directories: throughput against one setting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from gpubench.planning.documents import Documents
from gpubench.planning.knee import knee
from gpubench.planning.measured import (
    OF_THE_METHOD,
    combined_cells,
    is_for,
    nearest_probe,
    searches_of,
)
from gpubench.results.result import Result
from gpubench.spec.objective import Objective
from gpubench.spec.workload import Workload, workload_of

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
