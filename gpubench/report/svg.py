"""Plots as SVG. Only this file imports matplotlib, and only when a plot is drawn."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from typing import TYPE_CHECKING, Any, Literal

from gpubench.report import escape
from gpubench.report.plots import Axis, Plot, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation

# Okabe and Ito's colours, which colour-blind people can distinguish
# (https://jfly.uni-koeln.de/color), without yellow, which is too faint on white. The lines also
# differ in the shapes of their points.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")
_SHAPES = ("o", "s", "^", "D", "v", "p", "h")
_Dash = Literal["-", "--", ":", "-."]
_DASHES: tuple[_Dash, ...] = ("-", "--", ":", "-.")  # for more lines than there are colours
_FAINT = "#59636e"
_PALE = 0.22  # opacity
_REPEAT_OPACITY = 0.45
_RIGHT_PART = 0.8  # of the width of a plot

_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e6e9",
    "svg.fonttype": "none",  # screen readers can read the text, and people can search it
    "text.parse_math": False,  # a dollar sign is not the start of a formula
}

_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))

# Inches.
_WIDTH, _PLOT_HEIGHT, _ROW_HEIGHT = 7.0, 3.1, 0.3
_TOP, _RIGHT, _LEFT, _X_AXIS = 0.23, 0.25, 0.85, 0.55
_TITLE_LINE, _LEGEND_LINE, _REMARK_LINE, _CHARACTER = 0.19, 0.195, 0.145, 0.077
# Characters in a line.
_TITLE_WIDTH, _LEGEND_WIDTH, _REMARK_WIDTH, _NAME_WIDTH = 66, 90, 124, 36


def draw(plot: Plot) -> str:
    """An SVG document. The same plot always gives the same text."""
    from matplotlib import style

    with style.context(_STYLE | {"svg.hashsalt": plot.name}, after_reset=True):
        out = StringIO()
        figure(plot).savefig(out, format="svg", metadata=_NO_METADATA)
    return out.getvalue()


def element(document: str, name: str) -> str:
    """The <svg> element of a document. Its ids begin with `name`, so a page can have several."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    return re.sub(r"url\(#", f"url(#{name}-", svg)


def figure(plot: Plot) -> Figure:
    """The drawing, in the current style."""
    from matplotlib.figure import Figure

    plot = _with_harmless_texts(plot)
    title = textwrap.wrap(plot.title, _TITLE_WIDTH)
    legend = [(handle, textwrap.fill(text, _LEGEND_WIDTH)) for handle, text in _legend(plot)]
    columns = 2 if all(len(text) <= 42 for _, text in legend) else 1
    legend_lines = sum(text.count("\n") + 1 for _, text in legend)
    remarks = [line for r in plot.remarks for line in textwrap.wrap(r, _REMARK_WIDTH)]
    names = [textwrap.fill(line.name, _NAME_WIDTH) for line in plot.lines]
    top = _TOP + _TITLE_LINE * len(title)
    height = _PLOT_HEIGHT if plot.x else _rows_height(names)
    left = _LEFT if plot.x else max(_LEFT, _CHARACTER * _longest(names) + 0.25)
    legend_height = _LEGEND_LINE * math.ceil(legend_lines / columns) + 0.1 if legend else 0
    remarks_height = _REMARK_LINE * len(remarks) + 0.1
    below = _X_AXIS + legend_height + remarks_height
    total = top + height + below

    drawn = Figure(figsize=(_WIDTH, total))
    axes = drawn.add_axes(
        (left / _WIDTH, below / total, (_WIDTH - left - _RIGHT) / _WIDTH, height / total)
    )
    if plot.x:
        _draw_lines(axes, plot, plot.x)
    else:
        _draw_rows(axes, plot, names)
    drawn.text(0.02, 1 - 0.12 / total, "\n".join(title), va="top", fontsize=11, fontweight="bold")
    if legend:
        drawn.legend(
            [handle for handle, _ in legend],
            [text for _, text in legend],
            loc="upper left",
            bbox_to_anchor=(0.01, (legend_height + remarks_height) / total),
            borderaxespad=0,
            ncols=columns,
            frameon=False,
            fontsize=8.5,
        )
    drawn.text(
        0.02,
        remarks_height / total,
        "\n".join(remarks),
        va="top",
        fontsize=7,
        color=_FAINT,
        linespacing=1.4,
    )
    return drawn


def _with_harmless_texts(plot: Plot) -> Plot:
    return replace(
        plot,
        title=escape.terminal(plot.title),
        lines=tuple(replace(line, name=escape.terminal(line.name)) for line in plot.lines),
        remarks=tuple(map(escape.terminal, plot.remarks)),
    )


def _draw_lines(axes: Axes, plot: Plot, x: Axis) -> None:
    first, last = plot.x_values[0], plot.x_values[-1]
    span = math.log2(last / first) or 1 if x.is_stepped else 0
    labels: list[Annotation] = []
    for index, line in enumerate(plot.lines):
        # The bars of different lines at the same x are drawn side by side.
        aside = (index - (len(plot.lines) - 1) / 2) * span * 0.012
        points = [(p, p.x) for p in line.points if p.x is not None]
        places = [math.log2(value) + aside if x.is_stepped else value for _, value in points]
        heights = [point.y for point, _ in points]
        if not plot.is_scatter:
            axes.plot(places, heights, _dash(index), color=_colour(index), linewidth=1.3)
        for place, (point, _) in zip(places, points, strict=True):
            _draw_point(axes, point, place, index)
            if point.x_interval:
                axes.hlines(point.y, *point.x_interval, color=_colour(index), linewidth=1.6)
            label = axes.annotate(
                point.label,
                (place, point.y),
                xytext=(5, 4),
                textcoords="offset points",
                fontsize=7.5,
                color=_colour(index),
            )
            labels.append(label)
    if x.is_stepped:
        ticks = _spread_out(plot.x_values, span)
        axes.set_xticks([math.log2(value) for value in ticks], [f"{value:g}" for value in ticks])
        axes.set_xlim(math.log2(first) - span * 0.08, math.log2(last) + span * 0.08)
    else:
        if x.begins_at_zero:
            axes.set_xlim(0, plot.x_limit * 1.06 or 1)
        else:
            margin = (last - first) * 0.08 or 1
            axes.set_xlim(first - margin, last + margin)
        axes.xaxis.set_major_formatter(_thousands)
    axes.set_ylim(0, plot.y_limit * 1.06 or 1)
    axes.yaxis.set_major_formatter(_thousands)
    axes.set_xlabel(x.title)
    axes.set_ylabel(plot.y.title)
    for label in labels:
        across, _ = axes.transLimits.transform(label.xy)
        if across > _RIGHT_PART:  # to the right of its point it would leave the picture
            label.set_horizontalalignment("right")
            label.xyann = (-5, 4)


def _draw_rows(axes: Axes, plot: Plot, names: Sequence[str]) -> None:
    for index, line in enumerate(plot.lines):
        for point in line.points:
            _draw_point(axes, point, index, style=0, is_row=True)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, plot.y_limit * 1.06 or 1)
    axes.xaxis.set_major_formatter(_thousands)
    axes.set_xlabel(plot.y.title)


