"""The ratios B/A of each pair of cells, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from gpubench.planning.compare import Comparison, Figure
from gpubench.planning.metrics import COLUMNS, Metric
from gpubench.report.charts import marks
from gpubench.report.charts.cells import figure_fields, joined_names, rounded
from gpubench.report.charts.chart import Chart, ChartSet, Row
from gpubench.report.charts.theme import COLOURS, GREY
from gpubench.report.comparison import ordered_pairs
from gpubench.report.comparison_sentences import answer
from gpubench.report.escape import terminal
from gpubench.report.format import share

# What an answer says, and its colour. A pair without an answer has none of them.
_BETTER, _WORSE, _EQUIVALENT, _OPEN = "B is better", "B is worse", "equivalent", "undecided"
_COLOURS = {_BETTER: COLOURS[0], _WORSE: COLOURS[1], _EQUIVALENT: COLOURS[2], _OPEN: GREY}


def comparison_charts(comparisons: Sequence[Comparison], sides: Sequence[str] = ()) -> ChartSet:
    """One chart with a panel for each figure and a row for each pair.

    `sides` are the names of B in each comparison, which are needed if there are several.
    """
    rows: list[Row] = []
    for number, comparison in enumerate(comparisons):
        side = sides[number] if len(comparisons) > 1 and sides else ""
        rows += _rows(comparison, side)
    if not rows:
        return ChartSet((), {}, ("No chart of the ratios: no pair has a figure on both sides.",))
    within = comparisons[0].within
    return ChartSet((_chart(rows, within),), {"pairs": rows})


def _rows(comparison: Comparison, side: str) -> list[Row]:
    pairs = ordered_pairs(comparison)
    names = joined_names([pair.a for pair in pairs])
    rows: list[Row] = []
    for metric in COLUMNS:
        is_first = True
        for pair, name in zip(pairs, names, strict=True):
            figure = pair.figures[metric.name]
            if rounded(figure.b_over_a) is None:
                continue
            rows.append(
                {
                    "panel": f"{metric.noun[0].upper()}{metric.noun[1:]}, "
                    f"{'more' if metric.more_is_better else 'less'} is better",
                    "first": is_first,
                    "cell": terminal(" · ".join(part for part in (name, side) if part)),
                    **figure_fields("ratio", figure.b_over_a, figure.b_over_a_interval),
                    "a": rounded(figure.a),
                    "b": rounded(figure.b),
                    "answer": answer(figure, comparison.within),
                    "colour": _meaning(figure, metric),
                    "low": 1 / (1 + comparison.within),
                    "high": 1 + comparison.within,
                }
            )
            is_first = False
    return rows


def _meaning(figure: Figure, metric: Metric) -> str:
    if figure.tested is None or figure.tested.kind == "undecided":
        return _OPEN
    if figure.tested.kind == "equivalent":
        return _EQUIVALENT
    return _BETTER if (figure.tested.kind == "higher") == metric.more_is_better else _WORSE


def _chart(rows: Sequence[Row], within: float) -> Chart:
    base = alt.Chart()
    x_scale = alt.Scale(type="log", nice=False, padding=12)
    x = alt.X("ratio:Q", title="B/A", scale=x_scale, axis=alt.Axis(format=".3~r", tickCount=6))
    y = alt.Y("cell:N", title=None, sort=None)
    present = [name for name in _COLOURS if any(row["colour"] == name for row in rows)]
    colour = alt.Color(
        "colour:N",
        title="answer",
        scale=alt.Scale(domain=present, range=[_COLOURS[name] for name in present]),
    )
    tooltip = [
        alt.Tooltip("cell:N", title="cell"),
        *(
            alt.Tooltip(f"{name}:Q", title=title, format=",.4~r")
            for name, title in (
                *(("ratio", "B/A"), ("ratio_low", "B/A, at least (95%)")),
                *(("ratio_high", "B/A, at most (95%)"), ("a", "A"), ("b", "B")),
            )
        ),
        alt.Tooltip("answer:N", title="answer"),
    ]
    once = base.transform_filter("datum.first")
    layers = [
        marks.encoded(
            once.mark_rect(color=GREY, opacity=0.15),
            x=alt.X("low:Q", scale=x_scale),
            x2="high",
        ),
        marks.encoded(once.mark_rule(color=GREY, strokeWidth=1.5), x=alt.XDatum(1, scale=x_scale)),
        marks.encoded(
            base.transform_calculate(
                bar_low="isValid(datum.ratio_low) ? datum.ratio_low : datum.ratio",
                bar_high="isValid(datum.ratio_high) ? datum.ratio_high : datum.ratio",
            ).mark_rule(strokeWidth=2),
            x=alt.X("bar_low:Q", scale=x_scale),
            x2="bar_high",
            y=y,
            color=colour,
        ),
        marks.encoded(
            base.mark_point(filled=True, size=60, opacity=1),
            x=x,
            y=y,
            color=colour,
            tooltip=tooltip,
        ),
    ]
    height = marks.bars_height(rows, "cell", 20)
    return Chart(
        name="ratios",
        title="B relative to A",
        description="Each point is the ratio of a figure of B to that of A, for one pair of cells.",
        spec=marks.specification(marks.in_panels(layers, "pairs", rows, height=height)),
        data=("pairs",),
        remarks=(
            f"Bar: 95% interval. In the grey band, a difference does not matter ({share(within)}).",
        ),
    )
