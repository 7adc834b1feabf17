"""The charts of a run directory: at most six, for any number of cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gpubench.report.charts.cells import cell_rows, cost_rows, panels
from gpubench.report.charts.chart import Chart, ChartSet, Row
from gpubench.report.charts.trade_off import cost_chart, trade_off_chart
from gpubench.results.result import Result


def result_charts(results: Iterable[Result], *, objective_ms: float | None = None) -> ChartSet:
    """Charts of results and of the costs that they have. The repeats of a cell are combined.

    The `key` of a row is the number of its cell in the order of the rows of the tables, from "1".
    """
    of = panels(results)
    cells = [row for panel in of for row in cell_rows(panel)]
    costs = [row for panel in of for row in cost_rows(panel)]
    made = [
        trade_off_chart(of, cells, objective_ms),
        cost_chart(of, cells, costs, objective_ms),
    ]
    return chart_set(made, {"cells": cells, "costs": costs})


def chart_set(made: Sequence[Chart | str | None], tables: dict[str, list[Row]]) -> ChartSet:
    """The charts with those tables that they draw, and why others are absent."""
    charts = tuple(each for each in made if isinstance(each, Chart))
    used = {name for chart in charts for name in chart.data}
    return ChartSet(
        charts,
        {name: rows for name, rows in tables.items() if name in used},
        tuple(each for each in made if isinstance(each, str)),
    )
