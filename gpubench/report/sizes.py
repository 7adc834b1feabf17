"""Models side by side: how large they are, what an inference costs, and how often it is right.

A table and plots, for results of at least two models, or of one model with at least two accuracies.

A *variant* is a model with everything that may change its size or its outputs: weights, sizes of
the inputs, runtime, precision and sparsity, and with the data of its accuracy. A variant has one
row and one point: its cell with the highest throughput. If any of its cells is valid, it is a valid
one; a cell with wrong outputs is taken only if there is no other. Closed and open loops are
different variants, because the throughput of an open loop is what was offered. Each machine has its
own table.

The plots have the cost on the y-axis, or the throughput if there is no price. On the x-axis they
have the accuracy, in one plot for each metric and data. If no accuracy was measured, there is one
plot, with the arithmetic of an inference. Both of its axes begin at zero, so a model on the line
from the origin to another one costs as much for each operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from gpubench.report.accuracy import (
    METRICS,
    accuracy_columns,
    accuracy_facts,
    accuracy_remarks,
)
from gpubench.report.format import ABSENT, count, number
from gpubench.report.notes import answer_notes, cost_notes, price_name, prices, verdict
from gpubench.report.plots import (
    COST_AXIS,
    MAX_LINES,
    THROUGHPUT_AXIS,
    Axis,
    Line,
    Plot,
    Point,
    file_name,
    make_point,
    named_apart,
)
from gpubench.report.results import (
    ARITHMETIC,
    by_machine,
    cost_columns,
    costs_of,
    figure_column,
    memory_columns,
    percentile_column,
    throughput_text,
    verdict_cell,
)
from gpubench.report.settings import FilledColumn, machine_name, settings_columns, settings_order
from gpubench.report.table import Column, Table, make_table
from gpubench.results.result import Cost, Interval, Result
from gpubench.statistics.repeats import combined, grouped

VARIANTS = (
    "Each model is shown once for each runtime and precision: the cell with the highest "
    "throughput, a valid one if there is any."
)
SIZES = (
    "GFLOP is the arithmetic of one inference. artifact MiB is the size of the engine's file, or "
    "of its weights."
)


def size_tables(results: Iterable[Result]) -> list[Table]:
    """One table for each machine with something to compare. The results may include repeats."""
    return [_table(rows) for group in by_machine(results) if _comparable(rows := variants(group))]


def variants(results: Iterable[Result]) -> list[Result]:
    """The cell that stands for each variant, the smallest model first.

    Cells that failed are left out, and so is the model 'synthetic', which computes nothing.
    """
    best: dict[object, Result] = {}
    for repeats in grouped(results):
        result = combined(repeats)
        is_measured = result.error is None and result.throughput_per_second is not None
        if not is_measured or result.spec.model == "synthetic":
            continue
        key = _variant(result)
        if key not in best or _rank(result) > _rank(best[key]):
            best[key] = result
    return sorted(best.values(), key=_order)


def _variant(result: Result) -> object:
    spec = result.spec
    return (
        spec.model, spec.weights, spec.seq_len, spec.input_shape, spec.dim, spec.runtime,
        spec.precision, spec.sparsity, spec.clients is None, spec.eval, spec.eval_metric,
        result.environment.model_dump_json(exclude={"time"}),
    )  # fmt: skip


def _order(result: Result) -> tuple[float, tuple[str | int | float, ...]]:
    return result.engine.parameters or 0, settings_order(result)


def _rank(result: Result) -> tuple[bool, bool, float]:
    return (
        result.answers_agree is not False,
        verdict(result) == "valid",
        result.throughput_per_second or 0.0,
    )


def _comparable(results: Sequence[Result]) -> bool:
    models = {result.spec.model for result in results}
    return len(models) > 1 or sum(result.accuracy is not None for result in results) > 1


def _table(results: Sequence[Result]) -> Table:
    columns = [
        *settings_columns(results),
        *_columns(
            results,
            ("parameters M", lambda r: _scaled(r.engine.parameters, 1e6), 4),
            ("GFLOP", lambda r: _scaled(r.engine.flops, 1e9), 3),
            ("artifact MiB", lambda r: _scaled(r.engine.artifact_bytes, 2**20), 2),
        ),
        *memory_columns(results),
        figure_column("inferences /s", throughput_text),
        percentile_column(95, results),
        *cost_columns(results),
        *accuracy_columns(results),
        FilledColumn(Column("verdict", "left"), verdict_cell(results)),
    ]
    has_arithmetic = any(result.engine.flops is not None for result in results)
    costs = costs_of(results)
    return make_table(
        columns=[filled.column for filled in columns],
        rows=[[filled.cell(result) for filled in columns] for result in results],
        facts=[
            ("models on", machine_name(results[0].environment)),
            *accuracy_facts(results),
            *([("prices", prices(costs))] if costs else []),
        ],
        remarks=[
            VARIANTS,
            SIZES,
            *([ARITHMETIC] if has_arithmetic else []),
            *accuracy_remarks(results),
        ],
    )


def _columns(
    results: Sequence[Result], *columns: tuple[str, Callable[[Result], str], int]
) -> list[FilledColumn]:
    """Those of the columns (title, text, drop order) that are not empty in all of the results."""
    return [
        figure_column(title, text, drop_order)
        for title, text, drop_order in columns
        if any(text(result) != ABSENT for result in results)
    ]


def _scaled(value: float | None, unit: float) -> str:
    return number(None if value is None else value / unit, digits=3)


@dataclass(frozen=True)
class _Quantity:
    """What the x-axis of a plot shows. `value` returns the figure and its 95% interval."""

    name: str
    axis: Axis
    value: Callable[[Result], tuple[float, Interval | None] | None]


_ARITHMETIC = _Quantity(
    "arithmetic",
    Axis("arithmetic of an inference (GFLOP)"),
    lambda r: None if r.engine.flops is None else (r.engine.flops / 1e9, None),
)


@dataclass(frozen=True)
class _Entry:
    """A variant at one price or without a price, and its point, if it has one."""

    result: Result
    cost: Cost | None
    point: Point | None
    parts: tuple[str, ...]  # possible parts of the name of its line: model, price, machine


def size_plots(results: Iterable[Result]) -> list[Plot]:
    """Cost against accuracy, or against arithmetic. A plot has at least two points.

    Colours are models and shapes are their variants. Colours do not suffice for many models: then
    there is one plot for each runtime and precision, and all have the same scales.
    """
    rows = [row for group in by_machine(results) for row in variants(group)]
    if not _comparable(rows):
        return []
    measured = dict.fromkeys(
        (row.accuracy.metric, row.accuracy.data.name) for row in rows if row.accuracy
    )
    quantities = [_accuracy_of(metric, data) for metric, data in measured] or [_ARITHMETIC]
    return named_apart(plot for quantity in quantities for plot in _plots(quantity, rows))


def _accuracy_of(metric: str, data: str) -> _Quantity:
    """Accuracies are comparable only if they have the same metric and the same data."""

    def value(result: Result) -> tuple[float, Interval | None] | None:
        accuracy = result.accuracy
        if accuracy is None or (accuracy.metric, accuracy.data.name) != (metric, data):
            return None
        interval = accuracy.interval
        return 100 * accuracy.value, interval and (100 * interval[0], 100 * interval[1])

    axis = Axis(f"{METRICS[metric]} accuracy on {data} (%)", begins_at_zero=False)
    return _Quantity(f"{METRICS[metric]} accuracy", axis, value)


def _plots(quantity: _Quantity, rows: Sequence[Result]) -> Iterator[Plot]:
    is_priced = bool(costs_of(rows))
    entries = [
        _entry(quantity, row, cost) for row in rows for cost in (row.costs if is_priced else [None])
    ]
    drawn = [(entry, entry.point) for entry in entries if entry.point]
    if len(drawn) < 2:
        return
    names = _names([entry.parts for entry, _ in drawn])
    kinds = _kinds([entry.result for entry, _ in drawn])
    different_kinds = tuple(dict.fromkeys(kinds))
    x_ends = sorted(x for _, p in drawn for x in (p.x, *(p.x_interval or ())) if x is not None)
    title = "Cost" if is_priced else "Throughput"
    is_divided = len(set(names)) > MAX_LINES and len(different_kinds) > 1
    for panel in different_kinds if is_divided else ("",):
        lines: dict[str, list[Point]] = {name: [] for name in names}
        for (_, point), name, kind in zip(drawn, names, kinds, strict=True):
            if not is_divided:
                shape = different_kinds.index(kind) if len(different_kinds) > 1 else None
                lines[name].append(replace(point, shape=shape))
            elif kind == panel:
                lines[name].append(point)
        heading = [panel] if is_divided else []
        yield Plot(
            name=file_name("models", title, quantity.name, *heading),
            title=", ".join([f"{title} of models against {quantity.name}", *heading]),
            x=quantity.axis,
            y=COST_AXIS if is_priced else THROUGHPUT_AXIS,
            x_values=tuple(x_ends),
            x_limit=x_ends[-1],
            y_limit=max(max((point.y, *(point.interval or ()))) for _, point in drawn),
            lines=tuple(Line(name, tuple(points)) for name, points in lines.items()),
            remarks=tuple(_remarks(entries, rows)),
            is_scatter=True,
            shapes=() if is_divided or len(different_kinds) == 1 else different_kinds,
        )


def _names(parts: Sequence[tuple[str, ...]]) -> list[str]:
    """The name of each line: its model, and the other parts if they differ."""
    different = [len(set(texts)) > 1 for texts in zip(*parts, strict=True)]
    different[0] = True  # the model
    return [
        " · ".join(text for text, differs in zip(texts, different, strict=True) if differs)
        for texts in parts
    ]


def _entry(quantity: _Quantity, row: Result, cost: Cost | None) -> _Entry:
    value = quantity.value(row)
    parts = (
        row.spec.model,
        price_name(cost) if cost else "",
        machine_name(row.environment).split(" · ")[0],
    )
    y = cost.usd_per_million if cost else row.throughput_per_second
    interval = cost.usd_per_million_interval if cost else row.throughput_interval
    point = make_point(row, value[0], y, interval) if value else None
    if point and value:
        point = replace(point, x_interval=value[1])
    return _Entry(row, cost, point, parts)


def _kinds(results: Sequence[Result]) -> list[str]:
    """What differs between the variants, for each of them: 'onnxruntime int8'."""
    settings = [(result.spec.runtime, result.spec.precision) for result in results]
    different = [len(set(names)) > 1 for names in zip(*settings, strict=True)]
    return [
        " ".join(name for name, differs in zip(names, different, strict=True) if differs)
        for names in settings
    ]


def _remarks(entries: Sequence[_Entry], rows: Sequence[Result]) -> Iterator[str]:
    """What a reader of this plot must know."""
    absent = len(rows) - len({id(entry.result) for entry in entries if entry.point})
    if absent:
        yield f"Not drawn for lack of a figure: {absent} of {count(len(rows), 'variant')}."
    yield VARIANTS
    drawn = [entry for entry in entries if entry.point]
    reasons = dict.fromkeys(r.code for entry in drawn for r in entry.result.verdict.reasons)
    if reasons:
        yield f"Suspect: {', '.join(reasons)}."
    costs = [entry.cost for entry in drawn if entry.cost]
    yield from dict.fromkeys(
        [
            *(note for entry in drawn for note in answer_notes(entry.result)),
            *(note for cost in costs for note in cost_notes(cost)),
        ]
    )
    if costs:
        yield f"Prices: {prices(costs)}"
    machines = {machine_name(row.environment) for row in rows}
    if len(machines) == 1:
        yield machines.pop()
