"""Charts as files: SVG and PNG, which need nothing else.

The title, the legend and the remarks are in the picture. vl-convert draws it without a browser and
without a network, always in the same way.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from gpubench.report.charts.chart import Chart, ChartSet, Json
from gpubench.report.charts.theme import config
from gpubench.report.escape import terminal

# The version of Vega-Lite in which the specifications are written: that of Altair.
VEGA_LITE = "6.4"

_FILE_FONT = "Liberation Sans"  # comes with vl-convert, so each machine draws the same
_LINE_LENGTH = 105  # characters of a remark in one line
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
    parameters: dict[str, Json] = {}
    pictures: list[Json] = []
    for each in drawn:
        spec, own = _without_parameters(each.spec)
        parameters |= own
        pictures.append(_standing_alone(each, spec))
    return {
        "$schema": f"https://vega.github.io/schema/vega-lite/v{VEGA_LITE.split('.')[0]}.json",
        "config": config(font=_FILE_FONT),
        "padding": 12,
        "params": list(parameters.values()),
        "datasets": {name: charts.tables[name] for name in charts.tables if name in tables},
        "vconcat": pictures,
        "spacing": 40,
        "resolve": {"scale": dict.fromkeys(("stroke", "fill", "shape", "color"), "independent")},
    }


def _without_parameters(
    spec: Mapping[str, Json],
) -> tuple[dict[str, Json], dict[str, Json]]:
    """The specification without what only the outermost may have, and its parameters by name."""
    parameters = spec.get("params", [])
    assert isinstance(parameters, Sequence)
    by_name: dict[str, Json] = {}
    for each in parameters:
        assert isinstance(each, Mapping)
        by_name[str(each["name"])] = each
    left_out = {"$schema", "config", "params"}
    return {key: value for key, value in spec.items() if key not in left_out}, by_name


def _standing_alone(chart: Chart, spec: dict[str, Json]) -> dict[str, Json]:
    """The chart between its title and its remarks."""
    remarks = [line for remark in chart.remarks for line in _lines(terminal(remark))]
    titled = {**spec, "title": terminal(chart.title)}
    if not remarks:
        return titled
    return {
        "vconcat": [titled],
        "title": {
            "text": remarks,
            "orient": "bottom",
            "anchor": "start",
            "fontSize": 10,
            "fontWeight": "normal",
            "lineHeight": 14,
        },
    }


def _lines(remark: str) -> Iterator[str]:
    yield from textwrap.wrap(remark, _LINE_LENGTH)
