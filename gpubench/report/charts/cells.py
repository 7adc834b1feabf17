"""The cells of a run directory as the rows that charts draw.

    results ──> panels ──> rows of "cells" and "costs"

A *panel* has what is comparable: a model with a closed loop, with an open loop, or in training. Its
first setting that is a number and differs is `x`. As in the tables, settings that all cells have in
common are a remark below the chart. Those that differ name the cells and the lines. Texts from
results are values in rows, never a part of a specification.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from gpubench.planning.decision import pareto
from gpubench.planning.knee import KNEE, knee
from gpubench.report import training
from gpubench.report.charts.chart import Json, Row
from gpubench.report.charts.theme import COLOURS, SHAPES
from gpubench.report.escape import terminal
from gpubench.report.format import ABSENT, count, percent
from gpubench.report.notes import (
    answer_notes,
    cost_notes,
    price_name,
    prices,
    reason_codes,
    verdict,
)
from gpubench.report.results import by_table
from gpubench.report.settings import machine_name, settings_columns, shared_settings
from gpubench.results.result import Cost, Interval, Result
from gpubench.statistics.repeats import combined, grouped

DIGITS = 5  # significant digits of a figure in a chart
_LARGEST = 1e30  # the largest figure that can be drawn


@dataclass(frozen=True)
class AxisSetting:
    """A setting that is a number, for the x-axis."""

    column: str  # its column in the tables
    title: str  # of the axis
    is_stepped: bool  # logarithmic, with ticks at the measured values
    value: Callable[[Result], float | None]


# The first setting that differs is the x-axis.
_SETTINGS = (
    AxisSetting(
        "rate /s",
        "offered rate (requests/s)",
        False,
        lambda r: r.offered_per_second if r.spec.rate is None else r.spec.rate,
    ),
    AxisSetting("batch", "batch size (samples)", True, lambda r: r.spec.batch),
    AxisSetting("clients", "clients", True, lambda r: r.spec.clients),
    AxisSetting("workers", "workers", True, lambda r: r.spec.workers),
)


@dataclass(frozen=True)
class CombinedCell:
    """A cell on a machine, with its repeats combined."""

    key: str  # the number of its row in the tables, from 1
    machine: str  # a short name
    result: Result
    repeats: Sequence[Result]  # each of them; one result if the cell was measured once


@dataclass(frozen=True)
class Panel:
    """The cells that share a coordinate system."""

    name: str  # "resnet50", "resnet50, open loop"
    cells: tuple[CombinedCell, ...]
    setting: AxisSetting | None  # of its x-axis

    @property
    def serves(self) -> bool:
        """Whether its cells answer requests, of whose latency an objective is: not in training."""
        return not any(cell.result.spec.trains for cell in self.cells)


@dataclass(frozen=True)
class ChartSeries:
    """What colours, shapes and lines mean. A name belongs to each cell, or to each price of it."""

    names: Sequence[str]  # all that differs but for x
    colours: Sequence[str]
    shapes: Sequence[str]
    colour_title: str | None  # None: all have the same colour
    shape_title: str | None


def panels(results: Iterable[Result]) -> list[Panel]:
    tables = by_table(results)  # a key is the number of a row in them
    names = _machine_names(tables)
    cells: list[CombinedCell] = []
    for name, of_table in zip(names, tables, strict=True):
        for repeats in grouped(of_table):
            cells.append(CombinedCell(str(len(cells) + 1), name, combined(repeats), repeats))
    groups: dict[str, list[CombinedCell]] = {}
    for cell in cells:
        loop = "" if cell.result.spec.clients is not None else ", open loop"
        task = ", training" if cell.result.spec.trains else ""
        groups.setdefault(cell.result.spec.model + task + loop, []).append(cell)
    return [
        Panel(name, tuple(group), _varying_number([each.result for each in group]))
        for name, group in groups.items()
    ]


def counted(panels: Sequence[Panel]) -> str:
    """What the throughput and the price count: inferences, or samples."""
    return training.counted([cell.result for panel in panels for cell in panel.cells])


def _varying_number(results: Sequence[Result]) -> AxisSetting | None:
    titles = {filled.column.title for filled in settings_columns(results)}
    for setting in _SETTINGS:
        values = {setting.value(result) for result in results} - {None}
        if setting.column in titles and len(values) > 1:
            return setting
    return None


def series(panel: Panel, costs: Sequence[tuple[CombinedCell, Cost]] | None = None) -> ChartSeries:
    """The series of the cells of a panel, or of `costs`, whose prices are then a part of names.

    The line is all that differs. If there are more lines than colours, a colour stands for the
    first setting that has few enough values, and a shape for the second one.
    """
    cells = panel.cells if costs is None else [cell for cell, _ in costs]
    results = [cell.result for cell in cells]
    left_out = {"model", panel.setting.column if panel.setting else None}
    parts = {"price": [price_name(cost) for _, cost in costs]} if costs is not None else {}
    parts["machine"] = [cell.machine for cell in cells]
    for filled in settings_columns(results):
        title = filled.column.title
        if title not in left_out:
            parts[title] = [setting_text(title, filled.cell(r).text) for r in results]
    different = {title: texts for title, texts in parts.items() if len(set(texts)) > 1}
    names = [_joined(texts) for texts in zip(*different.values(), strict=True)] or [""] * len(cells)
    if len(set(names)) <= len(COLOURS):
        return ChartSeries(names, names, [""] * len(names), " · ".join(different) or None, None)
    few = {t: texts for t, texts in different.items() if len(set(texts)) <= len(COLOURS)}
    colour, shape, *_ = [*few, None, None]
    if shape is not None and len(set(few[shape])) > len(SHAPES):
        shape = None
    none = [""] * len(names)
    return ChartSeries(
        names,
        none if colour is None else [text or ABSENT for text in few[colour]],
        none if shape is None else [text or ABSENT for text in few[shape]],
        colour,
        shape,
    )


def setting_text(title: str, text: str) -> str:
    """A setting as a part of a name: 'torchscript', 'workers 2'."""
    if text == ABSENT:
        return ""
    return text if title in {"runtime", "precision", "memory format"} else f"{title} {text}"


def _joined(texts: Iterable[str]) -> str:
    return " · ".join(dict.fromkeys(text for text in texts if text))


def cell_rows(panel: Panel) -> list[Row]:
    """The rows of the table "cells": one for each cell with a throughput or a P95 latency."""
    names = cell_names(panel)
    of = series(panel)
    front = _front(
        [
            (cell.key, -r.throughput_per_second, r.latency_ms.p95)
            for cell in _may_lead(panel.cells)
            if (r := cell.result).throughput_per_second is not None and r.latency_ms.p95 is not None
        ]
    )
    knees = _knees(panel, of)
    rows: list[Row] = []
    for index, cell in enumerate(panel.cells):
        result, latency = cell.result, cell.result.latency_ms
        if result.throughput_per_second is None and latency.p95 is None:
            continue
        has_objective = panel.serves and latency.p95 is not None
        is_first = has_objective and not any(row["first"] for row in rows)
        cheapest = min((c.usd_per_million for c in result.costs if c.usd_per_million), default=None)
        rows.append(
            {
                "key": cell.key,
                "panel": terminal(panel.name),
                "first": is_first,
                "cell": terminal(names[index]),
                "line": terminal(of.names[index]),
                "colour": terminal(of.colours[index]),
                "shape": terminal(of.shapes[index]),
                "x": rounded(panel.setting.value(result)) if panel.setting else None,
                **figure_fields(
                    "throughput", result.throughput_per_second, result.throughput_interval
                ),
                **figure_fields("p95", latency.p95, latency.p95_interval),
                "p50": rounded(latency.p50),
                "p99": rounded(latency.p99),
                "usd": rounded(cheapest),
                "verdict": verdict(result),
                "reasons": terminal(reason_codes(result)),
                "suspect": verdict(result) != "valid",
                "wrong": bool(answer_notes(result)),
                "front": cell.key in front,
                "knee": knees.get(cell.key, ""),
                **_repeats(cell),
            }
        )
    return rows


def cost_rows(panel: Panel) -> list[Row]:
    """The rows of the table "costs": one for each price of each cell.

    `may_win` is whether the cell is compared with others: valid cells are if there are any.
    """
    costs = [(cell, cost) for cell in panel.cells for cost in cell.result.costs]
    costs = [each for each in costs if rounded(each[1].usd_per_million) is not None]
    of = series(panel, costs)
    candidates = {cell.key for cell in _may_lead(panel.cells)}
    with_latency = (
        i for i, (cell, _) in enumerate(costs) if panel.serves and cell.result.latency_ms.p95
    )
    first = next(with_latency, None)
    front = _front(
        [
            (str(index), cost.usd_per_million or 0.0, cell.result.latency_ms.p95)
            for index, (cell, cost) in enumerate(costs)
            if cell.key in candidates and cell.result.latency_ms.p95 is not None
        ]
    )
    return [
        {
            "key": cell.key,
            "panel": terminal(panel.name),
            "price": terminal(price_name(cost)),
            "colour": terminal(of.colours[index]),
            "shape": terminal(of.shapes[index]),
            **figure_fields("usd", cost.usd_per_million, cost.usd_per_million_interval),
            "usd_per_hour": rounded(cost.usd_per_hour),
            "may_win": cell.key in candidates,
            "serves": panel.serves,
            "front": str(index) in front,
            "first": index == first,
        }
        for index, (cell, cost) in enumerate(costs)
    ]


def cell_names(panel: Panel) -> list[str]:
    """All settings of each cell that differ within the panel, or else its model."""
    machines = [cell.machine for cell in panel.cells]
    names = joined_names([cell.result for cell in panel.cells], [machines])
    return [
        name if names.count(name) == 1 else f"{name} (row {cell.key})"
        for name, cell in zip(names, panel.cells, strict=True)
    ]


def joined_names(results: Sequence[Result], others: Sequence[list[str]] = ()) -> list[str]:
    """The settings of each result that differ, after others; its model if none does."""
    parts = list(others)
    for filled in settings_columns(results):
        title = filled.column.title
        texts = [filled.cell(result).text for result in results]
        parts.append(texts if title == "model" else [setting_text(title, each) for each in texts])
    different = [texts for texts in parts if len(set(texts)) > 1]
    if not different:
        return [result.spec.model for result in results]
    return [_joined(texts) for texts in zip(*different, strict=True)]


def common_remarks(cells: Sequence[CombinedCell]) -> Iterator[str]:
    """What a reader of any chart of these cells must know."""
    if not cells:
        return
    results = [cell.result for cell in cells]
    costs = [cost for result in results for cost in result.costs]
    reasons = dict.fromkeys(reason.code for r in results for reason in r.verdict.reasons)
    if reasons:
        yield f"Suspect: {', '.join(reasons)}."
    settings = settings_columns(results)
    notes = [
        *(note for result in results for note in answer_notes(result)),
        *(note for filled in settings for result in results for note in filled.cell(result).notes),
        *(note for cost in costs for note in cost_notes(cost)),
    ]
    yield from dict.fromkeys(notes)
    if costs:
        yield f"Prices: {prices(costs)}"
    machines = {machine_name(result.environment) for result in results}
    shared = [*(machines if len(machines) == 1 else ()), shared_settings(results)]
    for filled in settings:
        texts = {filled.cell(result).text for result in results}
        if len(texts) == 1 and filled.column.title != "model":
            shared.append(setting_text(filled.column.title, texts.pop()))
    yield " · ".join(part for part in shared if part)


def marks_remark(rows: Sequence[Row]) -> list[str]:
    """What the marks of these rows mean. Empty if they have only points."""
    has_interval = any(
        value is not None for row in rows for name, value in row.items() if name.endswith("_low")
    )
    meanings = [
        ("bar: 95% interval", has_interval),
        ("small point: one repeat", any(row.get("repeats_p95") for row in rows)),
        ("hollow: suspect, see its verdict", any(row["suspect"] for row in rows)),
        ("crossed: wrong answers", any(row["wrong"] for row in rows)),
    ]
    text = "; ".join(meaning for meaning, is_there in meanings if is_there)
    return [f"{text[0].upper()}{text[1:]}."] if text else []


def knee_remark(rows: Iterable[Row]) -> list[str]:
    """What the labels of the knees mean. Empty if there are none."""
    if not any(row["knee"] for row in rows):
        return []
    return [
        f"Knee: the first point of a line with {percent(KNEE)} of its highest throughput. Of peak: "
        "its share of the peak FLOP/s of the GPUs."
    ]


def absent_remark(drawn: int, cells: int) -> list[str]:
    if drawn == cells:
        return []
    return [f"Not drawn for lack of a figure: {cells - drawn} of {count(cells, 'cell')}."]


def rounded(value: float | None) -> float | None:
    """A figure as charts have it. None if it is absent or too large to be drawn."""
    if value is None or not abs(value) <= _LARGEST:
        return None
    return float(f"{value:.{DIGITS}g}")


def figure_fields(name: str, value: float | None, interval: Interval | None) -> dict[str, Json]:
    """A figure and the ends of its interval as NAME, NAME_low and NAME_high."""
    low, high = interval or (None, None)
    return {name: rounded(value), f"{name}_low": rounded(low), f"{name}_high": rounded(high)}


def _repeats(cell: CombinedCell) -> dict[str, Json]:
    """The figures of each repeat, one after the other. None if the cell was measured once."""
    if len(cell.repeats) < 2:
        return {"repeats_throughput": None, "repeats_p95": None}
    measured = [repeat for repeat in cell.repeats if repeat.error is None]
    return {
        "repeats_throughput": [rounded(repeat.throughput_per_second) for repeat in measured],
        "repeats_p95": [rounded(repeat.latency_ms.p95) for repeat in measured],
    }


def _may_lead(cells: Sequence[CombinedCell]) -> Sequence[CombinedCell]:
    """The cells of which the front consists: valid ones; or if there are none, with right answers;
    or if there are none, all of them."""
    measured = [cell for cell in cells if cell.result.error is None]
    right = [cell for cell in measured if not answer_notes(cell.result)]
    return [cell for cell in right if verdict(cell.result) == "valid"] or right or measured


def _front(points: Iterable[tuple[str, float, float | None]]) -> set[str]:
    """The names of the points (name, x, y) that no other point beats in both figures."""
    drawn = [(name, x, y) for name, x, y in points if y is not None]
    return {name for name, _, _ in pareto(drawn, lambda point: point[1:])}


def _knees(panel: Panel, of: ChartSeries) -> dict[str, str]:
    """The label of the cell at the knee of each line."""
    lines: dict[str, list[tuple[CombinedCell, float, float]]] = {}
    for cell, line in zip(panel.cells, of.names, strict=True):
        x = panel.setting.value(cell.result) if panel.setting else None
        y = rounded(cell.result.throughput_per_second)
        if x is not None and y is not None:
            lines.setdefault(line, []).append((cell, x, y))
    labels = {}
    for points in lines.values():
        index = knee([(x, y) for _, x, y in points])
        if index is None:
            continue
        cell, at, _ = points[index]
        share = cell.result.achieved.peak_share
        # At the last point, the throughput may still rise.
        if share is not None or at < max(x for _, x, _ in points):
            labels[cell.key] = "knee" if share is None else f"knee, {percent(share)} of peak"
    return labels


def _machine_names(machines: Sequence[Sequence[Result]]) -> list[str]:
    """A short name of each machine. Machines with equal names also get the number of a table."""
    names = [machine_name(results[0].environment).split(" · ")[0] for results in machines]
    return [
        f"{name} (table {number})" if names.count(name) > 1 else name
        for number, name in enumerate(names, start=1)
    ]


def is_wide(values: Iterable[float | None]) -> bool:
    """Whether figures are so different that only a logarithmic scale shows all of them."""
    present = [value for value in values if value is not None]
    return bool(present) and min(present) > 0 and math.log10(max(present) / min(present)) > 1.3
