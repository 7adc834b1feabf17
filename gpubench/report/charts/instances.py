"""The price of a million inferences on each instance: its cheapest cell within the objective."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from gpubench.report.charts import marks
from gpubench.report.charts.cells import Panel
from gpubench.report.charts.chart import Chart, Row
from gpubench.report.charts.theme import COLOURS
from gpubench.report.charts.trade_off import of_cell, titled

_MOST_BARS = 30  # of a panel
_BAR_HEIGHT = 24  # pixels


def instances_chart(
    panels: Sequence[Panel], costs: Sequence[Row], objective_ms: float | None
) -> Chart | str:
    """The chart, or why there is none. `costs` are the rows of the table "costs"."""
    if len({(str(row["panel"]), str(row["price"])) for row in costs}) < 2:
        return "No chart of the price on each instance: there are fewer than two prices."
    within = f"!isValid({marks.OBJECTIVE_MS}) || datum.p95 <= {marks.OBJECTIVE_MS}"
    cheapest = (
        alt.Chart()
        .transform_filter(f"datum.may_win && ({within})")
        .transform_aggregate(best="argmin(usd)", usd="min(usd)", groupby=["panel", "price"])
        .transform_window(
            rank="row_number()", groupby=["panel"], sort=[alt.SortField("usd", "ascending")]
        )
        .transform_filter(f"datum.rank <= {_MOST_BARS}")
    )
    y = alt.Y("price:N", title=None, sort=alt.EncodingSortField("usd", op="min", order="ascending"))
    x = alt.X("usd:Q", title="USD per million inferences", scale=alt.Scale(zero=True))
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
    hollow = alt.when("datum.best.suspect").then(alt.value(0.15)).otherwise(alt.value(1))
    bars = alt.Chart()
    has_interval = alt.when("isValid(datum.best.usd_low)")
    layers = [
        marks.encoded(
            bars.mark_bar(height={"band": 0.7}, strokeWidth=1.5),
            x=x,
            y=y,
            fill=alt.value(COLOURS[0]),
            stroke=alt.value(COLOURS[0]),
            fillOpacity=hollow,
            tooltip=tooltip,
        ),
        marks.encoded(
            bars.mark_rule(strokeWidth=1.5, style="wrong"),
            x=alt.X("best.usd_low:Q"),
            x2="best.usd_high",
            y=y,
            opacity=has_interval.then(alt.value(1)).otherwise(alt.value(0)),
        ),
        marks.encoded(
            bars.mark_text(align="left", dx=8),
            x=alt.X("best.end:Q"),
            y=y,
            text=alt.Text("usd:Q", format="$,.3~r"),
        ),
    ]
    end = {"calculate": "isValid(datum.usd_high) ? datum.usd_high : datum.usd", "as": "end"}
    # Before the division into panels, so that the layers of a panel share their rows.
    transforms = [of_cell(), end, *(each.to_dict() for each in cheapest.transform)]
    chart = marks.in_panels(layers, "costs", costs, transforms, height=_height(costs))
    chart = chart.add_params(marks.objective_parameter(objective_ms))
    return Chart(
        name="instances",
        title=titled("Price of a million inferences on each instance", panels),
        description="Each bar is the cheapest cell on an instance whose P95 latency is within the "
        "objective.",
        spec=chart.to_dict(),
        data=("costs", "cells"),
        remarks=(
            "Each bar is the cheapest cell within the objective, if there is one; a valid one if "
            "there is any. A pale bar is suspect. The line at its end is the 95% interval.",
        ),
        parameters=(marks.OBJECTIVE_MS,),
    )


def _height(costs: Sequence[Row]) -> int:
    """Pixels of a panel, which have room for the bars of the panel with the most prices."""
    prices: dict[str, set[str]] = {}
    for row in costs:
        prices.setdefault(str(row["panel"]), set()).add(str(row["price"]))
    return _BAR_HEIGHT * min(_MOST_BARS, max(map(len, prices.values())))
