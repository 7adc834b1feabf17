"""The plots of a run directory, as plain values. `svg` draws them.

There is one plot for each model and quantity. As in the tables, settings that all points have in
common are listed below the plot, and settings that differ are the names of its lines. If no number
differs, but only names, the plot has rows instead of lines, one for each name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from gpubench.planning.knee import KNEE, knee
from gpubench.report.format import ABSENT, count, percent
from gpubench.report.notes import (
    answer_notes,
    cost_notes,
    price_name,
    prices,
    verdict,
)
from gpubench.report.results import by_machine
from gpubench.report.settings import machine_name, settings_columns, shared_settings
from gpubench.results.result import Cost, Interval, Result
from gpubench.statistics.repeats import combined, grouped, same_price

_LARGEST = 1e30  # the largest figure that can be drawn
_LONGEST_NAME = 60  # characters of the name of a file

MAX_LINES = 7  # lines in one plot: the number of colours that people can distinguish


@dataclass(frozen=True)
class Axis:
    title: str
    is_stepped: bool = False  # logarithmic, with ticks at the measured values
    begins_at_zero: bool = True  # False: it shows only the range of the figures


@dataclass(frozen=True)
class Point:
    """A figure of one result."""

    x: float | None  # None if the plot has rows
    y: float
    interval: Interval | None = None  # of y, 95%
    x_interval: Interval | None = None
    spread: Interval | None = None  # from P50 to P99, if y is P95
    repeats: tuple[tuple[float, float], ...] = ()  # (x, y) of each; x is 0 in rows
    peak_share: float | None = None  # of the arithmetic, if y is the throughput
    label: str = ""
    shape: int | None = None  # its number in `Plot.shapes`; None: that of its line
    is_suspect: bool = False
    has_wrong_answers: bool = False


@dataclass(frozen=True)
class Line:
    """Points with the same settings. A line without points still has its own colour."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Plot:
    """One plot. `x` is None if it has rows: one for each line, with y from left to right.

    A plot with too many lines is divided into several, which have the same scales.
    """

    name: str  # of its file, without the suffix
    title: str
    x: Axis | None
    y: Axis
    x_values: tuple[float, ...]  # the measured values, rising
    x_limit: float  # largest values on axes that begin at zero
    y_limit: float
    lines: tuple[Line, ...]
    remarks: tuple[str, ...] = ()
    is_scatter: bool = False  # its points are not joined
    shapes: tuple[str, ...] = ()  # what the shapes of the points mean; empty: the line


@dataclass(frozen=True)
class _Setting:
    """A numeric setting of cells, for the x-axis."""

    column: str  # its column in the tables
    axis: Axis
    value: Callable[[Result], float | None]


@dataclass(frozen=True)
class _Quantity:
    """A plotted quantity. `point` takes a result, one of its costs, and x of the setting."""

    name: str
    title: str
    y: Axis
    point: Callable[[Result, Cost | None, float | None], Point | None]
    x: Axis | None = None  # None: the axis of the setting
    has_knee: bool = False  # whether it rises with x until something is used up


@dataclass(frozen=True)
class _Measured:
    """A cell on a machine, with its repeats combined."""

    machine: str
    result: Result
    repeats: Sequence[Result]  # each of them; one result if the cell was measured once


@dataclass(frozen=True)
class _Entry:
    """A result with one price or without a price, and its point, if it has one."""

    result: Result
    cost: Cost | None
    point: Point | None
    parts: tuple[str, ...]  # possible parts of the name of its line: price, machine, settings
    notes: tuple[str, ...]  # about its settings


def result_plots(results: Iterable[Result]) -> tuple[list[Plot], list[str]]:
    """The plots, and the reason for each model that has none."""
    machines = by_machine(results)
    names = _machine_names(machines)
    groups: dict[str, list[_Measured]] = {}
    for name, results_of_machine in zip(names, machines, strict=True):
        for repeats in grouped(results_of_machine):
            measured = _Measured(name, combined(repeats), repeats)
            loop = "" if measured.result.spec.clients is not None else ", open loop"
            groups.setdefault(measured.result.spec.model + loop, []).append(measured)
    plots: list[Plot] = []
    remarks = []
    for subject, group in groups.items():
        drawn = list(_plots(subject, group))
        plots += drawn
        if not drawn:
            remarks.append(f"No plot of {subject}: it has fewer than two figures.")
    return named_apart(plots), remarks