def _draw_point(axes: Axes, point: Point, place: float, style: int, is_row: bool = False) -> None:
    """A point and its bars: vertical at x = `place`, or in a row horizontal at y = `place`."""
    x, y = (point.y, place) if is_row else (place, point.y)
    bar = axes.hlines if is_row else axes.vlines
    colour = _colour(style)
    shape = _shape(style if point.shape is None else point.shape)
    if point.spread:
        bar(place, *point.spread, color=colour, alpha=_PALE, linewidth=6)
    if point.interval:
        bar(place, *point.interval, color=colour, linewidth=1.6)
    is_hollow = point.is_suspect or point.has_wrong_answers
    axes.plot(
        x,
        y,
        shape,
        markersize=9 if point.has_wrong_answers else 6,
        markerfacecolor="white" if is_hollow else colour,
        markeredgecolor=colour,
        clip_on=False,
        zorder=3,
    )
    if point.has_wrong_answers:
        axes.plot(x, y, "x", markersize=5, markeredgecolor="black", clip_on=False, zorder=4)
    if point.repeats:
        _draw_repeats(axes, point, place, style, is_row)


def _draw_repeats(axes: Axes, point: Point, place: float, style: int, is_row: bool) -> None:
    """A small point for each repeat. If only y differs, they are beside that of the cell."""
    from matplotlib.transforms import ScaledTranslation

    xs, ys = ([repeat[axis] for repeat in point.repeats] for axis in (0, 1))
    right, up = 0.0, 0.0  # inches
    if is_row:
        xs, ys, up = ys, [place] * len(ys), -0.1
    elif set(xs) == {point.x}:
        xs, right = [place] * len(ys), 0.1
    moved = ScaledTranslation(right, up, axes.figure.dpi_scale_trans)
    axes.plot(
        xs,
        ys,
        "o",
        transform=axes.transData + moved,
        markersize=3.5,
        markerfacecolor=_colour(style),
        markeredgewidth=0,
        alpha=_REPEAT_OPACITY,
        clip_on=False,
        zorder=2.5,
    )


