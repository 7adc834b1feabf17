"""`gpubench plan`: what to rent, from run directories."""

from __future__ import annotations

from pathlib import Path

import click

from gpubench.cli.completion import FolderParam, Known
from gpubench.cli.options import (
    AskedPrices,
    check_output_file,
    chosen_format,
    format_option,
    json_file,
    json_option,
    output_option,
    price_options,
    split_names,
)
from gpubench.cli.output import emit, emit_sentence, emit_tables, warn, write_result
from gpubench.cli.plan_load import LoadFlags, answers, load_options, requested
from gpubench.cli.sections import Command
from gpubench.errors import InputError


def _obstacles() -> tuple[str, ...]:
    from gpubench.planning.candidates import OBSTACLES

    return OBSTACLES


@click.command("plan", cls=Command)
@click.argument("directories", metavar="DIR...", nargs=-1, type=FolderParam())
@click.option(
    "--objective",
    required=True,
    metavar="PERCENTILE:LATENCY",
    help="For example p95:100ms: 95% of all requests take at most 100 ms.",
)
@click.option(
    "--allow",
    multiple=True,
    type=Known(_obstacles),
    metavar="OBSTACLE",
    help="Let results win that have this against them: closed-loop, suspect, outputs-differ, "
    "accuracy-drop, other-hardware, extrapolated. Repeatable, or a list.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="SETTING=VALUE",
    help="Leave out results with another value of this setting, for example inputs=host. "
    "Repeatable.",
)
@price_options
@click.option("--all", "every", is_flag=True, help="Show every candidate, not only the cheapest.")
@load_options
@format_option()
@output_option
@json_option("the plan")
def command(
    directories: tuple[str, ...],
    objective: str,
    allow: tuple[str, ...],
    only: tuple[str, ...],
    asked: AskedPrices,
    every: bool,
    format_name: str | None,
    output: Path | None,
    json_path: str | None,
    load_flags: LoadFlags,
) -> int:
    """Say which measured setting, on which instance, is the cheapest within an objective.

    Each DIR is what run, sweep or search wrote into --output. Searches and open loops decide. A
    closed loop (clients) gives only an upper bound. Nothing is measured, and no file is changed.
    The exit status is 1 if no setting can be recommended.

    \b
    Example:
      gpubench plan results/g5 results/c7i --objective p95:100ms
      gpubench plan results/g5 --objective p95:100ms --rate 5000 --spare 1
    """
    from gpubench.planning.decision import plan
    from gpubench.report import escape, markdown, terminal
    from gpubench.report.fleet import load_csv, load_json, load_sentence, load_tables
    from gpubench.report.page.advice import advice_of
    from gpubench.report.page.page import NO_CHARTS, page
    from gpubench.report.plan import models_side_by_side, plan_tables
    from gpubench.report.plan_files import csv_text, json_text
    from gpubench.report.plan_sentences import sentences
    from gpubench.report.sizes import size_tables

    form = chosen_format(format_name, output)
    check_output_file(output)
    json_output = json_file(json_path)
    if not directories:
        raise InputError("plan needs a run directory; measure with gpubench sweep --output DIR")
    request = requested(load_flags)
    planned = plan(
        directories,
        objective,
        asked.instances,
        asked.usd_per_hour,
        split_names(allow),
        only,
        asked.owned,
        asked.electricity,
    )
    warn(planned.problems)
    loads = [] if request is None else answers(planned, request)
    said = sentences(planned)
    of_loads = [load_sentence(each, planned.objective) for each in loads]
    said += of_loads
    models = models_side_by_side(planned)
    document = json_text(planned, [load_json(each, planned.objective) for each in loads])

    def show() -> None:
        tables = plan_tables(planned, every)
        tables += [each for load in loads for each in load_tables(load, planned.objective)]
        tables += size_tables(models)
        match form:
            case "markdown":
                above = "".join(f"**{escape.markdown(each)}**\n\n" for each in said)
                emit(above + markdown.text(tables), output)
            case "html":
                from gpubench.report.charts.size_charts import size_charts

                title, shown = f"Plan for {objective}", advice_of(planned)
                charts = size_charts(models) if models else NO_CHARTS
                emit(page(title, tables, answers=shown, said=of_loads, charts=charts), output)
            case "csv":
                emit(load_csv(loads) if loads else csv_text(planned), output)
            case "json":
                emit(document, output)
            case _:
                if output is None:
                    for each in said:
                        emit_sentence(each)
                        emit("\n", None)
                    emit_tables(tables, None)
                else:
                    above = "".join(f"{escape.terminal(each)}\n\n" for each in said)
                    emit(above + terminal.text(tables), output)

    write_result(document, json_path, json_output, show)
    return 0 if all(each.winner is not None for each in planned.decisions) else 1