def _plots(subject: str, measured: list[_Measured]) -> Iterator[Plot]:
    setting = _varying_number([each.result for each in measured])
    for quantity in _QUANTITIES:
        if quantity.x and not setting:
            continue
        entries = _entries(quantity, measured, setting)
        points = [entry.point for entry in entries if entry.point]
        if len(points) < 2:
            continue
        x_values = sorted({point.x for point in points if point.x is not None})
        x_ends = [
            x
            for p in points
            for x in (p.x, *(p.x_interval or ()), *(x for x, _ in p.repeats))
            if x is not None
        ]
        y_limit = max(
            max([p.y, *(p.interval or ()), *(p.spread or ()), *(y for _, y in p.repeats)])
            for p in points
        )
        for heading, panel in _panels(entries) if setting else [((), entries)]:
            lines = _lines(panel)
            knee_remarks: list[str] = []
            if setting and quantity.has_knee:
                lines = tuple(map(_with_knee, lines))
                knee_remarks = _knee_remarks(lines)
            yield Plot(
                name=file_name(quantity.name, subject, *heading),
                title=", ".join([f"{quantity.title}: {subject}", *heading]),
                x=(quantity.x or setting.axis) if setting else None,
                y=quantity.y,
                x_values=tuple(x_values),
                x_limit=max(x_ends, default=0.0),
                y_limit=y_limit,
                lines=lines,
                remarks=(*knee_remarks, *_remarks(quantity, panel, setting)),
            )


def _throughput(result: Result, _: Cost | None, x: float | None) -> Point | None:
    point = make_point(result, x, result.throughput_per_second, result.throughput_interval)
    return point and replace(point, peak_share=result.achieved.peak_share)


def _latency(result: Result, _: Cost | None, x: float | None) -> Point | None:
    latency = result.latency_ms
    point = make_point(result, x, latency.p95, latency.p95_interval)
    if point is None or latency.p50 is None or latency.p99 is None:
        return point
    return replace(point, spread=(latency.p50, latency.p99))


def _trade_off(result: Result, _: Cost | None, x: float | None) -> Point | None:
    if result.throughput_per_second is None:
        return None
    latency = result.latency_ms
    point = make_point(result, result.throughput_per_second, latency.p95, latency.p95_interval)
    if point is None:
        return None
    label = ABSENT if x is None else f"{x:g}"
    return replace(point, x_interval=result.throughput_interval, label=label)


def _cost(result: Result, cost: Cost | None, x: float | None) -> Point | None:
    if cost is None:
        return None
    return make_point(result, x, cost.usd_per_million, cost.usd_per_million_interval)


def make_point(
    result: Result, x: float | None, y: float | None, interval: Interval | None
) -> Point | None:
    if y is None or not all(abs(value) <= _LARGEST for value in (y, x or 0.0, *(interval or ()))):
        return None
    return Point(
        x,
        y,
        interval,
        is_suspect=verdict(result) != "valid",
        has_wrong_answers=bool(answer_notes(result)),
    )


_P95 = Axis("P95 latency (ms)")
THROUGHPUT_AXIS = Axis("throughput (inferences/s)")
COST_AXIS = Axis("USD per million inferences")
_COST = _Quantity("cost", "Cost", COST_AXIS, _cost)
_QUANTITIES = (
    _Quantity("throughput", "Throughput", THROUGHPUT_AXIS, _throughput, has_knee=True),
    _Quantity("latency", "Latency", _P95, _latency),
    _Quantity("trade-off", "Latency against throughput", _P95, _trade_off, x=THROUGHPUT_AXIS),
    _COST,
)

# The first setting that differs is the x-axis.
_SETTINGS = (
    _Setting(
        "rate /s",
        Axis("offered rate (requests/s)"),
        lambda r: r.offered_per_second if r.spec.rate is None else r.spec.rate,
    ),
    _Setting("batch", Axis("batch size (samples)", is_stepped=True), lambda r: r.spec.batch),
    _Setting("clients", Axis("clients", is_stepped=True), lambda r: r.spec.clients),
    _Setting("workers", Axis("workers", is_stepped=True), lambda r: r.spec.workers),
)


def _varying_number(results: Sequence[Result]) -> _Setting | None:
    titles = {filled.column.title for filled in settings_columns(results)}
    for setting in _SETTINGS:
        values = {setting.value(result) for result in results} - {None}
        if setting.column in titles and len(values) > 1:
            return setting
    return None


def _entries(
    quantity: _Quantity, measured: Sequence[_Measured], setting: _Setting | None
) -> list[_Entry]:
    left_out = {"model", setting.column if setting else None}
    columns = [
        filled
        for filled in settings_columns([each.result for each in measured])
        if filled.column.title not in left_out
    ]
    entries = []
    for each in measured:
        result = each.result
        x = setting.value(result) if setting else None
        cells = [(filled.column.title, filled.cell(result)) for filled in columns]
        costs: list[Cost | None] = [*result.costs] if quantity is _COST else []
        for cost in costs or [None]:
            entries.append(
                _Entry(
                    result,
                    cost,
                    None if setting and x is None else _point_over(quantity, each, cost, x),
                    parts=(
                        price_name(cost) if cost else "",
                        each.machine,
                        *(_part(title, cell.text) for title, cell in cells),
                    ),
                    notes=tuple(note for _, cell in cells for note in cell.notes),
                )
            )
    names = list(dict.fromkeys(entry.parts[0] for entry in entries))
    return sorted(entries, key=lambda entry: names.index(entry.parts[0]))  # price by price


