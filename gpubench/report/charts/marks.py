"""What several charts are made of: points, intervals, fronts, the objective, and panels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
class AxisFigure:
    """A figure of the rows, for an axis."""

    name: str  # its field; the ends of its interval are NAME_low and NAME_high
    title: str
    is_log: bool = False
    begins_at_zero: bool = True  # False: its axis shows only the range of the figures
    ticks: tuple[float, ...] = ()  # empty: where they are convenient


def figure(name: str, title: str, rows: Sequence[Row]) -> AxisFigure:
    """The figure with a scale that shows all of `rows`."""
    values = [v for row in rows for v in (row[name], row.get(f"{name}_low")) if _is_number(v)]
    return AxisFigure(name, title, is_wide([v for v in values if isinstance(v, float | int)]))


def _is_number(value: object) -> bool:
    return isinstance(value, float | int)


def scale(of: AxisFigure) -> alt.Scale:
    if of.is_log:
        return alt.Scale(type="log", nice=False, padding=12)
    return alt.Scale(zero=of.begins_at_zero, padding=0 if of.begins_at_zero else 12)


def x(of: AxisFigure, field: str | None = None) -> alt.X:
    return alt.X(f"{field or of.name}:Q", title=of.title, scale=scale(of), axis=_axis(of))


def y(of: AxisFigure, field: str | None = None) -> alt.Y:
    return alt.Y(f"{field or of.name}:Q", title=of.title, scale=scale(of), axis=_axis(of))


def _axis(of: AxisFigure) -> alt.Axis:
    if of.ticks:
        return alt.Axis(values=list(of.ticks), format=",~r")
    return alt.Axis(format=",~r") if of.is_log else alt.Axis(tickCount=6)


@dataclass(frozen=True)
class Look:
    """What colours and shapes mean in a chart, and which colours its reader has chosen."""

    colour: str | None  # the title of the legend; None: one colour
    shape: str | None
    shapes: Sequence[str]  # the values of the field `shape` that have a name
    colours: Mapping[str, str]  # by the value of the field `colour`
    shown: alt.Parameter  # a click on the legend chooses a colour; with shift, several
    size: int = 60  # of points, in square pixels


def look(chart: str, titles: tuple[str | None, str | None], rows: Sequence[Row]) -> Look:
    """`titles` are those of colours and shapes."""
    shown = alt.selection_point(name=f"shown_in_{chart}", fields=["colour"], bind="legend")
    shapes = [name for row in rows if (name := str(row.get("shape", "")))]
    size = 60 if len(rows) <= 100 else 30
    return Look(*titles, list(dict.fromkeys(shapes)), _palette(rows), shown, size)


def _palette(rows: Sequence[Row]) -> dict[str, str]:
    """A colour for each name. If there are too few, at least names of one panel differ if possible.

    The order is that of the rows. So a name has the same colour in several charts of these rows.
    """
    panels: dict[str, set[str]] = {}  # of each name
    for row in rows:
        panels.setdefault(str(row["colour"]), set()).add(str(row["panel"]))
    chosen: dict[str, str] = {}
    for name, own in panels.items():
        has_enough = len(panels) <= len(COLOURS)
        taken = {chosen[other] for other in chosen if has_enough or panels[other] & own}
        free = [colour for colour in COLOURS if colour not in taken]
        chosen[name] = free[0] if free else COLOURS[len(chosen) % len(COLOURS)]
    return chosen


def specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """What Vega-Lite gets. Tests validate it; here that would take longer than all the rest.

    Of the results, a specification contains only lists of names.
    """
    spec: dict[str, Any] = chart.to_dict(validate=False)
    return spec


# A layer never filters rows away: Vega warns about an axis of a layer that has no row in a panel.
# What is absent has a length of 0, or is not visible.


def colour(look: Look) -> alt.Stroke | alt.StrokeValue:
    """The colour of lines, and of the outline of points."""
    if look.colour is None:
        return alt.StrokeValue(COLOURS[0])
    return alt.Stroke(
        "colour:N", title=look.colour, scale=_colour_scale(look), legend=_colour_legend(look)
    )


def _fill(look: Look) -> alt.Fill | alt.FillValue:
    """The same colour inside points. Vega merges both legends, because they are the same."""
    if look.colour is None:
        return alt.FillValue(COLOURS[0])
    return alt.Fill(
        "colour:N", title=look.colour, scale=_colour_scale(look), legend=_colour_legend(look)
    )


def _colour_legend(look: Look) -> alt.Legend:
    """The only series of a panel has no name, and no entry."""
    return alt.Legend(values=[name for name in look.colours if name])


def _colour_scale(look: Look) -> alt.Scale:
    return alt.Scale(domain=list(look.colours), range=list(look.colours.values()))


def dimmed(shown: alt.Parameter, opacity: float = 1.0) -> Any:
    """Full opacity for what the legend has chosen. Altair's type of a condition is private."""
    return alt.when(shown).then(alt.value(opacity)).otherwise(alt.value(_DIMMED))


