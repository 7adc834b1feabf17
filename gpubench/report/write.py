"""`gpubench.report`: a file for people or programs, in the format that its name says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpubench.errors import GpubenchError, InputError
from gpubench.files.folder import write_file
from gpubench.report import arrow, csv, html, json, markdown, terminal
from gpubench.report.displayed import document_tables
from gpubench.report.repeats import one_for_each_cell
from gpubench.results.cold_result import ColdResult
from gpubench.results.result import Result
from gpubench.results.search_result import SearchResult

SUFFIXES = (".html", ".md", ".csv", ".json", ".parquet", ".txt")


def write(
    output: str | Path,
    cells: Sequence[tuple[str, Result]],
    searches: Sequence[tuple[str, SearchResult]] = (),
    cold: Sequence[ColdResult] = (),
    *,
    title: str = "Results",
    each_repeat: bool = False,
) -> None:
    """Write a file; `cells` and `searches` are (name, result). CSV and Parquet have only cells.

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
    if suffix in {".csv", ".parquet"} and not cells:
        raise InputError(f"{path}: {suffix} has only cells, and there are none; write .html or .md")
    shown = list(cells) if each_repeat else one_for_each_cell(cells)
    results = [result for _, result in cells]
    tables = document_tables(results, searches, cold, each_repeat=each_repeat)
    match suffix:
        case ".html":
            data = html.page(title, tables).encode()
        case ".md":
            data = markdown.text(tables).encode()
        case ".csv":
            data = csv.text(shown).encode()
        case ".json":
            data = json.text([*(result for _, result in shown), *cold]).encode()
        case ".parquet":
            data = arrow.parquet(shown)
        case _:
            data = terminal.text(tables).encode()
    try:
        write_file(path, data)
    except OSError as error:
        raise GpubenchError(f"{path} cannot be written: {error.strerror}") from error
