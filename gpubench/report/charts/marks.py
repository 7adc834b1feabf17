"""What several charts are made of: points, intervals, fronts, the objective, and panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt

from gpubench.report.charts.cells import is_wide
from gpubench.report.charts.chart import Json, Row
from gpubench.report.charts.theme import (
    COLOURS,
    GREY,
    OBJECTIVE,
    PANEL_HEIGHT,
    PANEL_WIDTH,
    SMALL_HEIGHT,
    SMALL_WIDTH,
)

OBJECTIVE_MS = "objective_ms"  # the parameter: the limit of the latency; null: none
CELL = "cell"  # the parameter: the key of a cell

_FIGURE = ",.4~r"  # d3: four significant digits, thousands separators
_CROSS = "M-1,-1L1,1M-1,1L1,-1"
_MOST_LABELS = 40  # points of a panel that have a number beside them
_DIMMED = 0.08


@dataclass(frozen=True)
class Figure:
    """A figure of the rows, for an axis."""

    name: str  # its field; the ends of its interval are NAME_low and NAME_high
    title: str
    is_log: bool = False


def figure(name: str, title: str, rows: Sequence[Row]) -> Figure:
    """The figure with a scale that shows all of `rows`."""
    values = [v for row in rows for v in (row[name], row.get(f"{name}_low")) if _is_number(v)]
    return Figure(name, title, is_wide([v for v in values if isinstance(v, float | int)]))


def _is_number(value: object) -> bool:
    return isinstance(value, float | int)


def scale(of: Figure) -> alt.Scale:
    if of.is_log:
        return alt.Scale(type="log", nice=False, padding=12)
    return alt.Scale(zero=True)


def x(of: Figure, field: str | None = None) -> alt.X:
    return alt.X(f"{field or of.name}:Q", title=of.title, scale=scale(of), axis=_axis(of))


def y(of: Figure, field: str | None = None) -> alt.Y:
    return alt.Y(f"{field or of.name}:Q", title=of.title, scale=scale(of), axis=_axis(of))


def _axis(of: Figure) -> alt.Axis:
    return alt.Axis(format=",~r") if of.is_log else alt.Axis(tickCount=6)


def stroke(title: str | None) -> alt.Stroke | alt.StrokeValue:
    """The colour of a line, or of the outline of a point; one colour for all without a title."""
    if title is None:
        return alt.StrokeValue(COLOURS[0])
    return alt.Stroke("colour:N", sort=None, legend=None)


def fill(title: str | None) -> alt.Fill | alt.FillValue:
    """The same colour inside a point. It has the legend."""
    if title is None:
        return alt.FillValue(COLOURS[0])
    return alt.Fill("colour:N", sort=None, title=title)


@dataclass(frozen=True)
class Look:
    """What colours and shapes mean in a chart, and which colours its reader has chosen."""

    colour: str | None  # the title of the legend; None: one colour
    shape: str | None
    shown: alt.Parameter
    size: int = 60  # of points, in square pixels


def look(chart: str, colour: str | None, shape: str | None, rows: int) -> Look:
    return Look(colour, shape, selection(chart), 60 if rows <= 100 else 30)


def selection(chart: str) -> alt.Parameter:
    """The colours that are shown. A click on the legend chooses one; with shift, several."""
    return alt.selection_point(name=f"shown_in_{chart}", fields=["colour"], bind="legend")


def dimmed(shown: alt.Parameter, opacity: float = 1.0) -> Any:
    """Full opacity for what the legend has chosen. Altair's type of a condition is private."""
    return alt.when(shown).then(alt.value(opacity)).otherwise(alt.value(_DIMMED))


def encoded(chart: alt.Chart, **channels: Any) -> alt.Chart:
    """`chart.encode`, which has a type of its result here."""
    made: alt.Chart = chart.encode(**channels)
    return made


def intervals(
    base: alt.Chart,
    of: Figure,
    other: Figure,
    look: Look,
    along: Literal["x", "y"],
) -> alt.Chart:
    """The 95% intervals of one figure as bars."""
    bars = base.transform_filter(f"isValid(datum.{of.name}_low) && isValid(datum.{other.name})")
    if along == "x":
        at = {"x": x(of, f"{of.name}_low"), "x2": f"{of.name}_high", "y": y(other)}
    else:
        at = {"y": y(of, f"{of.name}_low"), "y2": f"{of.name}_high", "x": x(other)}
    return encoded(
        bars.mark_rule(strokeWidth=1.2),
        **at,
        stroke=stroke(look.colour),
        opacity=dimmed(look.shown, 0.7),
    )


def points(
    base: alt.Chart, x_of: Figure, y_of: Figure, look: Look, tooltip: Sequence[alt.Tooltip]
) -> alt.Chart:
    """One point for each row; hollow if it is suspect."""
    shape = {}
    if look.shape is not None:
        shape["shape"] = alt.Shape("shape:N", sort=None, title=look.shape)
    complete = base.transform_filter(f"isValid(datum.{x_of.name}) && isValid(datum.{y_of.name})")
    return encoded(
        complete.mark_point(size=look.size),
        x=x(x_of),
        y=y(y_of),
        stroke=stroke(look.colour),
        fill=fill(look.colour),
        fillOpacity=alt.when("datum.suspect").then(alt.value(0)).otherwise(alt.value(1)),
        opacity=dimmed(look.shown),
        tooltip=tooltip,
        **shape,
    ).add_params(look.shown)


