"""`gpubench report`: a run directory as tables and files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpubench.cli.completion import FolderParam
from gpubench.cli.options import (
    FORMATS,
    AskedPrices,
    check_output_file,
    chosen_format,
    format_option,
    make_folder,
    output_option,
    price_options,
)
from gpubench.cli.output import emit, emit_tables, say, warn
from gpubench.cli.sections import Command
from gpubench.errors import InputError

if TYPE_CHECKING:
    from gpubench.planning.documents import Documents

_FORMATS = (*FORMATS, "parquet", "svg", "png")


@click.command("report", cls=Command)
@click.argument("directories", metavar="DIR...", nargs=-1, required=True, type=FolderParam())
@format_option(_FORMATS)
@output_option
@price_options
@click.option(
    "--each-repeat",
    is_flag=True,
    help="One row for each repeat, not one for each cell. Plots show both in any case.",
)
@click.option(
    "--percentiles",
    metavar="P,P,...",
    help="The latency percentiles of the tables, such as 50,95,99.9. Files have the usual ones and "
    "these.  [default: 50,95,99]",
)
@click.option("--title", metavar="TEXT", help="The title of the HTML page.  [default: DIR]")
@click.option(
    "--objective",
    metavar="PERCENTILE:LATENCY",
    help="The latency objective that charts show, and the page at first, for example p95:100ms.  "
    "[default of the page: that of the searches, or one that half of the settings can meet]",
)
@click.option(
    "--plots",
    "plots_folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Also write the charts into this folder, each as a file. Markdown then ends with them.",
)
@click.option(
    "--plots-format",
    type=click.Choice(["svg", "png"]),
    help="The format of the files of --plots.  [default: svg]",
)
@click.option(
    "--trace",
    "trace_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.json[.gz]",
    help="Also write one cell as a trace for Perfetto: its queue, workers and devices over time.",
)
@click.option("--cell", metavar="KEY", help="With --trace: the cell, or how its key begins.")
def command(
    directories: tuple[str, ...],
    format_name: str | None,
    output: Path | None,
    asked: AskedPrices,
    each_repeat: bool,
    percentiles: str | None,
    title: str | None,
    objective: str | None,
    plots_folder: Path | None,
    plots_format: str | None,
    trace_file: Path | None,
    cell: str | None,
) -> None:
    """Show what was measured in DIR: throughput, latency and the price of a million inferences.

    DIR is what run, sweep or search wrote into --output: a folder, or a URL like s3://bucket/run.
    It may also be a JSON file: one of such a folder, or what --json FILE.json wrote. Several of
    them make one report. The repeats of a cell are combined. With --instance, --usd-per-hour or
    --capital-usd the results are priced again; nothing is measured again.

    \b
    Example:
      gpubench report results --instance g5.xlarge,g5.xlarge:spot,g4dn.xlarge
      gpubench report results/g5 results/c7i --output page.html
    """
    from gpubench.cli.chart_files import links, write_charts
    from gpubench.planning.candidates import GivenPrices
    from gpubench.planning.documents import gather
    from gpubench.report.latency import DEFAULT_PERCENTS, parse_percentiles
    from gpubench.report.report import Report
    from gpubench.spec.objective import parse_objective

    form = chosen_format(format_name, output, _FORMATS)
    has_charts = plots_folder is not None or form in {"html", "svg", "png"}
    _check_flags(form, output, has_charts, title, objective, plots_folder, plots_format)
    _check_trace_file(trace_file, cell, directories)
    limit = None if objective is None else parse_objective(objective)
    percents = DEFAULT_PERCENTS if percentiles is None else parse_percentiles(percentiles)

    documents, problems = gather(directories)
    warn(problems)
    if trace_file is not None:
        _write_trace(documents, directories[0], cell, trace_file)
    report = Report(
        documents,
        prices=GivenPrices(asked.instances, asked.usd_per_hour, asked.owned),
        electricity=asked.electricity,
        title=title,
        objective=limit,
        each_repeat=each_repeat,
        percents=percents,
    )
    text = None if form == "terminal" else report.written(form)
    warn(report.problems(form))
    written: list[tuple[str, Path]] = []
    if plots_folder is not None:
        make_folder(plots_folder, "--plots")
        written = write_charts(report.charts, plots_folder, plots_format or "svg")
    if text is None:
        emit_tables(report.tables, output)
    elif isinstance(text, str):
        emit(text + links(written, output) if form == "markdown" else text, output)
    else:
        emit(text, output)
    if has_charts and form != "html":
        warn(dict.fromkeys(report.charts.remarks))


def _check_flags(
    form: str,
    output: Path | None,
    has_charts: bool,
    title: str | None,
    objective: str | None,
    plots_folder: Path | None,
    plots_format: str | None,
) -> None:
    """Raises InputError for flags that do not fit together, before anything is read."""
    if form in {"parquet", "png"} and output is None:
        raise InputError(f"--format {form}: the file is not for a terminal; add --output FILE")
    check_output_file(output)
    if plots_format is not None and plots_folder is None:
        raise InputError("--plots-format is for --plots; add --plots FOLDER")
    if title is not None and form != "html":
        raise InputError("--title is for the page; add --format html, or --output FILE.html")
    if objective is not None and not has_charts:
        raise InputError(
            "--objective is for the page and for charts; add --output FILE.html, or --plots FOLDER"
        )


def _check_trace_file(path: Path | None, cell: str | None, directories: tuple[str, ...]) -> None:
    """Raises InputError if the trace cannot be written, before anything is read."""
    if path is None:
        if cell is not None:
            raise InputError("--cell is for --trace; add --trace FILE.json")
        return
    if len(directories) > 1:
        raise InputError("--trace is for one cell; give only the DIR in which it is")
    if not path.name.lower().endswith((".json", ".json.gz")):
        raise InputError(f"--trace {path}: give it a name that ends in .json or .json.gz")
    check_output_file(path, "--trace")


def _write_trace(documents: Documents, origin: str, wanted: str | None, path: Path) -> None:
    import gzip

    from gpubench.report.trace import chosen_cell, trace_of

    places = {place.name: place for place, _ in documents.cells}
    named = [(place.name, result) for place, result in documents.cells]
    key, result = chosen_cell(named, wanted, origin)
    trace = trace_of(places[key], result)
    data = trace.text.encode()
    emit(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data, path)
    say([f"{trace.remark}; open {path} at https://ui.perfetto.dev"])
