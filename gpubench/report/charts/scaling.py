"""Throughput and P95 latency over the setting that differs, with the knee of each line."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from gpubench.report.charts import marks
from gpubench.report.charts.cells import (
    Panel,
    absent_remark,
    counted,
    knee_remark,
    marks_remark,
    series,
)
from gpubench.report.charts.chart import Chart, Row
from gpubench.report.charts.trade_off import setting_title, titled, titles

_MOST_TICKS = 12
_SPREAD = "Pale bar: from P50 to P99."


def scaling_chart(panels: Sequence[Panel], rows: Sequence[Row]) -> Chart | str:
    """The chart, or why there is none. `rows` are those of the table "cells"."""
    panels = [panel for panel in panels if panel.setting]
    names = {panel.name for panel in panels}
    drawn = [row for row in rows if row["x"] is not None and row["panel"] in names]
    x_title = setting_title(panels)
    if x_title is None or len(drawn) < 2:
        return "No chart over batch size, clients, workers or rate: no such setting differs."
    look = marks.look("scaling", titles([series(panel) for panel in panels]), drawn)
    x = _x(panels, x_title, drawn)
    throughput = marks.figure("throughput", f"throughput ({counted(panels)}/s)", drawn)
    p95 = marks.figure("p95", "P95 latency (ms)", drawn)
    base = alt.Chart()
    tooltip = marks.cell_tooltip(x_title)
    above = [
        marks.lines(base, x, throughput, look),
        marks.intervals(base, throughput, x, look, "y"),
        *marks.repeats(base, x, throughput, look, ("x", "repeats_throughput"), drawn),
        marks.points(base, x, throughput, look, tooltip),
        marks.crosses(base, x, throughput, tooltip),
    ]
    if look.shape is None:
        above.append(marks.labels(base, x, throughput, "knee"))
    spread = base.transform_calculate(
        spread_low="isValid(datum.p50) ? datum.p50 : datum.p95",
        spread_high="isValid(datum.p99) ? datum.p99 : datum.p95",
    )
    below = [
        marks.encoded(
            spread.mark_rule(strokeWidth=5),
            x=marks.x(x),
            y=marks.y(p95, "spread_low"),
            y2="spread_high",
            stroke=marks.colour(look),
            opacity=marks.dimmed(look.shown, 0.25),
        ),
        marks.lines(base, x, p95, look),
        marks.intervals(base, p95, x, look, "y"),
        *marks.repeats(base, x, p95, look, ("x", "repeats_p95"), drawn),
        marks.points(base, x, p95, look, tooltip, has_legend=False),
        marks.crosses(base, x, p95, tooltip),
    ]
    has_p95 = any(row["p95"] is not None for row in drawn)
    shown = [above, below] if has_p95 else [above]
    pictures = [marks.in_panels(layers, "cells", drawn) for layers in shown]
    cells = [cell for panel in panels for cell in panel.cells]
    has_spread = any(row["p50"] is not None and row["p99"] is not None for row in drawn)
    return Chart(
        name="scaling",
        title=titled(f"Throughput{' and P95 latency' if has_p95 else ''} over {x_title}", panels),
        description=f"Each line has cells that differ only in {x_title}.",
        spec=marks.stacked(list(map(marks.specification, pictures))),
        data=("cells",),
        remarks=(
            *(knee_remark(drawn) if look.shape is None else ()),
            *([_SPREAD] if has_spread else []),
            *marks_remark(drawn),
            *absent_remark(len(drawn), len(cells)),
        ),
    )


def _x(panels: Sequence[Panel], title: str, rows: Sequence[Row]) -> marks.AxisFigure:
    """Stepped settings have a logarithmic axis with ticks at the measured values."""
    if not all(panel.setting and panel.setting.is_stepped for panel in panels):
        return marks.figure("x", title, rows)
    values = sorted({value for row in rows if isinstance(value := row["x"], float)})
    return marks.AxisFigure("x", title, is_log=True, ticks=tuple(values[:_MOST_TICKS]))
