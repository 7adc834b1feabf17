"""Models side by side: how large they are, what an inference costs, and how often it is right.

A table, for results of at least two models, or of one model with at least two accuracies or with
engines of clearly different sizes.
`charts/size_charts.py` has a point for each of its rows.

A *variant* is a model with everything that may change its size or its outputs: weights, sizes of
the inputs, runtime, precision and sparsity, and with the data of its accuracy. A variant has one
row and one point: its cell with the highest throughput. If any of its cells is valid, it is a valid
one; a cell with wrong outputs is taken only if there is no other. Closed and open loops are
different variants, because the throughput of an open loop is what was offered. Each machine has its
own table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from gpubench.report.accuracy import (
    accuracy_columns,
    accuracy_facts,
    accuracy_remarks,
)
from gpubench.report.format import ABSENT, number
from gpubench.report.notes import prices, verdict
from gpubench.report.results import (
    ARITHMETIC,
    by_machine,
    cost_columns,
    costs_of,
    figure_column,
    memory_columns,
    percentile_column,
    stage_columns,
    throughput_text,
    verdict_cell,
)
from gpubench.report.settings import FilledColumn, machine_name, settings_columns, settings_order
from gpubench.report.table import Column, Table, make_table
from gpubench.results.result import Result
from gpubench.statistics.repeats import combined, grouped

VARIANTS = (
    "Each model is shown once for each runtime and precision: the cell with the highest "
    "throughput, a valid one if there is any."
)
SIZES = (
    "GFLOP is the arithmetic of one inference. artifact MiB is the size of the engine's file, or "
    "of its weights."
)


_LARGER = 1.2


def size_tables(results: Iterable[Result]) -> list[Table]:
    """One table for each machine with something to compare. The results may include repeats."""
    return [_table(rows) for group in by_machine(results) if is_comparable(rows := variants(group))]


def variants(results: Iterable[Result]) -> list[Result]:
    """The cell that stands for each variant, the smallest model first.

    Left out are cells that failed, steps of training, and the model 'synthetic', which computes
    nothing.
    """
    best: dict[object, Result] = {}
    for repeats in grouped(results):
        result = combined(repeats)
        is_measured = result.error is None and result.throughput_per_second is not None
        if not is_measured or result.spec.trains or result.spec.model == "synthetic":
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


def is_comparable(results: Sequence[Result]) -> bool:
    models = {result.spec.model for result in results}
    accuracies = sum(result.accuracy is not None for result in results)
    sizes = [size for result in results if (size := result.engine.artifact_bytes)]
    # An engine's file has a little more in it than the weights, whatever the format of these.
    differ = bool(sizes) and max(sizes) > _LARGER * min(sizes)
    return len(models) > 1 or accuracies > 1 or differ


def _table(results: Sequence[Result]) -> Table:
    columns = [
        *settings_columns(results),
        *_columns(
            results,
            ("parameters M", lambda r: _scaled(r.engine.parameters, 1e6)),
            ("GFLOP", lambda r: _scaled(r.engine.flops, 1e9)),
            ("artifact MiB", lambda r: _scaled(r.engine.artifact_bytes, 2**20)),
        ),
        *memory_columns(results),
        figure_column("inferences /s", throughput_text),
        percentile_column(95, results),
        *stage_columns(results),
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
    results: Sequence[Result], *columns: tuple[str, Callable[[Result], str]]
) -> list[FilledColumn]:
    """Those of the columns (title, text) that are not empty in all of the results."""
    return [
        figure_column(title, text)
        for title, text in columns
        if any(text(result) != ABSENT for result in results)
    ]


def _scaled(value: float | None, unit: float) -> str:
    return number(None if value is None else value / unit, digits=3)
