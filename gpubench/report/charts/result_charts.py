"""The charts of a run directory: at most six, for any number of cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gpubench.report.charts.cells import cell_rows, common_remarks, cost_rows, panels
from gpubench.report.charts.chart import Chart, ChartSet, Row
from gpubench.report.charts.gpu_readings import reading_rows
from gpubench.report.charts.instances import instances_chart
from gpubench.report.charts.request_rows import ReadSamples, request_rows
from gpubench.report.charts.requests import requests_chart
from gpubench.report.charts.scaling import scaling_chart
from gpubench.report.charts.stages import stage_rows, stages_chart
from gpubench.report.charts.trade_off import cost_chart, trade_off_chart
from gpubench.results.result import Result


def result_charts(
    results: Iterable[Result],
    *,
    samples: ReadSamples = lambda result: result.samples,
    objective_ms: float | None = None,
) -> ChartSet:
    """Charts of results and of the costs that they have. The repeats of a cell are combined.

    `samples` reads the samples of one of the results; it may raise InputError. Without them there
    is no chart of single requests. `objective_ms` is the latency that a line shows at first.
    The `key` of a row is the number of its cell in the order of the rows of the tables, from "1".
    """
    of = panels(results)
    cells = [row for panel in of for row in cell_rows(panel)]
    costs = [row for panel in of for row in cost_rows(panel)]
    stages = stage_rows(of, cells)
    requests, problems = request_rows(of, samples)
    readings = reading_rows(of, requests)
    made = [
        trade_off_chart(of, cells, objective_ms),
        cost_chart(of, cells, costs, objective_ms),
        scaling_chart(of, cells),
        instances_chart(of, costs, objective_ms),
        stages_chart(of, stages, cells),
        requests_chart(requests, readings, cells, problems, objective_ms),
    ]
    tables = {
        "cells": cells,
        "costs": costs,
        "stages": stages,
        "requests": requests,
        "readings": readings,
    }
    every = [cell for panel in of for cell in panel.cells]
    return chart_set(made, tables, tuple(common_remarks(every)))


def chart_set(
    made: Sequence[Chart | str], tables: dict[str, list[Row]], common: tuple[str, ...]
) -> ChartSet:
    """The charts with those tables that they draw, and why others are absent."""
    charts = tuple(each for each in made if isinstance(each, Chart))
    used = {name for chart in charts for name in chart.data}
    return ChartSet(
        charts,
        {name: rows for name, rows in tables.items() if name in used},
        tuple(each for each in made if isinstance(each, str)),
        common if charts else (),
    )
