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
    from gpubench.report.table import Table
    from gpubench.results.result import Result
    from gpubench.results.run_directory import RunDirectory

_FORMATS = (*FORMATS, "parquet", "svg", "png")


@click.command("report", cls=Command)
@click.argument("directory", metavar="DIR", type=FolderParam())
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
    help="The latency objective that the HTML page shows first, for example p95:100ms.  [default: "
    "that of the searches, or one that half of the settings can meet]",
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
    directory: str,
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

    DIR is what run, sweep or search wrote into --output: a folder, or a URL such as s3://bucket/run.
    It may also be a JSON file: one of such a folder, or what --json FILE.json wrote.
    The repeats of a cell are combined. With --instance, --usd-per-hour or --capital-usd the results
    are priced again; nothing is measured again.

    \b
    Example:
      gpubench report results --instance g5.xlarge,g5.xlarge:spot,g4dn.xlarge
    """
    from gpubench.cli.chart_files import charts_of, links, one_picture, samples_of, write_charts
    from gpubench.planning.candidates import GivenPrices
    from gpubench.planning.documents import Documents, Place
    from gpubench.planning.search_repeats import combined_searches
    from gpubench.pricing.cost import reprice, reprice_search
    from gpubench.pricing.energy import with_electricity
    from gpubench.pricing.start_cost import reprice_starts
    from gpubench.report import arrow, csv, json, markdown
    from gpubench.report.charts.chart import together
    from gpubench.report.displayed import document_tables
    from gpubench.report.format import count
    from gpubench.report.latency import DEFAULT_PERCENTS, parse_percentiles, with_percentiles
    from gpubench.report.page.run_page import run_page
    from gpubench.report.repeats import one_for_each_cell
    from gpubench.results.read import open_results
    from gpubench.spec.objective import parse_objective

    form = chosen_format(format_name, output, _FORMATS)
    if form in {"parquet", "png"} and output is None:
        raise InputError(f"--format {form}: the file is not for a terminal; add --output FILE")
    check_output_file(output)
    _check_trace_file(trace_file, cell)
    if plots_format is not None and plots_folder is None:
        raise InputError("--plots-format is for --plots; add --plots FOLDER")
    if form != "html" and (objective is not None or title is not None):
        flag = "--objective" if objective is not None else "--title"
        raise InputError(f"{flag} is for the page; add --format html, or --output FILE.html")
    limit = None if objective is None else parse_objective(objective)
    percents = DEFAULT_PERCENTS if percentiles is None else parse_percentiles(percentiles)
    run = open_results(directory)
    contents = run.read_all(searches=True, cold=True)
    if trace_file is not None:
        _write_trace(run, contents.cells, cell, trace_file)
    prices = asked.instances, asked.usd_per_hour, asked.owned
    priced = [
        (key, with_electricity(reprice(result, *prices), asked.electricity))
        for key, result in contents.cells
    ]
    cells, problems = with_percentiles(run, priced, percents)
    warn([*contents.problems, *problems])
    results = [result for _, result in cells]
    if asked.electricity and asked.owned is None and not any(r.electricity for r in results):
        warn(["no result has energy, which only some GPUs report; there are no figures for it"])
    cold = [reprice_starts(result, *prices) for _, result in contents.cold]
    shown = cells if each_repeat else one_for_each_cell(cells)
    searches = [reprice_search(each, *prices) for each in combined_searches(contents.searches)]
    if form in {"csv", "parquet"} and not shown:
        raise InputError(
            f"{directory} has no cells, and {form} holds only these; choose another --format, such "
            "as html"
        )
    if unmeasured := [each for each in searches if not each.probes]:
        failures = {each.error.message for each in unmeasured if each.error is not None}
        reason = f": {'; '.join(sorted(failures))}" if failures else ""
        warn([f"{len(unmeasured)} of the searches ended before the first measurement{reason}"])
    if searches and form in {"csv", "json", "parquet"}:
        warn([f"{directory} also holds searches; {form} has only cells, other formats have both"])

    def tables() -> list[Table]:
        return document_tables(results, searches, cold, each_repeat=each_repeat, percents=percents)

    has_files = plots_folder is not None or form in {"svg", "png"}
    has_charts = has_files or form == "html"
    charts = charts_of(results, samples_of(run, cells)) if has_charts else []
    written: list[tuple[str, Path]] = []
    if plots_folder is not None:
        make_folder(plots_folder, "--plots")
        written = write_charts(charts, plots_folder, plots_format or "svg")

    match form:
        case "markdown":
            emit(markdown.text(tables()) + links(written, output), output)
        case "html":
            documents = Documents(
                tuple((Place(directory, key), result) for key, result in contents.cells),
                tuple((Place(directory, name), found) for name, found in contents.searches),
            )
            page = run_page(
                title or directory,
                documents,
                [*results, *searches],
                tables(),
                objective=limit,
                prices=GivenPrices(*prices),
                directories=[directory],
                charts=together(charts),
            )
            emit(page, output)
        case "csv" | "parquet":
            emit(csv.text(shown) if form == "csv" else arrow.parquet(shown), output)
            if cold:
                left_out = count(len(cold), "document")
                name = "CSV" if form == "csv" else "Parquet"
                warn([f"{name} leaves out {left_out} of cold starts; --format json has them"])
        case "json":
            emit(json.text([*(result for _, result in shown), *cold]), output)
        case "svg" | "png":
            emit(one_picture(charts, directory, form), output)
        case _:
            emit_tables(tables(), output)
    if has_files:
        warn(dict.fromkeys(remark for each in charts for remark in each.remarks))


def _check_trace_file(path: Path | None, cell: str | None) -> None:
    """Raises InputError if the trace cannot be written, before anything is read."""
    if path is None:
        if cell is not None:
            raise InputError("--cell is for --trace; add --trace FILE.json")
        return
    if not path.name.lower().endswith((".json", ".json.gz")):
        raise InputError(f"--trace {path}: give it a name that ends in .json or .json.gz")
    check_output_file(path, "--trace")


def _write_trace(
    run: RunDirectory, cells: list[tuple[str, Result]], wanted: str | None, path: Path
) -> None:
    import gzip

    from gpubench.report.trace import chosen_cell, trace_of

    trace = trace_of(run, *chosen_cell(cells, wanted, run.url))
    data = trace.text.encode()
    emit(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data, path)
    say([f"{trace.remark}; open {path} at https://ui.perfetto.dev"])
