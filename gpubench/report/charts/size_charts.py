"""What an inference of each model costs, against how often it is right or its arithmetic.

There is a point for each row of the tables of `report/sizes.py`. Without prices, the throughput
takes the place of the cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import altair as alt

from gpubench.report.accuracy import METRICS
from gpubench.report.charts import marks
from gpubench.report.charts.cells import figure_fields, marks_remark, rounded
from gpubench.report.charts.chart import Chart, ChartSet, Json, Row
from gpubench.report.escape import terminal
from gpubench.report.format import count
from gpubench.report.notes import (
    answer_notes,
    cost_notes,
    price_name,
    prices,
    reason_codes,
    verdict,
)
from gpubench.report.results import by_machine, costs_of
from gpubench.report.settings import machine_name
from gpubench.report.sizes import VARIANTS, is_comparable, variants
from gpubench.results.result import Result

_ARITHMETIC = "arithmetic of an inference (GFLOP)"


def size_charts(results: Iterable[Result]) -> ChartSet:
    """The chart of the models, or none if there is nothing to compare.

    Accuracies are comparable only if they have the same metric and the same data. So each of these
    has a panel. Only if no accuracy was measured, the arithmetic takes its place.
    """
    found = [each for group in by_machine(results) for each in variants(group)]
    if not is_comparable(found):
        return ChartSet((), {})
    rows = _rows(found)
    if len(rows) < 2:
        return ChartSet((), {}, ("No chart of the models: fewer than two have their figures.",))
    return ChartSet((_chart(rows, found),), {"models": rows}, common=_common(found))


def _rows(results: Sequence[Result]) -> list[Row]:
    is_priced = bool(costs_of(results))
    has_accuracy = any(result.accuracy for result in results)
    kinds = _kinds(results)
    machines = {machine_name(result.environment) for result in results}
    names = {price_name(cost) for result in results for cost in result.costs}
    rows: list[Row] = []
    panels: set[str] = set()
    for result, kind in zip(results, kinds, strict=True):
        placed = _place(result, has_accuracy)
        if placed is None:
            continue
        panel, x = placed
        machine = machine_name(result.environment).split(" · ")[0] if len(machines) > 1 else ""
        for cost in result.costs if is_priced else [None]:
            y = cost.usd_per_million if cost else result.throughput_per_second
            interval = cost.usd_per_million_interval if cost else result.throughput_interval
            if rounded(y) is None:
                continue
            price = price_name(cost) if cost and len(names) > 1 else ""
            parts = [part for part in (result.spec.model, price, machine) if part]
            rows.append(
                {
                    "panel": terminal(panel),
                    "first": panel not in panels,
                    "colour": terminal(" · ".join(parts)),
                    "shape": terminal(kind),
                    "cell": terminal(" · ".join(part for part in (*parts, kind) if part)),
                    **x,
                    **figure_fields("y", y, interval),
                    "p95": rounded(result.latency_ms.p95),
                    "throughput": rounded(result.throughput_per_second),
                    "suspect": verdict(result) != "valid",
                    "wrong": bool(answer_notes(result)),
                    "verdict": verdict(result),
                    "reasons": terminal(reason_codes(result)),
                }
            )
            panels.add(panel)
    return rows


def _place(result: Result, has_accuracy: bool) -> tuple[str, dict[str, Json]] | None:
    """The panel of a variant, and its figure on the x-axis. None if it has none."""
    if not has_accuracy:
        flops = result.engine.flops
        return None if flops is None else ("", figure_fields("x", flops / 1e9, None))
    accuracy = result.accuracy
    if accuracy is None:
        return None
    interval = accuracy.interval and (100 * accuracy.interval[0], 100 * accuracy.interval[1])
    name = f"{METRICS[accuracy.metric]} accuracy on {accuracy.data.name}"
    return name, figure_fields("x", 100 * accuracy.value, interval)


def _kinds(results: Sequence[Result]) -> list[str]:
    """What differs between the variants, for each of them: 'onnxruntime int8'."""
    settings = [(result.spec.runtime, result.spec.precision) for result in results]
    different = [len(set(names)) > 1 for names in zip(*settings, strict=True)]
    return [
        " ".join(name for name, differs in zip(names, different, strict=True) if differs)
        for names in settings
    ]


def _chart(rows: Sequence[Row], results: Sequence[Result]) -> Chart:
    is_priced = bool(costs_of(results))
    has_accuracy = any(result.accuracy for result in results)
    of_y = "USD per million inferences" if is_priced else "throughput (inferences/s)"
    of_x = "accuracy (%)" if has_accuracy else _ARITHMETIC
    x = marks.AxisFigure("x", of_x, begins_at_zero=not has_accuracy)
    y = marks.figure("y", of_y, rows)
    shape = "variant" if len({str(row["shape"]) for row in rows}) > 1 else None
    look = marks.look("models", ("model", shape), rows)
    tooltip = [
        alt.Tooltip("cell:N", title="model"),
        *(
            alt.Tooltip(f"{name}:Q", title=title, format=",.4~r")
            for name, title in (
                *(("x", of_x), ("y", of_y), ("throughput", "inferences/s"), ("p95", "P95 ms")),
            )
        ),
        alt.Tooltip("verdict:N", title="verdict"),
        alt.Tooltip("reasons:N", title="reasons"),
    ]
    base = alt.Chart()
    layers = [
        marks.intervals(base, x, y, look, "x"),
        marks.intervals(base, y, x, look, "y"),
        marks.points(base, x, y, look, tooltip),
        marks.crosses(base, x, y, tooltip),
    ]
    noun = "Cost" if is_priced else "Throughput"
    kind = "accuracy" if has_accuracy else "arithmetic"
    panels = list(dict.fromkeys(str(row["panel"]) for row in rows))
    heading = f": {panels[0]}" if len(panels) == 1 and panels[0] else ""
    drawn = len({row["cell"] for row in rows if isinstance(row["cell"], str)})
    absent = len(results) - len({id(r) for r in results if _place(r, has_accuracy)})
    return Chart(
        name=f"models-{noun.lower()}-{kind}",
        title=f"{noun} of models against {kind}{heading}",
        description=f"Each point is a model in one runtime and precision: {drawn} in all.",
        spec=marks.specification(marks.in_panels(layers, "models", rows)),
        data=("models",),
        remarks=(
            VARIANTS,
            *marks_remark(rows),
            *(
                [f"Not drawn for lack of a figure: {absent} of {count(len(results), 'variant')}."]
                if absent
                else []
            ),
        ),
    )


def _common(results: Sequence[Result]) -> tuple[str, ...]:
    costs = costs_of(results)
    reasons = dict.fromkeys(reason.code for r in results for reason in r.verdict.reasons)
    machines = {machine_name(result.environment) for result in results}
    return (
        *([f"Suspect: {', '.join(reasons)}."] if reasons else []),
        *dict.fromkeys(note for result in results for note in answer_notes(result)),
        *dict.fromkeys(note for cost in costs for note in cost_notes(cost)),
        *([f"Prices: {prices(costs)}"] if costs else []),
        *(machines if len(machines) == 1 else ()),
    )
