"""How charts look: colours that work on white and on black, the font, and the two themes."""

from __future__ import annotations

from gpubench.report.charts.chart import Json

# Colours that colour-blind people can distinguish, on a light and on a dark background: those of
# Okabe and Ito (https://jfly.uni-koeln.de/color/) without black and yellow, and a grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
GREY = "#8C8C8C"  # of what is no series: fronts, objectives, other cells
OBJECTIVE = "#E5383B"
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "triangle-right")

# DejaVu Sans and Liberation Sans come with vl-convert and with most Linux systems.
FONT = "system-ui, 'Helvetica Neue', Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"

PANEL_WIDTH, PANEL_HEIGHT = 520, 300  # of a chart with one panel, in pixels
SMALL_WIDTH, SMALL_HEIGHT = 300, 220  # of each of several panels
LOW = 120  # the height of a picture over time, in pixels
LONGEST_LABEL = 320  # pixels


def config(*, font: str = FONT) -> dict[str, Json]:
    """The Vega-Lite configuration of a chart on a light page. page.css has the dark colours."""
    text, faint, line, background = "#1b1b1b", "#555555", "#e0e0e0", "#ffffff"
    words: dict[str, Json] = {"labelColor": text, "titleColor": text}
    return {
        "font": font,
        "background": background,
        "range": {"category": COLOURS, "symbol": SHAPES},
        "title": {
            "color": text,
            "subtitleColor": faint,
            "anchor": "start",
            "fontSize": 14,
            "offset": 10,
        },
        "axis": {
            **words,
            "domainColor": faint,
            "tickColor": faint,
            "gridColor": line,
            "titleFontWeight": "normal",
            "titleFontSize": 12,
            "labelFontSize": 11,
            "labelOverlap": True,
            "labelLimit": LONGEST_LABEL,
        },
        "header": {**words, "labelFontSize": 12, "titleFontSize": 12, "labelLimit": LONGEST_LABEL},
        "legend": {
            **words,
            "orient": "bottom",
            "columns": 2,
            "titleFontWeight": "normal",
            "labelFontSize": 11,
            "labelLimit": LONGEST_LABEL,
            "symbolSize": 80,
            "symbolOpacity": 1,
            "symbolLimit": 40,
        },
        "view": {"stroke": line},
        "style": {"wrong": {"stroke": text}},  # the cross of wrong answers
        "text": {"color": text},
        "point": {"strokeWidth": 1.6},
        "concat": {"spacing": 24},
        "facet": {"spacing": 24},
    }
