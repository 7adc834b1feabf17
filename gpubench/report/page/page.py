"""The HTML page: one file, which makes no request. docs/page.md says what is on it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from gpubench.report.charts.chart import ChartSet, Json
from gpubench.report.charts.theme import config
from gpubench.report.escape import terminal
from gpubench.report.page.advice import AdviceSteps
from gpubench.report.page.vega import vega_script
from gpubench.report.table import Table

if TYPE_CHECKING:
    from jinja2 import Template

NO_CHARTS = ChartSet((), {})
_MOST_CHARTS = 6


def page(
    title: str,
    tables: Sequence[Table] = (),
    *,
    facts: Sequence[str] = (),
    answers: AdviceSteps | None = None,
    said: Sequence[str] = (),
    charts: ChartSet = NO_CHARTS,
    cell_tables: int = 0,
    remarks: Sequence[str] = (),
) -> str:
    """The whole document. Every part may be absent.

    `facts` are in one line below the title. `answers` have a slider if there are several steps;
    `said` are sentences below them. The rows of the first `cell_tables` tables are the cells of the
    charts, in the order of their keys. `remarks` are about the whole page. All texts are escaped
    here.
    """
    charts = replace(charts, charts=charts.charts[:_MOST_CHARTS])
    data: Json = {
        "answers": answers.data() if answers else {},
        "charts": _charts(charts),
        "cell_tables": cell_tables,
    }
    scripts = [*([vega_script()] if charts.charts else []), _file("page.js")]
    return _template().render(
        title=title,
        facts=facts,
        answers=answers,
        said=said,
        charts=charts,
        tables=tables,
        remarks=list(remarks),
        style=_file("page.css"),
        data=_embedded(data),
        scripts=scripts,
        hashes=[_hash(script) for script in scripts],
    )


def _charts(charts: ChartSet) -> Json:
    """What the script needs to draw them."""
    return {
        "config": config(),
        "tables": charts.tables,
        "charts": [
            {"spec": each.spec, "data": each.data, "parameters": each.parameters}
            for each in charts.charts
        ],
    }


def _embedded(data: Json) -> str:
    """JSON that ends no element, whatever its texts are, and whose texts hide nothing."""
    text = json.dumps(_visible(data), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _visible(data: Json) -> Json:
    if isinstance(data, str):
        return terminal(data)
    if isinstance(data, Mapping):
        return {terminal(name): _visible(value) for name, value in data.items()}
    if isinstance(data, Sequence):
        return [_visible(value) for value in data]
    return data


def _hash(script: str) -> str:
    """As a content security policy names a script that may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@lru_cache
def _file(name: str) -> str:
    return files("gpubench.report.page").joinpath(name).read_text(encoding="utf-8")


@lru_cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: terminal(value) if type(value) is str else value,
    )
    return environment.from_string(_file("page.html"))
