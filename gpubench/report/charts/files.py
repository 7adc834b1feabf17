"""Charts as files: SVG and PNG, which need nothing else.

The title, the legend and the remarks are in the picture. vl-convert draws it without a browser and
without a network, always in the same way.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from gpubench.report.charts.chart import Chart, ChartSet, Json
from gpubench.report.charts.marks import stacked
from gpubench.report.charts.theme import config
from gpubench.report.escape import terminal

# The version of Vega-Lite in which the specifications are written: that of Altair.
VEGA_LITE = "6.4"

_FILE_FONT = "Liberation Sans"  # comes with vl-convert, so each machine draws the same
_LINE_LENGTH = 105  # characters of a remark in one line
# In each chart of a picture, colours and shapes mean something else.
_OWN_SCALES = ("color", "fill", "stroke", "shape")
_SCALE = 2.0  # pixels of a PNG for each pixel of the chart


def svg(charts: ChartSet, chart: Chart | None = None) -> str:
    """One chart, or all charts of the set one below the other, as an SVG document."""
    import vl_convert

    text: str = vl_convert.vegalite_to_svg(document(charts, chart), vl_version=VEGA_LITE)
    return text


def png(charts: ChartSet, chart: Chart | None = None) -> bytes:
    """One chart, or all charts of the set one below the other, as a PNG."""
    import vl_convert

    data: bytes = vl_convert.vegalite_to_png(
        document(charts, chart), vl_version=VEGA_LITE, scale=_SCALE
    )
    return data


def document(charts: ChartSet, chart: Chart | None = None) -> dict[str, Json]:
    """A complete Vega-Lite specification, with its rows, of one chart or of all."""
    drawn = charts.charts if chart is None else (chart,)
    tables = {name for each in drawn for name in each.data}
    return {
        "$schema": f"https://vega.github.io/schema/vega-lite/v{VEGA_LITE.split('.')[0]}.json",
        "config": config(font=_FILE_FONT),
        "padding": 12,
        "datasets": {name: charts.tables[name] for name in charts.tables if name in tables},
        **stacked(
            [_standing_alone(each, charts.common if each is drawn[-1] else ()) for each in drawn],
            spacing=40,
            resolve={"scale": dict.fromkeys(_OWN_SCALES, "independent")},
        ),
    }


def _standing_alone(chart: Chart, common: Sequence[str]) -> dict[str, Json]:
    """The chart between its title and its remarks."""
    remarks = [line for remark in (*chart.remarks, *common) for line in _lines(terminal(remark))]
    below: dict[str, Json] = {
        "text": remarks,
        "orient": "bottom",
        "anchor": "start",
        "fontSize": 10,
        "fontWeight": "normal",
        "lineHeight": 14,
    }
    titled = {**chart.spec, "title": terminal(chart.title)}
    return stacked([titled], title=below) if remarks else stacked([titled])


def _lines(remark: str) -> Iterator[str]:
    yield from textwrap.wrap(remark, _LINE_LENGTH)
