"""Charts as files of `gpubench report`: --plots, and --output FILE.svg or FILE.png."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from gpubench.cli.output import emit
from gpubench.errors import InputError

if TYPE_CHECKING:
    from gpubench.report.charts.chart import ChartSet
    from gpubench.report.charts.request_rows import ReadSamples
    from gpubench.results.result import Result
    from gpubench.results.run_directory import RunDirectory


def charts_of(results: Sequence[Result], samples: ReadSamples) -> list[ChartSet]:
    """The charts of the cells, and those of the models side by side."""
    from gpubench.report.charts.result_charts import result_charts
    from gpubench.report.charts.size_charts import size_charts

    return [result_charts(results, samples=samples), size_charts(results)]


def samples_of(run: RunDirectory, cells: Sequence[tuple[str, Result]]) -> ReadSamples:
    """A function that reads the samples of one of the results of `cells` from the run directory."""
    keys = {id(result): key for key, result in cells}
    return lambda result: run.read_samples(keys[id(result)])


def write_charts(sets: Sequence[ChartSet], folder: Path, form: str) -> list[tuple[str, Path]]:
    """Write each chart as a file into the folder. Returns their titles and files."""
    from gpubench.report.charts import files

    draw = files.svg if form == "svg" else files.png
    written = []
    for charts in sets:
        for chart in charts.charts:
            path = folder / f"{chart.name}.{form}"
            emit(draw(charts, chart), path)
            written.append((chart.title, path))
    return written


def one_picture(sets: Sequence[ChartSet], directory: str, form: str) -> str | bytes:
    """All charts, one below the other. Raises InputError if there is none."""
    from gpubench.report.charts import files
    from gpubench.report.charts.chart import together

    picture = together(sets)
    if not picture.charts:
        raise InputError(f"{directory} has nothing to draw. {' '.join(picture.remarks)}")
    return files.svg(picture) if form == "svg" else files.png(picture)


def links(written: Sequence[tuple[str, Path]], output: Path | None) -> str:
    """The pictures in Markdown, relative to the file in which the text will be."""
    from gpubench.report import escape

    start = Path.cwd() if output is None else output.parent
    return "".join(
        f"\n![{escape.markdown(title)}]({quote(os.path.relpath(path, start))})\n"
        for title, path in written
    )
