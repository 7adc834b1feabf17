"""`gpubench sweep`: measure a grid of cells into a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gpubench.cells.grid import MAX_CELLS, override, parse_grids, read_grids
from gpubench.cli.cell_progress import CellProgress
from gpubench.cli.completion import FolderParam
from gpubench.cli.foreign_code import foreign_code
from gpubench.cli.options import prices_option, quiet_option
from gpubench.cli.output import emit_tables
from gpubench.cli.repeats import repeat_options, repetition
from gpubench.cli.require import require_option, status
from gpubench.cli.sections import Command, Option
from gpubench.cli.settings import as_axes, given, setting_options, tell
from gpubench.errors import InputError
from gpubench.report.results import result_tables


@click.command("sweep", cls=Command)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--output",
    cls=Option,
    section="Output",
    required=True,
    metavar="DIR",
    type=FolderParam(),
    help="Run directory: a path or a URL. If it exists, the sweep continues there.",
)
@quiet_option
@click.option(
    "--max-cells",
    cls=Option,
    section="Output",
    type=click.IntRange(min=1),
    default=MAX_CELLS,
    show_default=True,
    metavar="N",
    help="Refuse a sweep of more cells than this.",
)
@require_option
@repeat_options
@setting_options
@prices_option
def command(
    file: Path | None,
    output: str,
    quiet: bool,
    max_cells: int,
    require: str | None,
    **flags: Any,
) -> int:
    """Measure every combination of settings, from a YAML FILE, from flags, or both.

    Each setting takes a comma-separated list. Cells that the directory already holds are not
    measured again. With --repeats, a document is written for each repeat, and the table has one row
    for each cell.

    \b
    Example:
      gpubench sweep --model resnet50 --batch 1,4,8 --workers 1,2 \\
          --output results
    """
    if not output.strip():
        raise InputError("--output: it is empty; give a directory or a URL")
    repeated, flags = repetition(flags)
    settings = as_axes(given(flags))
    grids = (
        parse_grids(settings, "the command line")
        if file is None
        else override(read_grids(file, bool(flags["allow_code"])), settings)
    )

    progress = CellProgress(quiet, repeated)
    with foreign_code(quiet):
        from gpubench.measure.sweep import sweep_grids

        swept = sweep_grids(grids, output, progress, max_cells, repeated)
    if swept.interrupted:
        tell(f"stopped; what was measured is in {output}. The same command goes on from there")
        raise KeyboardInterrupt

    progress.tell_where_time_went()
    emit_tables(result_tables(swept.results), None)
    return status(swept.results, require)
