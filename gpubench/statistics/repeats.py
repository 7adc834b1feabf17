"""Several measurements of the same cell, combined into one result.

Two runs of the same cell differ by more than chance inside either run explains: the memory lies in
other places, the clocks and the neighbours are others. With three repeats or more, the interval of
a figure comes from the differences between the repeats: Student's t on the logarithms, because
ratios of figures are what is compared. An interval inside a run is kept beside it, and the wider
one is the interval of the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gpubench.results.result import (
    Cost,
    Interval,
    Latency,
    Reason,
    RepeatedFigure,
    Repeats,
    Requests,
    Result,
    Verdict,
)
from gpubench.spec.repetition import LEAST_REPEATS
from gpubench.statistics.student import student_t

_PERCENTILES = ("p50", "p90", "p95", "p99")
_SUMS = ("offered", "completed", "unfinished", "failed", "padded")


def grouped(results: Iterable[Result]) -> list[list[Result]]:
    """The repeats of each cell, in their order. A cell that was measured once is a group of one.

    Repeats have the same measured settings, machine and software.
    """
    groups: dict[str, list[Result]] = {}
    for result in results:
        settings = result.spec.model_dump_json(exclude={"instance", "usd_per_hour"})
        machine = result.environment.model_dump_json(exclude={"time"})
        groups.setdefault(f"{settings} {machine}", []).append(result)
    return [sorted(group, key=_number) for group in groups.values()]


def combine(results: Iterable[Result]) -> list[Result]:
    """One result for each cell, which stands for all its repeats. See `combined`."""
    return [combined(repeats) for repeats in grouped(results)]


def combined(repeats: Sequence[Result]) -> Result:
    """One result that stands for all repeats of a cell. A single result is returned unchanged.

    Throughput, costs and the percentiles are geometric means over the repeats without an error.
    The smallest and the largest latency are those of all of them, and requests are added up. All
    other figures are those of the repeat with the median throughput. If every repeat failed, it is
    the last one of them.
    """
    if len(repeats) == 1:
        return repeats[0]
    measured = [result for result in repeats if result.error is None]
    failed = len(repeats) - len(measured)
    if not measured:
        last = repeats[-1]
        info = Repeats(count=0, failed=failed, processes=_processes(repeats))
        return last.model_copy(update={"repeats": info})
    typical = sorted(measured, key=lambda r: r.throughput_per_second or 0.0)[len(measured) // 2]
    throughput = _over(measured, lambda r: r.throughput_per_second, lambda r: r.throughput_interval)
    latency, percentiles = _latency(measured, typical)
    figures = {"throughput_per_second": throughput.info}
    figures |= {f"{name}_ms": figure.info for name, figure in percentiles.items()}
    return typical.model_copy(
        update={
            "repeat": None,
            "repeats": Repeats(
                count=len(measured),
                failed=failed,
                processes=_processes(measured),
                **{name: info for name, info in figures.items() if info is not None},
            ),
            "requests": Requests(
                **{name: sum(getattr(r.requests, name) for r in measured) for name in _SUMS}
            ),
            "throughput_per_second": throughput.figure,
            "throughput_interval": throughput.interval,
            "throughput_interval_note": throughput.note,
            "latency_ms": latency,
            "costs": [_cost(measured, cost) for cost in typical.costs],
            "verdict": _verdict(measured, failed),
        }
    )


@dataclass(frozen=True)
class _Combined:
    """A figure over the repeats, with the wider one of its two intervals."""

    figure: float | None = None
    interval: Interval | None = None
    note: str | None = None  # why there is no interval
    info: RepeatedFigure | None = None


def _over(
    results: Sequence[Result],
    figure: Callable[[Result], float | None],
    interval: Callable[[Result], Interval | None],
) -> _Combined:
    logs = [math.log(value) for result in results if (value := figure(result))]
    if not logs:
        return _Combined()
    mean = math.fsum(logs) / len(logs)
    between, spread = between_repeats(logs)
    inside = geometric_mean([i for r in results if (i := interval(r)) and i[0] > 0])
    candidates = [each for each in (between, inside) if each is not None]
    widest = max(candidates, key=lambda each: each[1] / each[0], default=None)
    note = None
    if widest is None:
        note = f"{len(logs)} repeats; an interval between repeats needs {LEAST_REPEATS}"
    info = RepeatedFigure(count=len(logs), spread=spread, interval=between, interval_inside=inside)
    return _Combined(math.exp(mean), widest, note, info)


def between_repeats(logs: Sequence[float]) -> tuple[Interval | None, float | None]:
    """The 95% interval of exp(mean), and the standard deviation of the logarithms.

    The standard deviation of logarithms is the relative one of the figures, if it is small. Both
    are None if there are fewer than three repeats.
    """
    count = len(logs)
    if count < LEAST_REPEATS:
        return None, None
    mean = math.fsum(logs) / count
    spread = math.sqrt(math.fsum((each - mean) ** 2 for each in logs) / (count - 1))
    margin = student_t(count - 1) * spread / math.sqrt(count)
    return (math.exp(mean - margin), math.exp(mean + margin)), spread


def half_width(logs: Sequence[float]) -> float | None:
    """The longer side of the interval of `between_repeats`, as a share of exp(mean)."""
    interval, _ = between_repeats(logs)
    if interval is None:
        return None
    return interval[1] / math.exp(math.fsum(logs) / len(logs)) - 1


def geometric_mean(intervals: Sequence[Interval]) -> Interval | None:
    """An interval whose ends are the geometric means of those of `intervals`."""
    if not intervals:
        return None
    low, high = (
        math.exp(math.fsum(math.log(each[end]) for each in intervals) / len(intervals))
        for end in (0, 1)
    )
    return low, high


def _latency(measured: Sequence[Result], typical: Result) -> tuple[Latency, dict[str, _Combined]]:
    update: dict[str, Any] = {
        "mean": _over(measured, lambda r: r.latency_ms.mean, lambda r: None).figure,
        "min": min((v for r in measured if (v := r.latency_ms.min) is not None), default=None),
        "max": max((v for r in measured if (v := r.latency_ms.max) is not None), default=None),
    }
    percentiles: dict[str, _Combined] = {}
    notes = dict(typical.latency_ms.interval_notes)
    for name in _PERCENTILES:
        each = percentiles[name] = _over(
            measured,
            lambda r, name=name: getattr(r.latency_ms, name),  # type: ignore[misc]
            lambda r, name=name: getattr(r.latency_ms, f"{name}_interval"),  # type: ignore[misc]
        )
        update |= {name: each.figure, f"{name}_interval": each.interval}
        notes.pop(name, None)
        if each.figure is None and name in typical.latency_ms.interval_notes:
            notes[name] = typical.latency_ms.interval_notes[name]
        elif each.note:
            notes[name] = each.note
    update["interval_notes"] = notes
    return typical.latency_ms.model_copy(update=update), percentiles


def _cost(measured: Sequence[Result], cost: Cost) -> Cost:
    """`cost` with the figures of the same price in all repeats."""

    def same(result: Result) -> Cost | None:
        for each in result.costs:
            if (each.instance, each.usd_per_hour) == (cost.instance, cost.usd_per_hour):
                return each
        return None

    over = _over(
        measured,
        lambda r: found.usd_per_million if (found := same(r)) else None,
        lambda r: found.usd_per_million_interval if (found := same(r)) else None,
    )
    return cost.model_copy(
        update={"usd_per_million": over.figure, "usd_per_million_interval": over.interval}
    )


def _verdict(measured: Sequence[Result], failed: int) -> Verdict:
    """The reasons of all repeats, each once, with the number of repeats that have it."""
    found: dict[str, list[Reason]] = {}
    for result in measured:
        for reason in result.verdict.reasons:
            found.setdefault(reason.code, []).append(reason)
    reasons = [each[-1].model_copy(update={"in_repeats": len(each)}) for each in found.values()]
    if failed:
        reasons.insert(
            0,
            Reason(
                code="repeats-failed",
                figure=failed,
                limit=0,
                remedy="read their errors with report --each-repeat; the same sweep measures them "
                "again",
            ),
        )
    return Verdict(status="suspect" if reasons else "valid", reasons=reasons)


def _processes(results: Sequence[Result]) -> int:
    """Documents without a `repeat` are those of a process each: they were measured once."""
    names = {r.repeat.process if r.repeat else f"unknown {i}" for i, r in enumerate(results)}
    return len(names)


def _number(result: Result) -> tuple[int, str]:
    return (result.repeat.number if result.repeat else 1), result.environment.time
