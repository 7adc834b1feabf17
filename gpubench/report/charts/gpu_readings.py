"""The clock and the power of the GPUs of one chosen cell over time, where they were measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeGuard

import altair as alt

from gpubench.report.charts import marks
from gpubench.report.charts.cells import Panel, rounded
from gpubench.report.charts.chart import Json, Row
from gpubench.report.charts.request_rows import typical
from gpubench.report.charts.theme import LOW, PANEL_WIDTH
from gpubench.report.escape import terminal
from gpubench.results.result import GpuReadings
from gpubench.statistics.gpus import MOST_READINGS, evenly_chosen

_ALL = 6000  # readings of all GPUs of all cells together
_FEWEST = 4  # of each GPU


# The fields of the rows, and the titles of their axes.
_FIGURES = {"mhz": "SM clock (MHz)", "watts": "power (W)"}


def reading_rows(panels: Sequence[Panel], requests: Sequence[Row]) -> list[Row]:
    """The rows of the table "readings": one for each GPU of each cell in the table "requests".

    They are those of the same repeat. A cell without readings has one row without a figure. If no
    cell has readings, there are no rows.
    """
    keys = {row["key"] for row in requests}
    cells = {cell.key: typical(cell) for panel in panels for cell in panel.cells}
    gpus = {
        key: [(gpu.device, gpu.readings) for gpu in result.device.gpus if _is_known(gpu.readings)]
        for key, result in cells.items()
        if key in keys and result.device
    }
    count = sum(map(len, gpus.values()))
    if not count:
        return []
    most = min(MOST_READINGS, max(_FEWEST, _ALL // count))
    absent: Row = {"gpu": "not measured", "s": [0.0], "mhz": [None], "watts": [None]}
    return [
        {"key": key, **row}
        for key in cells
        if key in keys
        for row in [_row(*gpu, most) for gpu in gpus.get(key, ())] or [absent]
    ]


def _is_known(readings: GpuReadings | None) -> TypeGuard[GpuReadings]:
    return readings is not None and any(
        value is not None for value in (*readings.sm_clock_mhz, *readings.power_w)
    )


def _row(device: str, readings: GpuReadings, most: int) -> Row:
    chosen = evenly_chosen(range(len(readings.seconds)), most)

    def values(of: Sequence[float | None]) -> list[Json]:
        return [rounded(of[index]) for index in chosen]

    return {
        "gpu": terminal(device),
        "s": values(readings.seconds),
        "mhz": values(readings.sm_clock_mhz),
        "watts": values(readings.power_w),
    }


def readings_pictures(rows: Sequence[Row]) -> Iterator[alt.Chart]:
    """A picture for each figure that some cell has, with a line for each GPU."""
    for field, title in _FIGURES.items():
        lists = [row[field] for row in rows]
        if any(v is not None for values in lists if isinstance(values, list) for v in values):
            yield _picture(field, title)


def readings_remarks(rows: Sequence[Row]) -> Iterator[str]:
    if rows:
        yield (
            "Each point of a GPU is a single reading, so what happened between two points is not "
            "visible. If a panel has no line, its figure was not measured in this cell."
        )


def _picture(field: str, title: str) -> alt.Chart:
    # Vega warns about an axis without any value. So an absent one is at 0, where nobody sees it,
    # and a screen reader calls it absent.
    value = f"datum.{field}"
    chosen = (
        alt.Chart(alt.NamedData("readings"))
        .transform_filter(f"datum.key === {marks.CELL}")
        .transform_flatten(["s", *_FIGURES])
        .transform_calculate(
            known=f"isValid({value})",
            value=f"isValid({value}) ? {value} : 0",
            words=f"isValid({value})"
            f" ? datum.gpu + ', ' + datum.s + ' s, {title}: ' + {value}"
            " : 'not measured'",
        )
    )
    return marks.encoded(
        chosen.mark_line(strokeWidth=1.5, point={"size": 14, "filled": True}),
        x=alt.X("s:Q", title="time in the window (s)", scale=alt.Scale(zero=True, nice=False)),
        y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=True)),
        color=alt.Color("gpu:N", title="GPU"),
        detail=alt.Detail("known:N"),
        order=alt.Order("s:Q"),
        opacity=alt.when("datum.known").then(alt.value(1)).otherwise(alt.value(0)),
        description=alt.Description("words:N"),
        tooltip=[
            alt.Tooltip("gpu:N", title="GPU"),
            alt.Tooltip("s:Q", title="s", format=",.4~r"),
            alt.Tooltip(f"{field}:Q", title=title, format=",.4~r"),
        ],
    ).properties(width=PANEL_WIDTH, height=LOW)
