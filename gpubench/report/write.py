"""`gpubench.report`: a file for people or programs, in the format that its name says."""

from __future__ import annotations

from pathlib import Path

from gpubench.errors import GpubenchError, InputError
from gpubench.files.folder import write_file
from gpubench.planning.documents import Documents, samples_of
from gpubench.report import arrow, csv, json, markdown, terminal
from gpubench.report.charts import files
from gpubench.report.charts.chart import ChartSet
from gpubench.report.charts.result_charts import result_charts
from gpubench.report.displayed import tables_of
from gpubench.report.page.run_page import run_page
from gpubench.report.repeats import one_for_each_cell
from gpubench.spec.objective import Objective, parse_objective

SUFFIXES = (".html", ".md", ".csv", ".json", ".parquet", ".txt", ".svg", ".png")


def write(
    output: str | Path,
    documents: Documents,
    *,
    title: str | None = None,
    objective: str | Objective | None = None,
    each_repeat: bool = False,
) -> None:
    """Write a file. CSV and Parquet have only cells. `objective` is that of the page's answer.

    Raises InputError for a name that says no format, and GpubenchError if the file cannot be
    written.
    """
    path = Path(output)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        *most, last = SUFFIXES
        raise InputError(
            f"{path}: the name does not say a format; let it end in {', '.join(most)} or {last}"
        )
    if suffix in {".csv", ".parquet"} and not documents.cells:
        raise InputError(f"{path}: {suffix} has only cells, and there are none; write .html or .md")
    limit = parse_objective(objective) if isinstance(objective, str) else objective
    cells = [(place.name, result) for place, result in documents.cells]
    shown = cells if each_repeat else one_for_each_cell(cells)
    tables = tables_of(documents, each_repeat)
    text: str | bytes
    match suffix:
        case ".html":
            text = page_of(documents, title, limit, each_repeat)
        case ".md":
            text = markdown.text(tables)
        case ".csv":
            text = csv.text(shown)
        case ".json":
            cold = [found for _, found in documents.cold]
            text = json.text([*(result for _, result in shown), *cold])
        case ".parquet":
            text = arrow.parquet(shown)
        case ".svg" | ".png":
            drawn = charts_of(documents, limit)
            if not drawn.charts:
                raise InputError(f"{path}: there is no chart to write; {' '.join(drawn.remarks)}")
            text = files.svg(drawn) if suffix == ".svg" else files.png(drawn)
        case _:
            text = terminal.text(tables)
    try:
        write_file(path, text if isinstance(text, bytes) else text.encode())
    except OSError as error:
        raise GpubenchError(f"{path} cannot be written: {error.strerror}") from error


def charts_of(documents: Documents, objective: Objective | None = None) -> ChartSet:
    """The charts of these documents, whose samples are read where they lie."""
    places = {id(result): place for place, result in documents.cells}
    return result_charts(
        [result for _, result in documents.cells],
        samples=lambda result: samples_of(places[id(result)], result),
        objective_ms=objective.latency_s * 1e3 if objective else None,
    )


def page_of(
    documents: Documents,
    title: str | None = None,
    objective: Objective | None = None,
    each_repeat: bool = False,
) -> str:
    """The HTML page of these documents."""
    return run_page(
        title or ", ".join(documents.directories) or "Results",
        documents,
        [*(result for _, result in documents.cells), *(each for _, each in documents.searches)],
        tables_of(documents, each_repeat),
        objective=objective,
        directories=documents.directories,
        charts=charts_of(documents, objective),
    )
