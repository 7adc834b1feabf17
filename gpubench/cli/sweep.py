"""`gpubench sweep`: measure a grid of cells into a run directory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import click

from gpubench.cells.grid import MAX_CELLS, Grid, override, parse_grids, read_grids
from gpubench.cli.cell_progress import CellProgress
from gpubench.cli.cluster import ChosenCluster, chosen_cluster, cluster_options
from gpubench.cli.completion import FolderParam
from gpubench.cli.display import displayed
from gpubench.cli.foreign_code import foreign_code
from gpubench.cli.isolation import isolation, isolation_options
from gpubench.cli.metrics import metrics_options
from gpubench.cli.objective import objective_options, search_settings
from gpubench.cli.options import prices_option, quiet_option
from gpubench.cli.output import emit_tables, summarise
from gpubench.cli.program import FAILED, fail
from gpubench.cli.repeats import repeat_options, repetition
from gpubench.cli.require import require_option, search_status, status
from gpubench.cli.sections import Command, Option
from gpubench.cli.setting_progress import SettingProgress
from gpubench.cli.settings import as_axes, given, setting_options, tell
from gpubench.cli.spending import max_usd_option, spending_limit
from gpubench.errors import InputError
from gpubench.measure.progress import Listeners, Progress
from gpubench.report.forecast import forecast_tables
from gpubench.report.format import usd
from gpubench.report.results import result_tables
from gpubench.report.search_sweep import sweep_tables
from gpubench.report.summary import cell_lines, sweep_lines
from gpubench.spec.objective import SearchSettings
from gpubench.spec.repetition import ONCE, Repetition

if TYPE_CHECKING:
    from gpubench.measure.spending_limit import SpendingLimit
    from gpubench.measure.sweep import SweepOutcome
    from gpubench.spec.isolation import Isolation

_STOPPED = "stopped; what was measured is in {}. The same command goes on from there"


@click.command("sweep", cls=Command)
@click.argument("file", required=False, type=click.Path())
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
@click.option(
    "--dry-run",
    cls=Option,
    section="Output",
    is_flag=True,
    help="Only show what would be measured, with an estimate of the time and the money. Nothing is "
    "measured or written.",
)
@max_usd_option
@cluster_options
@require_option
@repeat_options
@isolation_options
@objective_options(
    required=False,
    text="Find the setting that serves the most within an objective, for example p95:100ms. Each "
    "cell is then a search; what cannot win is not searched to the end.",
)
@setting_options
@prices_option
@metrics_options
def command(
    file: str | None,
    output: str,
    quiet: bool,
    max_cells: int,
    dry_run: bool,
    max_usd: float | None,
    require: str | None,
    objective: str | None,
    tolerance: float | None,
    probes: int | None,
    metrics: Progress,
    **flags: Any,
) -> int:
    """Measure every combination of settings, from a YAML FILE, from flags, or both.

    Each setting takes a comma-separated list. FILE is a path or a URL. Cells that the directory
    already holds are not measured again. Several machines may run the same sweep on one directory:
    each cell is measured by one of them. With --repeats, a document is written for each repeat, and
    the table has one row for each cell.

    \b
    Example:
      gpubench sweep --model resnet50 --batch 1,4,8 --workers 1,2 \\
          --output results
      gpubench sweep --model resnet50 --batch 1,4,8 --precision fp32,bf16 \\
          --objective p95:100ms --output best
    """
    if not output.strip():
        raise InputError("--output: it is empty; give a directory or a URL")
    repeated, flags = repetition(flags)
    wanted = search_settings(objective, tolerance, probes)
    isolated, flags = isolation(flags, searches=wanted is not None)
    cluster, flags = chosen_cluster(flags, searches=wanted is not None, dry_run=dry_run)
    if wanted is not None and repeated != ONCE:
        raise InputError(
            "--repeats, --until, --max-time and --fresh: with --objective every setting is "
            "searched once; leave them out, then repeat the best one with gpubench search "
            "--repeats N --output DIR"
        )
    settings = as_axes(given(flags))
    grids = (
        parse_grids(settings, "the command line")
        if file is None
        else override(read_grids(file, bool(flags["allow_code"])), settings)
    )

    if max_usd is not None and (dry_run or wanted is not None or cluster is not None):
        raise InputError(
            "--max-usd limits what this machine measures cell by cell; leave out --dry-run, "
            "--objective and --on, or leave out --max-usd"
        )
    limit = spending_limit(max_usd, grids)
    if cluster is not None:
        swept = _on_cluster(grids, output, cluster, quiet, max_cells, repeated, isolated, metrics)
        return _show(swept, output, quiet, require)
    if dry_run:
        return _dry_run(grids, output, max_cells, repeated, wanted)
    if wanted is not None:
        return _search(grids, output, wanted, quiet, max_cells, require, metrics)
    progress = CellProgress(quiet, repeated)
    limits = () if limit is None else (limit,)
    listeners = Listeners(*limits, progress, metrics)
    with displayed(listeners, quiet) as listener, foreign_code(quiet):
        from gpubench.measure.sweep import sweep_grids

        swept = sweep_grids(grids, output, listener, max_cells, repeated, isolated)
    if swept.results:
        progress.tell_where_time_went()
    return _show(swept, output, quiet, require, limit)


def _show(
    swept: SweepOutcome,
    output: str,
    quiet: bool,
    require: str | None,
    limit: SpendingLimit | None = None,
) -> int:
    """The tables of a sweep that has ended. Raises KeyboardInterrupt if Ctrl-C ended it."""
    is_spent = limit is not None and limit.reached
    if swept.interrupted and not is_spent:
        tell(_STOPPED.format(output))
        raise KeyboardInterrupt

    if swept.results:
        from gpubench.statistics.repeats import combine

        emit_tables(result_tables(swept.results), None)
        summarise(quiet, lambda: cell_lines(combine(swept.results), output))
    if limit is not None:
        tell(f"this sweep cost ${usd(limit.usd)} at ${usd(limit.usd_per_hour)} an hour")
        if is_spent:
            left = "ended before a cell that would probably cost more; the same command goes on"
            return fail(f"--max-usd {limit.max_usd:g}: {left}", FAILED)
    return status(swept.results, require)


def _on_cluster(
    grids: Sequence[Grid],
    output: str,
    cluster: ChosenCluster,
    quiet: bool,
    max_cells: int,
    repeated: Repetition,
    isolated: Isolation,
    metrics: Progress,
) -> SweepOutcome:
    """Let the nodes of a cluster measure."""
    # There is no display: it shows one cell, and several are measured at the same time.
    progress = Listeners(CellProgress(quiet, repeated), metrics)
    # Ray prints a paragraph for each process that ends, also with all its logs turned off.
    with foreign_code(quiet), open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        from gpubench.launch.ray.sweep import sweep_on_ray

        return sweep_on_ray(
            *(grids, output, cluster.address, progress, max_cells, repeated, isolated),
            share_nodes=cluster.share_nodes,
        )


def _dry_run(
    grids: Sequence[Grid],
    output: str,
    max_cells: int,
    repeated: Repetition,
    wanted: SearchSettings | None,
) -> int:
    """Show what the sweep would measure."""
    with foreign_code(quiet=True):
        from gpubench.measure.forecast import forecast_cells, forecast_searches

        if wanted is None:
            forecast = forecast_cells(grids, output, max_cells, repeated)
        else:
            forecast = forecast_searches(grids, output, max_cells, wanted)
    emit_tables(forecast_tables(forecast), None)
    return 0


def _search(
    grids: Sequence[Grid],
    output: str,
    wanted: SearchSettings,
    quiet: bool,
    max_cells: int,
    require: str | None,
    metrics: Progress,
) -> int:
    """Search every setting for its highest rate, and show which one is the best."""
    progress = SettingProgress(quiet, wanted)
    with displayed(Listeners(progress, metrics), quiet) as listener, foreign_code(quiet):
        from gpubench.measure.search_sweep import search_grids

        swept = search_grids(grids, output, wanted, listener, max_cells)
    if swept.interrupted:
        tell(_STOPPED.format(output))
        raise KeyboardInterrupt
    emit_tables(sweep_tables(swept.searches), None)
    summarise(quiet, lambda: sweep_lines(swept.searches, output))
    return search_status(swept.searches, require)
