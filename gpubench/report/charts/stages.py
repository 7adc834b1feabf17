"""The mean time of a request in each stage, as stacked bars."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from gpubench.report.charts import marks
from gpubench.report.charts.cells import Panel, rounded
from gpubench.report.charts.chart import Chart, Row
from gpubench.report.charts.theme import GREY
from gpubench.report.charts.trade_off import titled
from gpubench.report.format import count
from gpubench.results.result import Stages

_MOST_BARS = 30

# Each stage has its own colour, in all pictures. The copies and what the CPU does around them are
# pairs of similar colours.
_COLOURS = {
    "preprocess": "#CC79A7",
    "queue": GREY,
    "batching": "#C4C4C4",
    "fill": "#E69F00",
    "submit": "#F0C869",
    "h2d": "#56B4E9",
    "forward": "#6BAED6",
    "backward": "#08519C",
    "optimizer": "#4B2E83",
    "compute": "#0072B2",
    "d2h": "#009E73",
    "return": "#7FCDB5",
    "postprocess": "#D55E00",
}


def stage_rows(panels: Sequence[Panel], cells: Sequence[Row]) -> list[Row]:
    """The rows of the table "stages": one for each cell, with its stages in their order.

    `shown` is whether it has a bar without being chosen: the cells of the front, then those with
    the highest throughput. `cells` are the rows of the table "cells".
    """
    order = sorted(cells, key=lambda row: (not row["front"], -_number(row["throughput"])))
    has_stages = {
        cell.key: _means(cell.result.stages_ms) for panel in panels for cell in panel.cells
    }
    named = [str(row["key"]) for row in order if has_stages.get(str(row["key"]))]
    shown = set(named[:_MOST_BARS])
    return [
        {
            "key": key,
            "shown": key in shown,
            "stage": list(means),
            "ms": [rounded(mean) for mean in means.values()],
        }
        for row in cells
        if (means := has_stages.get(key := str(row["key"])))
    ]


def stages_chart(panels: Sequence[Panel], rows: Sequence[Row], cells: Sequence[Row]) -> Chart | str:
    """The chart, or why there is none. `rows` are those of the table "stages"."""
    if not rows:
        return "No chart of the stages: no cell has them."
    present = [name for name in _COLOURS if any(name in _texts(row["stage"]) for row in rows)]
    of_cell = {
        "lookup": "key",
        "from": {"data": {"name": "cells"}, "key": "key", "fields": ["panel", "cell", "verdict"]},
    }
    bars = (
        alt.Chart()
        .transform_filter(f"datum.shown || datum.key === {marks.CELL}")
        .transform_flatten(["stage", "ms"])
        .transform_calculate(number=f"indexof({present}, datum.stage)")
    )
    encoded = marks.encoded(
        bars.mark_bar(),
        x=alt.X("ms:Q", title="mean latency (ms)", stack="zero"),
        y=alt.Y("cell:N", title=None, sort=None),
        color=alt.Color(
            "stage:N",
            title="stage",
            scale=alt.Scale(domain=present, range=[_COLOURS[name] for name in present]),
        ),
        order=alt.Order("number:Q"),
        tooltip=[
            alt.Tooltip("panel:N", title="model"),
            alt.Tooltip("cell:N", title="cell"),
            alt.Tooltip("stage:N", title="stage"),
            alt.Tooltip("ms:Q", title="mean ms", format=",.4~r"),
            alt.Tooltip("verdict:N", title="verdict"),
        ],
    )
    keys = {str(row["key"]) for row in rows}
    drawn = [row for row in cells if row["key"] in keys]
    chart = marks.in_panels([encoded], "stages", drawn, [of_cell], height=alt.Step(18))
    chart = chart.add_params(alt.param(name=marks.CELL, value=None))
    shown = sum(bool(row["shown"]) for row in rows)
    limited = (
        f"{shown} of {count(len(rows), 'cell')}: those on the Pareto front, then those with the "
        "highest throughput, and the chosen one.",
    )
    return Chart(
        name="stages",
        title=titled("Mean time of a request in each stage", panels),
        description="Each bar is a cell. Its parts are the stages of a request, which add up to "
        "the mean latency.",
        spec=marks.specification(chart),
        data=("stages", "cells"),
        remarks=limited if shown < len(rows) else (),
        parameters=(marks.CELL,),
    )


def _means(stages: Stages) -> dict[str, float]:
    found = stages.model_dump(by_alias=True, exclude_none=True)
    means = {name: found[name]["mean"] for name in _COLOURS if name in found}
    if stages.forward is not None:  # the parts of a training step lie inside its compute
        parts = sum(means[name] for name in ("forward", "backward", "optimizer"))
        means["compute"] = max(0.0, means["compute"] - parts)
    return means


def _number(value: object) -> float:
    return value if isinstance(value, float) else 0.0


def _texts(value: object) -> Sequence[str]:
    return value if isinstance(value, list) else []