def encoded(chart: alt.Chart, **channels: Any) -> alt.Chart:
    """`chart.encode`, which has a type of its result here."""
    made: alt.Chart = chart.encode(**channels)
    return made


def intervals(
    base: alt.Chart,
    of: AxisFigure,
    other: AxisFigure,
    look: Look,
    along: Literal["x", "y"],
) -> alt.Chart:
    """The 95% intervals of one figure as bars."""
    value, low, high = of.name, f"{of.name}_low", f"{of.name}_high"
    bars = base.transform_calculate(
        bar_low=f"isValid(datum.{low}) ? datum.{low} : datum.{value}",
        bar_high=f"isValid(datum.{high}) ? datum.{high} : datum.{value}",
    )
    if along == "x":
        at = {"x": x(of, "bar_low"), "x2": "bar_high", "y": y(other)}
    else:
        at = {"y": y(of, "bar_low"), "y2": "bar_high", "x": x(other)}
    return encoded(
        bars.mark_rule(strokeWidth=1.2),
        **at,
        stroke=colour(look),
        opacity=dimmed(look.shown, 0.7),
    )


def points(
    base: alt.Chart,
    x_of: AxisFigure,
    y_of: AxisFigure,
    look: Look,
    tooltip: Sequence[alt.Tooltip],
    *,
    has_legend: bool = True,
) -> alt.Chart:
    """One point for each row; hollow if it is suspect. One picture of a chart has the legend."""
    shape = {}
    if look.shape is not None:
        # In panels where the colour says everything, the shape has no name and no entry.
        symbols = alt.Legend(values=[*look.shapes], symbolFillColor=GREY, symbolStrokeColor=GREY)
        shape["shape"] = alt.Shape("shape:N", sort=None, title=look.shape, legend=symbols)
    drawn = encoded(
        base.mark_point(size=look.size),
        x=x(x_of),
        y=y(y_of),
        stroke=colour(look),
        fill=_fill(look),
        fillOpacity=alt.when("datum.suspect").then(alt.value(0)).otherwise(alt.value(1)),
        opacity=dimmed(look.shown),
        tooltip=tooltip,
        **shape,
    )
    if not has_legend:
        return drawn
    return drawn.add_params(look.shown).properties(name=f"{look.shown.name}_points")


def lines(base: alt.Chart, x_of: AxisFigure, y_of: AxisFigure, look: Look) -> alt.Chart:
    """The points with the same settings, joined in the order of the setting on the x-axis."""
    return encoded(
        base.mark_line(strokeWidth=1.2),
        x=x(x_of),
        y=y(y_of),
        stroke=colour(look),
        detail=alt.Detail("line:N"),
        order=alt.Order("x:Q"),
        opacity=dimmed(look.shown, 0.6),
    )


def repeats(
    base: alt.Chart,
    x_of: AxisFigure,
    y_of: AxisFigure,
    look: Look,
    fields: tuple[str, str],
    rows: Sequence[Row],
) -> list[alt.Chart]:
    """A small point for each repeat of a cell that has several; `fields` are those of x and y."""
    lists: list[Any] = [field for field in fields if field.startswith("repeats_")]
    if not any(row[lists[0]] for row in rows):
        return []
    values = dict(zip(fields, (x_of.name, y_of.name), strict=True))
    repeated = base.transform_calculate(
        has_repeats=f"isValid(datum.{lists[0]})",
        **{
            each: f"isValid(datum.{each}) ? datum.{each} : [datum.{values[each]}]" for each in lists
        },
    ).transform_flatten(lists)
    return [
        encoded(
            repeated.mark_point(size=6),
            x=x(x_of, fields[0]),
            y=y(y_of, fields[1]),
            stroke=colour(look),
            opacity=alt.when("datum.has_repeats").then(alt.value(0.5)).otherwise(alt.value(0)),
        )
    ]


def crosses(
    base: alt.Chart, x_of: AxisFigure, y_of: AxisFigure, tooltip: Sequence[alt.Tooltip]
) -> alt.Chart:
    """A cross over each point with wrong answers."""
    return encoded(
        base.mark_point(shape=_CROSS, size=90, strokeWidth=2, filled=False, style="wrong"),
        x=x(x_of),
        y=y(y_of),
        opacity=alt.when("datum.wrong").then(alt.value(1)).otherwise(alt.value(0)),
        tooltip=tooltip,
    )


def front(base: alt.Chart, x_of: AxisFigure, y_of: AxisFigure) -> alt.Chart:
    """The line through the points that no other point beats."""
    return encoded(
        base.transform_filter("datum.front").mark_line(strokeWidth=5, opacity=0.35),
        x=x(x_of),
        y=y(y_of),
        stroke=alt.value(GREY),
        order=alt.Order(f"{x_of.name}:Q"),
    )


