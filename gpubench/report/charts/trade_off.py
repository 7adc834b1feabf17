"""P95 latency against throughput, and the price of a million inferences against P95 latency."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from gpubench.report.charts import marks
from gpubench.report.charts.cells import (
    ChartSeries,
    Panel,
    absent_remark,
    counted,
    marks_remark,
    series,
)
from gpubench.report.charts.chart import Chart, Json, Row

_FRONT = "The wide grey line is the Pareto front: no point on it is beaten in both figures."


def trade_off_chart(
    panels: Sequence[Panel], rows: Sequence[Row], objective_ms: float | None
) -> Chart | str:
    """The chart, or why there is none. `rows` are those of the table "cells"."""
    drawn = [row for row in rows if row["throughput"] is not None and row["p95"] is not None]
    if len(drawn) < 2:
        return "No chart of latency against throughput: it has fewer than two points."
    look = marks.look("trade_off", titles([series(panel) for panel in panels]), drawn)
    x = marks.figure("throughput", f"throughput ({counted(panels)}/s)", drawn)
    y = marks.figure("p95", "P95 latency (ms)", drawn)
    base = alt.Chart()  # in a panel, the rows are those of the panel
    x_title = setting_title(panels)
    layers = [marks.front(base, x, y), marks.objective(base, y, "y")]
    if look.shape is None and all(panel.setting for panel in panels):
        layers.append(marks.lines(base, x, y, look))
    layers += [
        marks.intervals(base, x, y, look, "x"),
        marks.intervals(base, y, x, look, "y"),
        *marks.repeats(base, x, y, look, ("repeats_throughput", "repeats_p95"), drawn),
        marks.points(base, x, y, look, marks.cell_tooltip(x_title)),
        marks.crosses(base, x, y, marks.cell_tooltip(x_title)),
    ]
    notes = [_FRONT]
    if x_title and marks.has_room_for_labels(drawn):
        layers.append(marks.labels(base, x, y, "x"))
        notes.append(f"The number at a point is its {x_title}.")
    chart = marks.in_panels(layers, "cells", drawn).add_params(
        marks.objective_parameter(objective_ms)
    )
    cells = [cell for panel in panels for cell in panel.cells]
    return Chart(
        name="trade-off",
        title=titled("P95 latency against throughput", panels),
        description="Each point is a cell: further right is more throughput, lower is a shorter "
        "P95 latency.",
        spec=marks.specification(chart),
        data=("cells",),
        remarks=(
            *notes,
            *marks_remark(drawn),
            *absent_remark(len(drawn), len(cells)),
        ),
        parameters=(marks.OBJECTIVE_MS,),
    )


def cost_chart(
    panels: Sequence[Panel],
    rows: Sequence[Row],
    costs: Sequence[Row],
    objective_ms: float | None,
) -> Chart | str:
    """The chart, or why there is none. `rows` are those of the table "cells"."""
    by_key = {str(row["key"]): row for row in rows if row["p95"] is not None}
    drawn = [
        {**by_key[key], **row}
        for row in costs
        if isinstance(key := row["key"], str) and key in by_key
    ]
    if len(drawn) < 2:
        return "No chart of the cost: fewer than two cells have a price and a P95 latency."
    of = [
        series(panel, [(cell, cost) for cell in panel.cells for cost in cell.result.costs])
        for panel in panels
    ]
    look = marks.look("cost", titles(of), drawn)
    x = marks.figure("p95", "P95 latency (ms)", drawn)
    y = marks.figure("usd", f"USD per million {counted(panels)}", drawn)
    base = alt.Chart()
    tooltip = [
        alt.Tooltip("price:N", title="price"),
        alt.Tooltip("usd_per_hour:Q", title="$ per hour", format=",.4~r"),
        *marks.cell_tooltip(None),
    ]
    layers = [
        marks.front(base, x, y),
        marks.objective(base, x, "x"),
        marks.intervals(base, x, y, look, "x"),
        marks.intervals(base, y, x, look, "y"),
        marks.points(base, x, y, look, tooltip),
        marks.crosses(base, x, y, tooltip),
    ]
    chart = marks.in_panels(layers, "costs", drawn, [of_cell()]).add_params(
        marks.objective_parameter(objective_ms)
    )
    cells = [each for panel in panels for each in panel.cells]
    keys = {row["key"] for row in drawn if isinstance(row["key"], str)}
    return Chart(
        name="cost",
        title=titled("Price of a million inferences against P95 latency", panels),
        description="Each point is a cell at one price: lower is cheaper, further left is a "
        "shorter P95 latency.",
        spec=marks.specification(chart),
        data=("costs", "cells"),
        remarks=(
            _FRONT,
            *marks_remark(drawn),
            *absent_remark(len(keys), len(cells)),
        ),
        parameters=(marks.OBJECTIVE_MS,),
    )


def of_cell() -> dict[str, Json]:
    """The transform that gives a row of the table "costs" the figures of its cell."""
    fields = [
        *("cell", "p50", "p95", "p95_low", "p95_high", "p99", "throughput", "throughput_low"),
        *("throughput_high", "verdict", "reasons", "suspect", "wrong"),
    ]
    return {
        "lookup": "key",
        "from": {"data": {"name": "cells"}, "key": "key", "fields": fields},
    }


def titled(title: str, panels: Sequence[Panel]) -> str:
    """The title with the model, if there is only one."""
    return f"{title}: {panels[0].name}" if len(panels) == 1 else title


def titles(of: Sequence[ChartSeries]) -> tuple[str | None, str | None]:
    """What colours and what shapes stand for."""
    colours = [word for each in of if each.colour_title for word in each.colour_title.split(" · ")]
    shapes = [each.shape_title for each in of if each.shape_title]
    return (
        " · ".join(dict.fromkeys(colours)) or None,
        " · ".join(dict.fromkeys(shapes)) or None,
    )


def setting_title(panels: Sequence[Panel]) -> str | None:
    """What the numbers of the settings are; None if no panel has them."""
    found = dict.fromkeys(panel.setting.title for panel in panels if panel.setting)
    return " or ".join(found) or None
