"""`gpubench compare`: two run directories, or the cells of one, side by side."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpubench.cli.completion import FolderParam, Known, instances
from gpubench.cli.options import (
    check_output_file,
    chosen_format,
    fail_if_option,
    format_option,
    output_option,
    prices_option,
    within_option,
)
from gpubench.cli.output import append, emit, emit_tables, say, warn
from gpubench.cli.sections import Command
from gpubench.errors import InputError

if TYPE_CHECKING:
    from gpubench.planning.axis import Side
    from gpubench.results.result import Result


@click.command("compare", cls=Command)
@click.argument("a", metavar="A", type=FolderParam())
@click.argument("b", metavar="[B]", type=FolderParam(), required=False)
@click.option(
    "--by",
    metavar="SETTING[=VALUE,...]",
    help="Compare the cells of the directory A: those with the first value of the setting with "
    "those of each other value, for example runtime, or precision=fp32,bf16.",
)
@within_option
@click.option(
    "--spread",
    metavar="SHARE",
    help="Standard deviation between runs of the same cell, for runs that are not paired. Without "
    "it, single runs get no verdict. [default: 2% between two series of repeats]",
)
@fail_if_option
@format_option()
@output_option
@click.option(
    "--step-summary",
    is_flag=True,
    help="Also append the Markdown to the file that $GITHUB_STEP_SUMMARY names.",
)
@click.option(
    "--instance-a", metavar="NAME", type=Known(instances), help="Price A on this instance."
)
@click.option(
    "--instance-b", metavar="NAME", type=Known(instances), help="Price B on this instance."
)
@click.option("--usd-per-hour-a", type=float, metavar="X", help="Price A at X US dollars an hour.")
@click.option("--usd-per-hour-b", type=float, metavar="X", help="Price B at X US dollars an hour.")
@prices_option
@click.option(
    "--force",
    is_flag=True,
    help="Compare results of different work: inputs in other places, a closed and an open loop, "
    "with and without preprocessing.",
)
def command(
    a: str,
    b: str | None,
    by: str | None,
    within: str,
    spread: str | None,
    fail_if: tuple[str, ...],
    format_name: str | None,
    output: Path | None,
    step_summary: bool,
    instance_a: str | None,
    instance_b: str | None,
    usd_per_hour_a: float | None,
    usd_per_hour_b: float | None,
    force: bool,
) -> int | None:
    """Put the matching cells of A and B side by side, and say which side is faster and cheaper.

    A and B are run directories. A cell matches one with the same settings, on whatever machine.
    Where one setting differs throughout (all eager against all torchscript), that is what is
    compared. Each side has the price that it was measured with, unless one is given here.

    An answer needs three repeats of each cell (--repeats of run and sweep). Repeats of one sweep
    are paired by round.

    \b
    Example:
      gpubench compare results/before results/after --fail-if 'p95 > +5%'
      gpubench compare results --by precision=fp32,bf16
    """
    from gpubench.cli.program import GATE_FAILED
    from gpubench.planning.compare import compare_each
    from gpubench.planning.gates import apply_gates, parse_gate
    from gpubench.report import comparison as tables
    from gpubench.report import comparison_files, terminal
    from gpubench.report.comparison_sentences import gate_sentences, headline
    from gpubench.report.comparison_summary import summary
    from gpubench.report.page.page import page
    from gpubench.spec.share import parse_share

    form = chosen_format(format_name, output)
    check_output_file(output)
    summary_file = _summary_file() if step_summary else None
    margin = parse_share(within, "--within")
    stated = None if spread is None else parse_share(spread, "--spread")
    gates = list(dict.fromkeys(map(parse_gate, fail_if)))
    setting, (baseline, *others) = _sides(a, b, by)
    compared = compare_each(
        _price(baseline.results, instance_a, usd_per_hour_a),
        [_price(side.results, instance_b, usd_per_hour_b) for side in others],
        force,
        within=margin,
        spread=stated,
    )
    tested = apply_gates(gates, compared)

    named = [(each, baseline.name, side.name) for each, side in zip(compared, others, strict=True)]
    wide = [tables.wide_table(*each) for each in named]
    match form:
        case "markdown":
            emit(summary(named, tested), output)
        case "html":
            from gpubench.report.charts.comparison_charts import comparison_charts

            title = f"{a} and {b}" if setting is None else f"{a} by {by}"
            said = [
                *(headline(*each) for each in named),
                *(gate_sentences(tested) if tested else []),
            ]
            charts = comparison_charts(compared, [side.name for side in others])
            emit(page(title, wide, said=said, charts=charts), output)
        case "csv":
            emit(comparison_files.csv_text(compared), output)
        case "json":
            emit(comparison_files.json_text(named, tested, setting), output)
        case _:
            width = terminal.shown_width()
            is_wide = output is not None or all(terminal.fits(each, width) for each in wide)
            emit_tables(wide if is_wide else [tables.tall_table(*each) for each in named], output)
    if summary_file is not None:
        append(summary(named, tested), summary_file)
    if gates:
        say(gate_sentences(tested))
    return GATE_FAILED if any(each.outcome == "failed" for each in tested) else None


def _sides(a: str, b: str | None, by: str | None) -> tuple[str | None, list[Side]]:
    """The setting that --by names, if it is given, and the sides. The first is A."""
    from gpubench.planning.axis import Side, sides

    if (b is None) == (by is None):
        raise InputError(
            "compare needs two run directories, A and B, or one directory and --by SETTING"
            if by is None
            else "--by compares the cells of one directory; remove B, or --by"
        )
    if by is not None:
        return sides(_read(a), by)
    return None, [Side(a, _read(a)), Side(b or "", _read(b or ""))]


def _read(url: str) -> list[Result]:
    from gpubench.results.read import open_results

    contents = open_results(url).read_all()
    warn(contents.problems)
    return [result for _, result in contents.cells]


def _price(results: list[Result], instance: str | None, usd_per_hour: float | None) -> list[Result]:
    from gpubench.pricing.cost import reprice

    names = (instance,) if instance else ()
    return [reprice(result, names, usd_per_hour) for result in results]


def _summary_file() -> Path:
    """The file of --step-summary. Raises InputError if it cannot be written."""
    name = os.environ.get("GITHUB_STEP_SUMMARY")
    if not name:
        raise InputError(
            "--step-summary: the environment variable GITHUB_STEP_SUMMARY is not set; it is set in "
            "the steps of a GitHub workflow; elsewhere use --format markdown --output FILE"
        )
    check_output_file(Path(name), "--step-summary")
    return Path(name)
