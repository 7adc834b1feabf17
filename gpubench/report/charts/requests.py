"""The requests of one chosen cell: the distribution of their latencies, and their times."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from gpubench.report.charts import marks
from gpubench.report.charts.chart import Chart, Row
from gpubench.report.charts.gpu_readings import readings_pictures, readings_remarks
from gpubench.report.charts.theme import COLOURS, LOW, OBJECTIVE, PANEL_WIDTH


def requests_chart(
    rows: Sequence[Row],
    readings: Sequence[Row],
    cells: Sequence[Row],
    problems: Sequence[str],
    objective_ms: float | None,
) -> Chart | str:
    """The chart, or why there is none.

    `rows`, `readings` and `cells` are those of the tables with these names; `rows`: "requests".
    """
    if not rows:
        return (
            f"No chart of single requests: {problems[0] if problems else 'no samples were read.'}"
        )
    base = alt.Chart(alt.NamedData("requests")).transform_filter(f"datum.key === {marks.CELL}")
    fields = ["panel", "cell", "verdict"]
    named = base.transform_lookup(
        lookup="key", from_=alt.LookupData(alt.NamedData("cells"), key="key", fields=fields)
    ).transform_calculate(name="datum.panel + ' · ' + datum.cell + ' · ' + datum.verdict")
    heading = marks.encoded(
        named.mark_text(align="left", fontSize=12), x=alt.value(0), text=alt.Text("name:N")
    ).properties(width=PANEL_WIDTH, height=16)
    distribution = _distribution(base)
    # The pictures over time share their axis.
    over_time = alt.vconcat(*_over_time(base), *readings_pictures(readings), spacing=14)
    over_time = over_time.resolve_scale(x="shared")
    spec = marks.stacked(
        [marks.specification(picture) for picture in (heading, distribution, over_time)], spacing=14
    )
    spec["params"] = [
        {"name": marks.CELL, "value": _first_choice(rows, cells)},
        {"name": marks.OBJECTIVE_MS, "value": objective_ms},
    ]
    return Chart(
        name="requests",
        title="Requests of one cell",
        description="Above: the share of the requests that take at least a certain latency. "
        "Below: latency and throughput during the measured window"
        f"{', and the state of the GPUs' if readings else ''}.",
        spec=spec,
        data=("requests", *(["readings"] if readings else []), "cells"),
        remarks=(
            "The share is that of the requests that take at least this long. Its axis is "
            "logarithmic, so that the slowest requests are visible.",
            "Each part of the window has a line for the median and a bar to the highest latency.",
            *readings_remarks(readings),
            *problems,
        ),
        parameters=(marks.CELL, marks.OBJECTIVE_MS),
    )


def _first_choice(rows: Sequence[Row], cells: Sequence[Row]) -> str:
    """The cell of the front with the highest throughput, or else the first one."""
    keys = [str(row["key"]) for row in rows]
    best, chosen = 0.0, keys[0]
    for row in cells:
        throughput = row["throughput"]
        if row["front"] and row["key"] in keys and isinstance(throughput, float):
            best, chosen = max((best, chosen), (throughput, str(row["key"])))
    return chosen


def _distribution(base: alt.Chart) -> alt.LayerChart | alt.FacetChart:
    x = alt.X("ms:Q", title="latency (ms)", scale=alt.Scale(type="log", nice=False))
    y = alt.Y(
        "share:Q",
        title="share of requests",
        scale=alt.Scale(type="log", nice=False),
        axis=alt.Axis(format=".4~%"),
    )
    line = marks.encoded(
        base.transform_flatten(["ms", "share"])
        .transform_filter("datum.ms > 0")
        .mark_line(color=COLOURS[0], point={"size": 14, "filled": True, "color": COLOURS[0]}),
        x=x,
        y=y,
        order=alt.Order("ms:Q"),
        tooltip=[
            alt.Tooltip("ms:Q", title="latency, ms", format=",.4~r"),
            alt.Tooltip("share:Q", title="share that takes at least this long", format=".3~%"),
        ],
    )
    limited = base.transform_calculate(
        objective=f"isValid({marks.OBJECTIVE_MS}) ? {marks.OBJECTIVE_MS} : datum.ms[0]"
    )
    objective = marks.encoded(
        limited.mark_rule(strokeDash=[6, 4], strokeWidth=1.5, color=OBJECTIVE),
        x=alt.X("objective:Q"),
        opacity=marks.if_there_is_an_objective(),
    )
    return alt.layer(line, objective).properties(width=PANEL_WIDTH, height=200)


def _over_time(base: alt.Chart) -> tuple[alt.LayerChart | alt.FacetChart, alt.Chart]:
    parts = base.transform_flatten(["s", "rate", "median", "highest"])
    x = alt.X("s:Q", title="time in the window (s)", scale=alt.Scale(zero=True, nice=False))
    y = alt.Y("median:Q", title="latency (ms)", scale=alt.Scale(zero=True))
    tooltip = [
        alt.Tooltip("s:Q", title="s", format=",.4~r"),
        alt.Tooltip("median:Q", title="median ms", format=",.4~r"),
        alt.Tooltip("highest:Q", title="highest ms", format=",.4~r"),
        alt.Tooltip("rate:Q", title="requests/s", format=",.4~r"),
    ]
    served = parts.transform_filter("isValid(datum.median)")
    range_ = marks.encoded(
        served.mark_rule(color=COLOURS[5], strokeWidth=1.5), x=x, y=y, y2="highest", tooltip=tooltip
    )
    median = marks.encoded(served.mark_line(color=COLOURS[0], strokeWidth=1.5), x=x, y=y)
    latencies = alt.layer(range_, median).properties(width=PANEL_WIDTH, height=LOW)
    rate = marks.encoded(
        parts.mark_line(color=COLOURS[2], strokeWidth=1.5, interpolate="step"),
        x=x,
        y=alt.Y("rate:Q", title="requests/s", scale=alt.Scale(zero=True)),
        tooltip=tooltip,
    ).properties(width=PANEL_WIDTH, height=LOW)
    return latencies, rate
