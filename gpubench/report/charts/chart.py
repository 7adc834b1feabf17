"""A chart as a value: what it shows, and how Vega-Lite draws it.

The page, the files (SVG, PNG) and the notebook draw the same charts. So that a page with many cells
stays small, charts do not contain their rows: several charts share a table of rows, which has a
name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Json = str | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]
Row = Mapping[str, Json]  # one point, bar or piece of a line


@dataclass(frozen=True)
class Chart:
    """One chart. `spec` is a Vega-Lite specification whose data are named tables of a `ChartSet`.

    `parameters` are those parameters of `spec` that its surroundings may set: `objective_ms`, the
    limit of the latency, and `cell`, the `key` of the row whose requests are shown.
    """

    name: str  # of its file, without the suffix; unique in its set
    title: str
    description: str  # one sentence for somebody who does not see the chart
    spec: Mapping[str, Json]
    data: tuple[str, ...]  # the names of the tables that it draws
    remarks: tuple[str, ...] = ()  # what a reader must know, one sentence each
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChartSet:
    """Charts, and the tables of rows that they draw."""

    charts: tuple[Chart, ...]
    tables: Mapping[str, Sequence[Row]]
    remarks: tuple[str, ...] = ()  # why a chart is absent
    # What is true of all charts: settings, machine, prices. Tables say it too, so a page need not.
    common: tuple[str, ...] = ()


def together(sets: Sequence[ChartSet]) -> ChartSet:
    """The charts of several sets, whose tables have different names, as one set."""
    return ChartSet(
        tuple(chart for each in sets for chart in each.charts),
        {name: rows for each in sets for name, rows in each.tables.items()},
        tuple(remark for each in sets for remark in each.remarks),
        tuple(dict.fromkeys(remark for each in sets for remark in each.common)),
    )
