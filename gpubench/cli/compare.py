"""`gpubench compare`: two run directories side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpubench.cli.completion import FolderParam, Known, instances
from gpubench.cli.options import check_output_file, chosen_format, format_option, output_option
from gpubench.cli.output import emit, emit_tables, warn
from gpubench.cli.sections import Command

if TYPE_CHECKING:
    from gpubench.results.result import Result


@click.command("compare", cls=Command)
@click.argument("a", metavar="A", type=FolderParam())
@click.argument("b", metavar="B", type=FolderParam())
@format_option
@output_option
@click.option(
    "--instance-a", metavar="NAME", type=Known(instances), help="Price A on this instance."
)
@click.option(
    "--instance-b", metavar="NAME", type=Known(instances), help="Price B on this instance."
)
@click.option("--usd-per-hour-a", type=float, metavar="X", help="Price A at X US dollars an hour.")
@click.option("--usd-per-hour-b", type=float, metavar="X", help="Price B at X US dollars an hour.")
@click.option(
    "--force", is_flag=True, help="Compare results whose inputs were in different places."
)
def command(
    a: str,
    b: str,
    format_name: str | None,
    output: Path | None,
    instance_a: str | None,
    instance_b: str | None,
    usd_per_hour_a: float | None,
    usd_per_hour_b: float | None,
    force: bool,
) -> None:
    """Put the matching cells of run directories A and B side by side, with the ratio B/A.

    A cell matches one with the same settings, on whatever machine. Where one setting differs
    throughout (all eager against all torchscript), that is what is compared. Each side has the
    price that it was measured with, unless one is given here.

    \b
    Example:
      gpubench compare results/before results/after
    """
    from gpubench.planning.compare import compare
    from gpubench.report import comparison as tables
    from gpubench.report import comparison_files, html, markdown, terminal

    form = chosen_format(format_name, output)
    check_output_file(output)
    left = _read(a, instance_a, usd_per_hour_a)
    right = _read(b, instance_b, usd_per_hour_b)
    compared = compare(left, right, force)

    wide = tables.wide_table(compared, a, b)
    match form:
        case "markdown":
            emit(markdown.text([wide]), output)
        case "html":
            emit(html.page(f"{a} and {b}", [wide]), output)
        case "csv":
            emit(comparison_files.csv_text(compared), output)
        case "json":
            emit(comparison_files.json_text(compared, a, b), output)
        case _:
            is_wide = output is not None or terminal.fits(wide, terminal.shown_width())
            emit_tables([wide if is_wide else tables.tall_table(compared, a, b)], output)


def _read(url: str, instance: str | None, usd_per_hour: float | None) -> list[Result]:
    from gpubench.pricing.cost import reprice
    from gpubench.results.run_directory import open_run

    contents = open_run(url).read_all()
    warn(contents.problems)
    names = (instance,) if instance else ()
    return [reprice(result, names, usd_per_hour) for _, result in contents.cells]
