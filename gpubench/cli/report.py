"""`gpubench report`: a run directory as tables and files."""

from __future__ import annotations

from pathlib import Path

import click

from gpubench.cli._options import (
    check_output_file,
    chosen_format,
    format_option,
    instance_option,
    output_option,
    split_names,
    usd_per_hour_option,
)
from gpubench.cli._output import emit, emit_tables, warn


@click.command("report")
@click.argument("directory", metavar="DIR")
@format_option
@output_option
@instance_option
@usd_per_hour_option
def command(
    directory: str,
    format_name: str | None,
    output: Path | None,
    instance: tuple[str, ...],
    usd_per_hour: float | None,
) -> None:
    """Show what was measured in DIR: throughput, latency and the price of a million inferences.

    DIR is what gpubench sweep --output wrote: a folder, or a URL such as s3://bucket/run. With
    --instance or --usd-per-hour the results are priced again; nothing is measured again.
    """
    from gpubench.cost import reprice
    from gpubench.report import csv, json, markdown
    from gpubench.report.results import result_tables
    from gpubench.store import open_run

    check_output_file(output)
    contents = open_run(directory).read_all()
    warn(contents.problems)
    names = split_names(instance)
    cells = [(key, reprice(result, names, usd_per_hour)) for key, result in contents.cells]
    results = [result for _, result in cells]

    match chosen_format(format_name, output):
        case "markdown":
            emit(markdown.text(result_tables(results)), output)
        case "csv":
            emit(csv.text(cells), output)
        case "json":
            emit(json.text(results), output)
        case _:
            emit_tables(result_tables(results), output)