def objective(base: alt.Chart, of: AxisFigure, along: Literal["x", "y"]) -> alt.Chart:
    """The limit of the latency, as a line across each panel. Nobody sees it without an objective.

    The line is then at a point: Vega warns about an axis with a field that is always absent.
    """
    # The row named `first` exists once in each panel.
    once = base.transform_filter("datum.first").transform_calculate(
        objective=f"isValid({OBJECTIVE_MS}) ? {OBJECTIVE_MS} : datum.{of.name}"
    )
    at = {"y": y(of, "objective")} if along == "y" else {"x": x(of, "objective")}
    return encoded(
        once.mark_rule(strokeDash=[6, 4], strokeWidth=1.5),
        **at,
        stroke=alt.value(OBJECTIVE),
        opacity=if_there_is_an_objective(),
        tooltip=[alt.Tooltip("objective:Q", title="objective (ms)", format=_FIGURE)],
    )


def if_there_is_an_objective() -> Any:
    return alt.when(f"isValid({OBJECTIVE_MS})").then(alt.value(1)).otherwise(alt.value(0))


def objective_parameter(objective_ms: float | None = None) -> alt.Parameter:
    return alt.param(name=OBJECTIVE_MS, value=objective_ms)


def labels(base: alt.Chart, x_of: AxisFigure, y_of: AxisFigure, field: str) -> alt.Chart:
    """A number or a word beside each point."""
    text = f"isNumber(datum.{field}) ? format(datum.{field}, ',~r') : datum.{field} || ''"
    return encoded(
        base.transform_calculate(label=text).mark_text(align="left", dx=7, dy=-7, fontSize=10),
        x=x(x_of),
        y=y(y_of),
        text=alt.Text("label:N"),
    )


def has_room_for_labels(rows: Sequence[Row]) -> bool:
    counts: dict[Json, int] = {}
    for row in rows:
        counts[str(row["panel"])] = counts.get(str(row["panel"]), 0) + 1
    return max(counts.values(), default=0) <= _MOST_LABELS


def cell_tooltip(x_title: str | None) -> list[alt.Tooltip]:
    """All figures of a cell."""
    numbers = {
        **({"x": x_title} if x_title else {}),
        "throughput": "throughput /s",
        "throughput_low": "throughput /s, at least (95%)",
        "throughput_high": "throughput /s, at most (95%)",
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
    layers: Sequence[alt.Chart],
    data: str,
    rows: Sequence[Row],
    transform: Sequence[Any] = (),
    height: alt.Step | int | None = None,
) -> alt.LayerChart | alt.FacetChart:
    """The layers in one panel, or in one for each value of `panel`, each with its own scales.

    `transform` is applied to the rows before they are divided among the panels. `height` is that
    of a panel, or of each row of a panel with bars.
    """
    names = {str(row["panel"]) for row in rows}
    before = {"transform": list(transform)} if transform else {}
    if len(names) < 2:
        one = alt.layer(*layers, data=alt.NamedData(data))
        return one.properties(width=PANEL_WIDTH, height=height or PANEL_HEIGHT, **before)
    # A model without a figure has rows, but no mark: it gets no empty panel.
    drawn = alt.FieldOneOfPredicate(field="panel", oneOf=sorted(names))
    before = {"transform": [*transform, alt.FilterTransform(drawn)]}
    # The layers have no data of their own: with them, each panel would have all rows.
    panel = alt.layer(*layers).properties(width=SMALL_WIDTH, height=height or SMALL_HEIGHT)
    header = alt.Header(labelAnchor="start")
    chart = panel.facet(
        facet=alt.Facet("panel:N", title=None, sort=None, header=header),
        columns=2,
        data=alt.NamedData(data),
    )
    resolved: alt.FacetChart = chart.properties(**before).resolve_scale(
        x="independent", y="independent"
    )
    return resolved


def bars_height(rows: Sequence[Row], name: str, step: int, most: int = 1000) -> alt.Step | int:
    """The height of panels with a row for each value of a field, which are `step` pixels apart.

    Several panels have the height of the largest one: with a step, Vega-Lite warns about layers.
    """
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(str(row["panel"]), set()).add(str(row[name]))
    return alt.Step(step) if len(found) == 1 else step * min(most, max(map(len, found.values())))


def stacked(charts: Sequence[Mapping[str, Json]], **outside: Json) -> dict[str, Json]:
    """Specifications as one, one below the other. Parameters are named once, outside of them."""
    parameters: dict[Json, Json] = {}
    inner: list[Json] = []
    for spec in charts:
        own = spec.get("params", ())
        assert isinstance(own, Sequence)
        for each in own:
            assert isinstance(each, Mapping)
            parameters[str(each["name"])] = each
        inner.append({k: v for k, v in spec.items() if k not in {"$schema", "config", "params"}})
    return {"params": list(parameters.values()), "vconcat": inner, **outside}