def _point_over(
    quantity: _Quantity, measured: _Measured, cost: Cost | None, x: float | None
) -> Point | None:
    """The point of a cell, with the points of its repeats if there are several."""
    point = quantity.point(measured.result, cost, x)
    if point is None or len(measured.repeats) < 2:
        return point
    repeats = (
        quantity.point(repeat, None if cost is None else same_price(repeat, cost), x)
        for repeat in measured.repeats
        if repeat.error is None
    )
    return replace(point, repeats=tuple((each.x or 0.0, each.y) for each in repeats if each))


def _part(title: str, text: str) -> str:
    """A setting as a part of the name of a line: 'torchscript', 'workers 2'."""
    if text == ABSENT:
        return ""
    return text if title in {"runtime", "precision", "memory format"} else f"{title} {text}"


def _panels(entries: list[_Entry]) -> Iterator[tuple[list[str], list[_Entry]]]:
    """(what distinguishes the plot, its entries) of one plot, or of several for many lines."""
    lines = len({entry.parts for entry in entries})
    for index in range(len(entries[0].parts)) if lines > MAX_LINES else ():
        groups: dict[str, list[_Entry]] = {}
        for entry in entries:
            groups.setdefault(entry.parts[index], []).append(entry)
        if 1 < len(groups) < lines:
            for text, group in groups.items():
                for heading, panel in _panels(group):
                    yield [part for part in (text, *heading) if part], panel
            return
    yield [], entries


def _lines(entries: Sequence[_Entry]) -> tuple[Line, ...]:
    different = _different_parts(entries)
    lines: dict[str, list[Point]] = {}
    for entry in entries:
        parts = dict.fromkeys(entry.parts[index] for index in different)
        name = " · ".join(part for part in parts if part)
        points = lines.setdefault(name, [])
        if entry.point:
            points.append(entry.point)
    return tuple(Line(name, tuple(points)) for name, points in lines.items())


def _with_knee(line: Line) -> Line:
    """The line with the share of the peak as the label of its knee, if that share is known."""
    at = _knee(line)
    if at is None or at.peak_share is None:
        return line
    labelled = replace(at, label=f"{percent(at.peak_share)} of peak")
    return replace(line, points=tuple(labelled if p is at else p for p in line.points))


def _knee(line: Line) -> Point | None:
    index = knee([(point.x or 0.0, point.y) for point in line.points])
    return None if index is None else line.points[index]


def _knee_remarks(lines: Iterable[Line]) -> list[str]:
    """What the labels of the knees mean. Empty if there are none."""
    if not any(point.label for line in lines for point in line.points):
        return []
    return [
        "of peak: the share of the peak FLOP/s of the GPUs, at the first point of a line with "
        f"{percent(KNEE)} of its highest throughput."
    ]


def _different_parts(entries: Sequence[_Entry]) -> list[int]:
    """The indices of the parts whose text is not equal in all entries."""
    parts = zip(*(entry.parts for entry in entries), strict=True)
    return [index for index, texts in enumerate(parts) if len(set(texts)) > 1]


def _remarks(
    quantity: _Quantity, entries: Sequence[_Entry], setting: _Setting | None
) -> Iterator[str]:
    """What a reader of this plot must know."""
    absent = sum(entry.point is None for entry in entries)
    if absent:
        yield f"Not drawn for lack of this figure: {absent} of {count(len(entries), 'result')}."
    if quantity.x and setting:
        yield f"The number at a point is its {setting.axis.title}."
    results = [entry.result for entry in entries]
    reasons = dict.fromkeys(reason.code for r in results for reason in r.verdict.reasons)
    if reasons:
        yield f"Suspect: {', '.join(reasons)}."
    costs = [entry.cost for entry in entries if entry.cost]
    notes = [
        *(note for result in results for note in answer_notes(result)),
        *(note for entry in entries for note in entry.notes),
        *(note for cost in costs for note in cost_notes(cost)),
    ]
    yield from dict.fromkeys(notes)
    if costs:
        yield f"Prices: {prices(costs)}"
    machines = {machine_name(result.environment) for result in results}
    shared = [*(machines if len(machines) == 1 else ()), shared_settings(results)]
    for filled in settings_columns(results):
        texts = {filled.cell(result).text for result in results}
        if len(texts) == 1 and filled.column.title != "model":
            shared.append(_part(filled.column.title, texts.pop()))
    yield " · ".join(part for part in shared if part)


def _machine_names(machines: Sequence[Sequence[Result]]) -> list[str]:
    """A short name of each machine. Machines with equal names also get the number of a table."""
    names = [machine_name(results[0].environment).split(" · ")[0] for results in machines]
    return [
        f"{name} (table {number})" if names.count(name) > 1 else name
        for number, name in enumerate(names, start=1)
    ]


def file_name(*words: str) -> str:
    return re.sub(r"[^\w.]+", "-", "-".join(words))[:_LONGEST_NAME].strip("-.").lower()


def named_apart(plots: Iterable[Plot]) -> list[Plot]:
    """Plots whose file names would be equal get a number."""
    seen: dict[str, int] = {}
    named = []
    for plot in plots:
        seen[plot.name] = seen.get(plot.name, 0) + 1
        suffix = f"-{seen[plot.name]}" if seen[plot.name] > 1 else ""
        named.append(replace(plot, name=plot.name + suffix))
    return named
