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
class Figure:
    """A figure of the rows, for an axis."""

    name: str  # its field; the ends of its interval are NAME_low and NAME_high
    title: str
    is_log: bool = False
    begins_at_zero: bool = True  # False: its axis shows only the range of the figures
    ticks: tuple[float, ...] = ()  # empty: where they are convenient


def figure(name: str, title: str, rows: Sequence[Row]) -> Figure:
    """The figure with a scale that shows all of `rows`."""
    values = [v for row in rows for v in (row[name], row.get(f"{name}_low")) if _is_number(v)]
    return Figure(name, title, is_wide([v for v in values if isinstance(v, float | int)]))


def _is_number(value: object) -> bool:
    return isinstance(value, float | int)


def scale(of: Figure) -> alt.Scale:
    if of.is_log:
        return alt.Scale(type="log", nice=False, padding=12)
    return alt.Scale(zero=of.begins_at_zero, padding=0 if of.begins_at_zero else 12)


def x(of: Figure, field: str | None = None) -> alt.X:
    return alt.X(f"{field or of.name}:Q", title=of.title, scale=scale(of), axis=_axis(of))


def y(of: Figure, field: str | None = None) -> alt.Y:
    return alt.Y(f"{field or of.name}:Q", title=of.title, scale=scale(of), axis=_axis(of))


def _axis(of: Figure) -> alt.Axis:
    if of.ticks:
        return alt.Axis(values=list(of.ticks), format=",~r")
    return alt.Axis(format=",~r") if of.is_log else alt.Axis(tickCount=6)


@dataclass(frozen=True)
class Look:
    """What colours and shapes mean in a chart, and which colours its reader has chosen."""

    colour: str | None  # the title of the legend; None: one colour
    shape: str | None
    colours: Mapping[str, str]  # by the value of the field `colour`
    shown: alt.Parameter  # a click on the legend chooses a colour; with shift, several
    size: int = 60  # of points, in square pixels


def look(chart: str, titles: tuple[str | None, str | None], rows: Sequence[Row]) -> Look:
    """`titles` are those of colours and shapes."""
    shown = alt.selection_point(name=f"shown_in_{chart}", fields=["colour"], bind="legend")
    return Look(*titles, _palette(rows), shown, 60 if len(rows) <= 100 else 30)


def _palette(rows: Sequence[Row]) -> dict[str, str]:
    """A colour for each name, so that names of one panel have different ones if possible.

    The order is that of the rows. So a name has the same colour in several charts of these rows.
    """
    panels: dict[str, set[str]] = {}  # of each name
    for row in rows:
        panels.setdefault(str(row["colour"]), set()).add(str(row["panel"]))
    chosen: dict[str, str] = {}
    for name, own in panels.items():
        taken = {chosen[other] for other in chosen if panels[other] & own}
        free = [colour for colour in COLOURS if colour not in taken]
        chosen[name] = free[0] if free else COLOURS[len(chosen) % len(COLOURS)]
    return chosen


def colour(look: Look) -> alt.Color | alt.ColorValue:
    if look.colour is None:
        return alt.ColorValue(COLOURS[0])
    scale = alt.Scale(domain=list(look.colours), range=list(look.colours.values()))
    return alt.Color("colour:N", title=look.colour, scale=scale)


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
        color=colour(look),
        opacity=dimmed(look.shown, 0.7),
    )


def points(
    base: alt.Chart,
    x_of: Figure,
    y_of: Figure,
    look: Look,
    tooltip: Sequence[alt.Tooltip],
    *,
    has_legend: bool = True,
) -> list[alt.Chart]:
    """One point for each row; hollow if it is suspect. One picture of a chart has the legend."""
    shape = {}
    if look.shape is not None:
        shape["shape"] = alt.Shape("shape:N", sort=None, title=look.shape)
    complete = base.transform_filter(f"isValid(datum.{x_of.name}) && isValid(datum.{y_of.name})")
    channels: dict[str, Any] = {
        **{"x": x(x_of), "y": y(y_of), "color": colour(look), "opacity": dimmed(look.shown)},
        **{"tooltip": tooltip, **shape},
    }
    hollow = complete.transform_filter("datum.suspect").mark_point(size=look.size, filled=False)
    full = complete.transform_filter("!datum.suspect").mark_point(size=look.size, filled=True)
    drawn = encoded(full, **channels)
    if has_legend:
        drawn = drawn.add_params(look.shown).properties(name=f"{look.shown.name}_points")
    return [encoded(hollow, **channels), drawn]


def lines(base: alt.Chart, x_of: Figure, y_of: Figure, look: Look) -> alt.Chart:
    """The points with the same settings, joined in the order of the setting on the x-axis."""
    return encoded(
        base.mark_line(strokeWidth=1.2),
        x=x(x_of),
        y=y(y_of),
        color=colour(look),
        detail=alt.Detail("line:N"),
        order=alt.Order("x:Q"),
        opacity=dimmed(look.shown, 0.6),
    )


def repeats(
    base: alt.Chart, x_of: Figure, y_of: Figure, look: Look, x_field: str, y_field: str
) -> alt.Chart:
    """A small point for each repeat of a cell that has several."""
    lists: list[Any] = [field for field in (x_field, y_field) if field.startswith("repeats_")]
    repeated = base.transform_filter(f"isValid(datum.{lists[0]})").transform_flatten(lists)
    return encoded(
        repeated.mark_point(size=8, filled=True),
        x=x(x_of, x_field),
        y=y(y_of, y_field),
        color=colour(look),
        opacity=dimmed(look.shown, 0.5),
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
    layers: Sequence[alt.Chart],
    data: str,
    rows: Sequence[Row],
    transform: Sequence[Any] = (),
    height: alt.Step | int | None = None,
) -> alt.LayerChart | alt.FacetChart:
    """The layers in one panel, or in one for each value of `panel`, each with its own scales.

    `transform` is applied to the rows before they are divided among the panels. `height` is that
    of each row of a panel with bars.
    """
    names = {str(row["panel"]) for row in rows}
    before = {"transform": list(transform)} if transform else {}
    if len(names) < 2:
        one = alt.layer(*layers, data=alt.NamedData(data))
        return one.properties(width=PANEL_WIDTH, height=height or PANEL_HEIGHT, **before)
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