def lines(base: alt.Chart, x_of: Figure, y_of: Figure, look: Look) -> alt.Chart:
    """The points with the same settings, joined in the order of the setting on the x-axis."""
    return encoded(
        base.mark_line(strokeWidth=1.2),
        x=x(x_of),
        y=y(y_of),
        stroke=stroke(look.colour),
        detail=alt.Detail("line:N"),
        order=alt.Order("x:Q"),
        opacity=dimmed(look.shown, 0.6),
    )


def crosses(base: alt.Chart, x_of: Figure, y_of: Figure) -> alt.Chart:
    """A cross over each point with wrong answers."""
    wrong = base.transform_filter("datum.wrong")
    cross = wrong.mark_point(shape=_CROSS, size=90, strokeWidth=2, filled=False, style="wrong")
    return encoded(cross, x=x(x_of), y=y(y_of))


def front(base: alt.Chart, x_of: Figure, y_of: Figure) -> alt.Chart:
    """The line through the points that no other point beats."""
    return encoded(
        base.transform_filter("datum.front").mark_line(strokeWidth=5, opacity=0.35),
        x=x(x_of),
        y=y(y_of),
        stroke=alt.value(GREY),
        order=alt.Order(f"{x_of.name}:Q"),
    )


def objective(base: alt.Chart, of: Figure, along: Literal["x", "y"]) -> alt.Chart:
    """The limit of the latency, as a line across each panel. None without an objective."""
    # The row named `first` exists once in each panel.
    once = base.transform_filter(f"datum.first && isValid({OBJECTIVE_MS})").transform_calculate(
        objective=OBJECTIVE_MS
    )
    at = {"y": y(of, "objective")} if along == "y" else {"x": x(of, "objective")}
    return encoded(
        once.mark_rule(strokeDash=[6, 4], strokeWidth=1.5),
        **at,
        stroke=alt.value(OBJECTIVE),
        tooltip=[alt.Tooltip("objective:Q", title="objective (ms)", format=_FIGURE)],
    )


def objective_parameter(objective_ms: float | None = None) -> alt.Parameter:
    return alt.param(name=OBJECTIVE_MS, value=objective_ms)


def labels(base: alt.Chart, x_of: Figure, y_of: Figure, field: str, kind: str = "Q") -> alt.Chart:
    """A number or a word beside each point."""
    text = alt.Text(f"{field}:{kind}", format=",~g") if kind == "Q" else alt.Text(f"{field}:N")
    named = base.transform_filter(f"isValid(datum.{field}) && datum.{field} !== ''")
    marked = named.mark_text(align="left", dx=7, dy=-7, fontSize=10)
    return encoded(marked, x=x(x_of), y=y(y_of), text=text)


def has_room_for_labels(rows: Sequence[Row]) -> bool:
    counts: dict[Json, int] = {}
    for row in rows:
        counts[str(row["panel"])] = counts.get(str(row["panel"]), 0) + 1
    return max(counts.values(), default=0) <= _MOST_LABELS


def cell_tooltip(x_title: str | None) -> list[alt.Tooltip]:
    """All figures of a cell."""
    numbers = {
        **({"x": x_title} if x_title else {}),
        "throughput": "inferences/s",
        "throughput_low": "inferences/s, at least (95%)",
        "throughput_high": "inferences/s, at most (95%)",
        "p50": "P50 ms",
        "p95": "P95 ms",
        "p95_low": "P95 ms, at least (95%)",
        "p95_high": "P95 ms, at most (95%)",
        "p99": "P99 ms",
        "usd": "$ per million",
    }
    return [
        alt.Tooltip("panel:N", title="model"),
        alt.Tooltip("cell:N", title="cell"),
        *(alt.Tooltip(f"{n}:Q", title=title, format=_FIGURE) for n, title in numbers.items()),
        alt.Tooltip("verdict:N", title="verdict"),
        alt.Tooltip("reasons:N", title="reasons"),
    ]


def in_panels(
    layers: Sequence[alt.Chart], data: str, rows: Sequence[Row], transform: Sequence[Any] = ()
) -> alt.LayerChart | alt.FacetChart:
    """The layers in one panel, or in one for each value of `panel`, each with its own scales.

    `transform` is applied to the rows before they are divided among the panels.
    """
    names = {row["panel"] for row in rows if isinstance(row["panel"], str)}
    before = {"transform": list(transform)} if transform else {}
    if len(names) < 2:
        one = alt.layer(*layers, data=alt.NamedData(data))
        return one.properties(width=PANEL_WIDTH, height=PANEL_HEIGHT, **before)
    # The layers have no data of their own: with them, each panel would have all rows.
    panel = alt.layer(*layers).properties(width=SMALL_WIDTH, height=SMALL_HEIGHT)
    header = alt.Header(labelAnchor="start")
    chart = panel.facet(
        facet=alt.Facet("panel:N", title=None, sort=None, header=header),
        columns=2,
        data=alt.NamedData(data),
    )
    colours = {row["colour"] for row in rows if isinstance(row["colour"], str)}
    own: Literal["independent", "shared"] = (
        "independent" if len(colours) > len(COLOURS) else "shared"
    )
    resolved: alt.FacetChart = chart.properties(**before).resolve_scale(
        x="independent", y="independent", stroke=own, fill=own
    )
    return resolved
