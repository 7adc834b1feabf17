"""The price of a million inferences on each instance: its cheapest cell within the objective."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from gpubench.report.charts import marks
from gpubench.report.charts.cells import Panel, counted
from gpubench.report.charts.chart import Chart, Row
from gpubench.report.charts.theme import COLOURS
from gpubench.report.charts.trade_off import of_cell, titled

_MOST_BARS = 30  # of a panel
_LAST = 1e12  # times the price, to order cells that miss the objective after all others


def instances_chart(
    panels: Sequence[Panel], costs: Sequence[Row], objective_ms: float | None
) -> Chart | str:
    """The chart, or why there is none. `costs` are the rows of the table "costs"."""
    if len({(str(row["panel"]), str(row["price"])) for row in costs}) < 2:
        return "No chart of the price on each instance: there are fewer than two prices."
    limit = marks.OBJECTIVE_MS
    misses = f"isValid({limit}) && datum.serves && !(datum.p95 <= {limit})"
    cheapest = (
        alt.Chart()
        .transform_filter("datum.may_win")
        .transform_calculate(misses=misses, order=f"datum.usd * ({misses} ? {_LAST} : 1)")
        .transform_aggregate(best="argmin(order)", order="min(order)", groupby=["panel", "price"])
        .transform_window(
            rank="row_number()", groupby=["panel"], sort=[alt.SortField("order", "ascending")]
        )
        .transform_filter(f"datum.rank <= {_MOST_BARS}")
        .transform_calculate(
            usd="datum.best.usd",
            low="isValid(datum.best.usd_low) ? datum.best.usd_low : datum.best.usd",
            high="isValid(datum.best.usd_high) ? datum.best.usd_high : datum.best.usd",
            label="format(datum.best.usd, '$,.3~r')"
            " + (datum.best.misses ? ', misses the objective' : '')",
        )
    )
    y = alt.Y("price:N", title=None, sort=alt.EncodingSortField("order", "min", "ascending"))
    x = alt.X(
        "usd:Q", title=f"USD per million {counted(panels)}", scale=alt.Scale(zero=True), stack=None
    )
    numbers = {
        "usd": "$ per million",
        "best.usd_low": "$ per million, at least (95%)",
        "best.usd_high": "$ per million, at most (95%)",
        "best.usd_per_hour": "$ per hour",
        "best.throughput": "inferences/s",
        "best.p95": "P95 ms",
    }
    tooltip = [
        alt.Tooltip("panel:N", title="model"),
        alt.Tooltip("price:N", title="price"),
        alt.Tooltip("best.cell:N", title="cell"),
        *(alt.Tooltip(f"{name}:Q", title=title, format=",.4~r") for name, title in numbers.items()),
        alt.Tooltip("best.verdict:N", title="verdict"),
        alt.Tooltip("best.reasons:N", title="reasons"),
    ]
    is_pale = "datum.best.suspect || datum.best.misses"
    opacity = alt.when(is_pale).then(alt.value(0.15)).otherwise(alt.value(1))
    base = alt.Chart()
    layers = [
        marks.encoded(
            base.mark_bar(height={"band": 0.7}, strokeWidth=1.5),
            x=x,
            y=y,
            fill=alt.value(COLOURS[0]),
            stroke=alt.value(COLOURS[0]),
            fillOpacity=opacity,
            tooltip=tooltip,
        ),
        marks.encoded(
            base.mark_rule(strokeWidth=1.5, style="wrong"),
            x=alt.X("low:Q"),
            x2="high",
            y=y,
        ),
        marks.encoded(
            base.mark_text(align="left", dx=8),
            x=alt.X("high:Q"),
            y=y,
            text=alt.Text("label:N"),
        ),
    ]
    height = marks.bars_height(costs, "price", 24, _MOST_BARS)
    chart = marks.in_panels(layers, "costs", costs, [of_cell(), *cheapest.transform], height)
    chart = chart.add_params(marks.objective_parameter(objective_ms))
    return Chart(
        name="instances",
        title=titled("Price of a million inferences on each instance", panels),
        description="Each bar is the cheapest cell on an instance whose P95 latency is within the "
        "objective.",
        spec=marks.specification(chart),
        data=("costs", "cells"),
        remarks=(
            "Each bar is the cheapest cell within the objective; a valid one if there is any. A "
            "pale bar is suspect or misses the objective. The line at its end is the 95% interval.",
        ),
        parameters=(marks.OBJECTIVE_MS,),
    )
