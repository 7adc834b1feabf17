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
    Achieved,
    Cost,
    Interval,
    Latency,
    Memory,
    Reason,
    RepeatedFigure,
    Repeats,
    Requests,
    Result,
    Verdict,
)
from gpubench.spec.repetition import LEAST_REPEATS
from gpubench.statistics.percentiles import PERCENTS, percentile_key
from gpubench.statistics.student import student_t, t_quantile

_CONFIDENCE = 0.95
_LARGEST_LOG = 700.0  # exp of it is a finite number
_PERCENTILES = tuple(percentile_key(percent) for percent in PERCENTS)
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
    The smallest and the largest latency and the peak memory are those of all of them, and requests
    are added up. All other figures are those of the repeat with the median throughput. If every
    repeat failed, it is the last one of them.
    """
    if len(repeats) == 1:
        return repeats[0]
    measured = [result for result in repeats if result.error is None]
    failed = len(repeats) - len(measured)
    if not measured:
        last = repeats[-1]
        info = Repeats(count=0, failed=failed, processes=_processes(repeats))
        return last.model_copy(update={"repeat": None, "repeats": info})
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
            "achieved": _achieved(typical, throughput.figure),
            "memory": _memory(measured),
            "window": typical.window.model_copy(update={"counted": None}),
            "sample_file": None,
            "lost_attempts": _lost(measured),
            "costs": [_cost(measured, cost) for cost in typical.costs],
            "verdict": _verdict(measured, failed),
        }
    )


def _lost(results: Sequence[Result]) -> int | None:
    known = [result.lost_attempts for result in results if result.lost_attempts is not None]
    return sum(known) if known else None


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
    values = [value for result in results if (value := figure(result)) is not None]
    logs = [math.log(value) for value in values if value > 0]
    if not logs:
        return _Combined()
    mean = math.fsum(logs) / len(logs)
    between, spread = between_repeats(logs)
    inside = geometric_mean([i for r in results if (i := interval(r)) and min(i) > 0])
    candidates = [each for each in (between, inside) if each is not None]
    widest = max(candidates, key=lambda each: each[1] / each[0], default=None)
    note = None
    if widest is None:
        note = f"{len(logs)} repeats; an interval between repeats needs {LEAST_REPEATS}"
    info = RepeatedFigure(count=len(logs), spread=spread, interval=between, interval_inside=inside)
    return _Combined(_exp(mean), widest, note, info)


def between_repeats(logs: Sequence[float]) -> tuple[Interval | None, float | None]:
    """The 95% interval of exp(mean), and the standard deviation of the logarithms.

    The standard deviation of logarithms is the relative one of the figures, if it is small. Both
    are None if there are fewer than three repeats.
    """
    count = len(logs)
    if count < LEAST_REPEATS:
        return None, None
    mean, spread = _mean_and_spread(logs)
    margin = student_t(count - 1, _CONFIDENCE) * spread / math.sqrt(count)
    return (_exp(mean - margin), _exp(mean + margin)), spread


def _mean_and_spread(logs: Sequence[float]) -> tuple[float, float]:
    mean = math.fsum(logs) / len(logs)
    return mean, math.sqrt(math.fsum((each - mean) ** 2 for each in logs) / (len(logs) - 1))


def _exp(log: float) -> float:
    """exp(log), or the nearest number that is finite and above 0."""
    return math.exp(max(-_LARGEST_LOG, min(log, _LARGEST_LOG)))


def half_width(logs: Sequence[float]) -> float | None:
    """The longer side of the interval of `between_repeats`, as a share of exp(mean)."""
    interval, _ = between_repeats(logs)
    if interval is None:
        return None
    return interval[1] / _exp(math.fsum(logs) / len(logs)) - 1


def geometric_mean(intervals: Sequence[Interval]) -> Interval | None:
    """An interval whose ends are the geometric means of those of `intervals`."""
    if not intervals:
        return None
    low, high = (
        _exp(math.fsum(math.log(each[end]) for each in intervals) / len(intervals))
        for end in (0, 1)
    )
    return low, high


def _at_most(figures: Sequence[float | None], bounds: Sequence[float | None]) -> float | None:
    """The upper bound of a figure over the repeats: the larger one of two.

    One is from the differences between three or more repeats, the other is the geometric mean of
    the bounds inside them.
    """
    found = []
    logs = [math.log(each) for each in figures if each is not None and each > 0]
    if len(logs) >= LEAST_REPEATS:
        mean, spread = _mean_and_spread(logs)
        t = t_quantile(_CONFIDENCE, len(logs) - 1)
        found.append(_exp(mean + t * spread / math.sqrt(len(logs))))
    inside = [math.log(each) for each in bounds if each is not None and each > 0]
    if inside:
        found.append(_exp(math.fsum(inside) / len(inside)))
    return max(found, default=None)


def _latency(measured: Sequence[Result], typical: Result) -> tuple[Latency, dict[str, _Combined]]:
    latencies = [result.latency_ms for result in measured]
    slowest = max(
        ((r.latency_ms.worst, r.repeat) for r in measured if r.latency_ms.worst),
        key=lambda found: found[0].latency_ms,
        default=None,
    )
    update: dict[str, Any] = {
        "mean": _over(measured, lambda r: r.latency_ms.mean, lambda r: None).figure,
        "min": min((v for each in latencies if (v := each.min) is not None), default=None),
        "max": max((v for each in latencies if (v := each.max) is not None), default=None),
        "worst": None,
        "other_percentiles": _other_percentiles(measured),
    }
    if slowest is not None:
        worst, repeat = slowest
        number = repeat.number if repeat else None
        update["worst"] = worst.model_copy(update={"repeat": number})
    percentiles: dict[str, _Combined] = {}
    notes = dict(typical.latency_ms.interval_notes)
    lower_bound: float | None = None  # that of the percentile before
    for name in _PERCENTILES:
        each = percentiles[name] = _over(
            measured,
            lambda r, name=name: getattr(r.latency_ms, name),  # type: ignore[misc]
            lambda r, name=name: getattr(r.latency_ms, f"{name}_interval"),  # type: ignore[misc]
        )
        at_most = _at_most(
            [getattr(latency, name) for latency in latencies],
            [getattr(latency, f"{name}_at_most") for latency in latencies],
        )
        if at_most is not None and lower_bound is not None:
            at_most = max(at_most, lower_bound)  # P99 is not below P95, so nor is its bound
        lower_bound = at_most if at_most is not None else lower_bound
        update |= {name: each.figure, f"{name}_interval": each.interval, f"{name}_at_most": at_most}
        if each.figure is not None:
            notes.pop(name, None)
            if each.note:
                notes[name] = each.note
        if at_most is not None:
            notes.pop(f"{name}_at_most", None)
    update["interval_notes"] = notes
    return typical.latency_ms.model_copy(update=update), percentiles


def _other_percentiles(measured: Sequence[Result]) -> dict[str, float] | None:
    """The geometric means of the percentiles that a report asked for. None: it asked for none."""
    others = [r.latency_ms.other_percentiles for r in measured]
    names = dict.fromkeys(name for each in others if each for name in each)
    combined_others = {}
    for name in names:
        values = [each[name] for each in others if each and each.get(name, 0.0) > 0]
        if values:
            combined_others[name] = _exp(math.fsum(map(math.log, values)) / len(values))
    return combined_others or None


def _achieved(typical: Result, throughput_per_second: float | None) -> Achieved:
    """The arithmetic of the typical repeat, at the throughput of all of them."""
    achieved, own = typical.achieved, typical.throughput_per_second
    if not own or throughput_per_second is None:
        return achieved
    scale = throughput_per_second / own
    return achieved.model_copy(
        update={
            name: None if value is None else value * scale
            for name, value in (
                ("flops_per_second", achieved.flops_per_second),
                ("peak_share", achieved.peak_share),
            )
        }
    )


def _memory(measured: Sequence[Result]) -> Memory:
    """The largest peak on the host and the largest on a GPU, each with what belongs to it."""
    host = max((r.memory for r in measured), key=lambda m: m.peak_host_bytes or 0)
    device = max((r.memory for r in measured), key=lambda m: m.peak_device_bytes or 0)
    return host.model_copy(
        update={
            "peak_device_bytes": device.peak_device_bytes,
            "peak_device_of": device.peak_device_of,
        }
    )


def _cost(measured: Sequence[Result], cost: Cost) -> Cost:
    """`cost` with the figures of the same price in all repeats."""
    over = _over(
        measured,
        lambda r: found.usd_per_million if (found := same_price(r, cost)) else None,
        lambda r: found.usd_per_million_interval if (found := same_price(r, cost)) else None,
    )
    return cost.model_copy(
        update={"usd_per_million": over.figure, "usd_per_million_interval": over.interval}
    )


def same_price(result: Result, cost: Cost) -> Cost | None:
    """The cost of `result` at the price of another cost. None if it does not have that price."""
    for each in result.costs:
        if each.has_price_of(cost):
            return each
    return None


def _verdict(measured: Sequence[Result], failed: int) -> Verdict:
    """The reasons of all repeats, each once, with the number of repeats that have it.

    The figure of a reason is the one that is farthest from its limit.
    """
    found: dict[str, list[Reason]] = {}
    for result in measured:
        for reason in result.verdict.reasons:
            found.setdefault(reason.code, []).append(reason)
    reasons = [
        max(each, key=_excess).model_copy(update={"in_repeats": len(each)})
        for each in found.values()
    ]
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


def _excess(reason: Reason) -> float:
    if isinstance(reason.figure, float) and isinstance(reason.limit, float):
        return abs(reason.figure - reason.limit)
    return 0.0


def _processes(results: Sequence[Result]) -> int:
    """Documents without a `repeat` are those of a process each: they were measured once."""
    names = {r.repeat.process if r.repeat else f"unknown {i}" for i, r in enumerate(results)}
    return len(names)


def _number(result: Result) -> tuple[int, str]:
    return (result.repeat.number if result.repeat else 1), result.environment.time