def _legend(plot: Plot) -> list[tuple[Line2D, str]]:
    """The meaning of the lines, bars and shapes of this plot."""
    from matplotlib.lines import Line2D

    legend: list[tuple[Line2D, str]] = []
    if plot.x and len(plot.lines) > 1:
        legend += [
            (_line_handle(plot, i), line.name) for i, line in enumerate(plot.lines) if line.points
        ]
    legend += [
        (Line2D([], [], color=_FAINT, marker=_shape(i), linestyle=""), name)
        for i, name in enumerate(plot.shapes)
    ]
    points = [point for line in plot.lines for point in line.points]
    if any(point.interval or point.x_interval for point in points):
        legend.append((Line2D([], [], color=_FAINT, linewidth=1.6), "bar: 95% interval"))
    if any(point.spread for point in points):
        pale = Line2D([], [], color=_FAINT, alpha=_PALE, linewidth=6)
        legend.append((pale, "pale bar: from P50 to P99"))
    if any(point.repeats for point in points):
        small = Line2D([], [], color=_FAINT, marker="o", markersize=3.5, linestyle="")
        small.set_alpha(_REPEAT_OPACITY)
        legend.append((small, "small points: the repeats"))
    if any(point.is_suspect for point in points):
        hollow = Line2D([], [], color=_FAINT, marker="o", markerfacecolor="white", linestyle="")
        legend.append((hollow, "hollow: suspect, see its verdict"))
    if any(point.has_wrong_answers for point in points):
        legend.append(
            (Line2D([], [], color="black", marker="x", linestyle=""), "crossed: wrong answers")
        )
    return legend


def _line_handle(plot: Plot, index: int) -> Line2D:
    """What stands for a line in the legend: only its colour if shapes have another meaning."""
    from matplotlib.lines import Line2D

    if plot.shapes:
        return Line2D([], [], color=_colour(index), linewidth=6)
    dash = "" if plot.is_scatter else _dash(index)
    return Line2D([], [], color=_colour(index), marker=_shape(index), linestyle=dash)


def _colour(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]


def _shape(index: int) -> str:
    # With more lines than colours, each colour has another shape the second time.
    return _SHAPES[(index + index // len(_COLOURS)) % len(_SHAPES)]


def _dash(index: int) -> _Dash:
    return _DASHES[index // len(_COLOURS) % len(_DASHES)]


def _thousands(value: float, _: object) -> str:
    return f"{value:,.10g}"


def _spread_out(values: Sequence[float], span: float) -> list[float]:
    """Those of the measured values whose ticks do not overlap."""
    kept = [values[0]]
    for value in values[1:]:
        if math.log2(value / kept[-1]) >= span / 20:
            kept.append(value)
    return kept


def _rows_height(names: Sequence[str]) -> float:
    return _ROW_HEIGHT * sum(name.count("\n") + 1 for name in names) + 0.15


def _longest(names: Sequence[str]) -> int:
    return max(len(line) for name in names for line in name.split("\n"))
