"""Charts as files of `gpubench report --plots FOLDER`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from gpubench.cli.output import emit

if TYPE_CHECKING:
    from gpubench.report.charts.chart import ChartSet


def write_charts(charts: ChartSet, folder: Path, form: str) -> list[tuple[str, Path]]:
    """Write each chart as a file into the folder. Returns their titles and files."""
    from gpubench.report.charts import files

    draw = files.svg if form == "svg" else files.png
    written = []
    for chart in charts.charts:
        path = folder / f"{chart.name}.{form}"
        emit(draw(charts, chart), path)
        written.append((chart.title, path))
    return written


def links(written: Sequence[tuple[str, Path]], output: Path | None) -> str:
    """The pictures in Markdown, relative to the file in which the text will be."""
    from gpubench.report import escape

    start = Path.cwd() if output is None else output.parent
    return "".join(
        f"\n![{escape.markdown(title)}]({quote(os.path.relpath(path, start))})\n"
        for title, path in written
    )
