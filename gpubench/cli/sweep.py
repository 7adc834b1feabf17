"""`gpubench sweep`: measure a grid of cells into a run directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from gpubench.cells.grid import MAX_CELLS, override, parse_grids, read_grids
from gpubench.cli.completion import FolderParam
from gpubench.cli.foreign_code import foreign_code
from gpubench.cli.options import quiet_option
from gpubench.cli.output import emit_tables
from gpubench.cli.sections import Command, Option
from gpubench.cli.settings import as_axes, given, setting_options, tell
from gpubench.errors import InputError
from gpubench.measure.progress import Progress
from gpubench.report.format import count, elapsed, milliseconds, number
from gpubench.report.results import result_tables
from gpubench.results.result import CellSeconds, Result
from gpubench.spec.spec import Spec


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
@setting_options
def command(file: Path | None, output: str, quiet: bool, max_cells: int, **flags: Any) -> int:
    """Measure every combination of settings, from a YAML FILE, from flags, or both.

    Each setting takes a comma-separated list. Cells that the directory already holds are not
    measured again.

    \b
    Example:
      gpubench sweep --model resnet50 --batch 1,4,8 --workers 1,2 \\
          --output results
    """
    if not output.strip():
        raise InputError("--output: it is empty; give a directory or a URL")
    settings = as_axes(given(flags))
    grids = (
        parse_grids(settings, "the command line")
        if file is None
        else override(read_grids(file, bool(flags["allow_code"])), settings)
    )

    progress = _Progress(quiet)
    with foreign_code(quiet):
        from gpubench.measure.sweep import sweep_grids

        swept = sweep_grids(grids, output, progress, max_cells)
    if swept.interrupted:
        tell(f"stopped; what was measured is in {output}. The same command goes on from there")
        raise KeyboardInterrupt

    progress.tell_where_time_went()
    emit_tables(result_tables(swept.results), None)
    return 1 if any(result.error for result in swept.results) else 0


class _Progress(Progress):
    """One line a cell. Silent while a cell is measured: drawing would take time from it."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._total = 0
        self._cells: list[CellSeconds] = []
        self._elapsed_s = 0.0

    def planned(self, to_measure: int, measured_before: int, skipped: Mapping[str, int]) -> None:
        self._total = to_measure
        for reason, cells in skipped.items():
            tell(f"left out {count(cells, 'cell')}: {reason}", self._quiet)
        before = f", {measured_before} measured before" if measured_before else ""
        tell(f"{count(to_measure, 'cell')} to measure{before}", self._quiet)

    def file_changed(self, file: Path, kept: int) -> None:
        tell(  # even where progress is not wanted: figures may not be those of the present model
            f"{file} was changed after {count(kept, 'kept result')} of it "
            f"{'was' if kept == 1 else 'were'} measured; use another --output to measure it anew"
        )

    def cell_begins(self, number: int, spec: Spec, seconds_left: float | None) -> None:
        left = "" if seconds_left is None else f", about {elapsed(seconds_left)} left"
        tell(f"[{number}/{self._total}{left}] {spec.describe()}", self._quiet)

    def cell_ended(self, result: Result, elapsed_s: float) -> None:
        tell(f"    {_outcome(result)} ({elapsed(elapsed_s)})", self._quiet)
        self._elapsed_s += elapsed_s
        if result.seconds is not None:
            self._cells.append(result.seconds)

    def tell_where_time_went(self) -> None:
        if len(self._cells) > 1:
            tell(_where_time_went(self._cells, self._elapsed_s), self._quiet)


# What the stages of a cell do, for people.
_STAGES = {
    "load": "loading models",
    "flops": "counting operations",
    "reference": "reference outputs",
    "build": "building engines",
    "check": "checking engines",
    "inputs": "making requests",
    "capture": "capturing CUDA graphs",
    "start": "starting workers",
    "analyse": "analysing the runs",
    "other": "the rest of gpubench",
}


def _where_time_went(cells: Sequence[CellSeconds], elapsed_s: float) -> str:
    """One line: the time of a sweep, how much of it was measured, and what took most of the rest.

    `elapsed_s` is the time of all cells together, with writing their results.
    """
    measured_s = sum((cell.warmup or 0.0) + (cell.measure or 0.0) for cell in cells)
    rest = {
        text: sum(getattr(cell, stage) or 0.0 for cell in cells) for stage, text in _STAGES.items()
    }
    rest["writing results"] = elapsed_s - sum(cell.total for cell in cells)
    longest = max(rest, key=lambda text: rest[text])
    return (
        f"{count(len(cells), 'cell')} in {elapsed(elapsed_s)}, {elapsed(measured_s)} of it warm-up "
        f"and measured runs; most of the rest: {longest}, {elapsed(rest[longest])}"
    )


def _outcome(result: Result) -> str:
    if result.error is not None:
        return f"failed: {result.error.message}"
    return (
        f"{number(result.throughput_per_second)}/s, "
        f"P95 {milliseconds(result.latency_ms.p95)} ms, {result.verdict.status}"
    )
