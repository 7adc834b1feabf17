"""Measures the cells of a sweep into a run directory.

Each cell is written to disk before the next cell begins. If the directory already holds a cell that
was measured on a machine like this one, the cell is not measured again, unless it failed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gpubench.cells.grid import MAX_CELLS, Grid, cells, parse_grids, read_grids
from gpubench.errors import GpubenchError, InputError
from gpubench.measure.cell import Bench
from gpubench.measure.progress import Progress
from gpubench.models.local_files import changed_since, files_of
from gpubench.pricing.cost import check_prices, reprice
from gpubench.results.result import Result
from gpubench.results.run_directory import RunDirectory, open_run
from gpubench.spec.cell import Cell
from gpubench.system.machine import Machine, this_machine


@dataclass(frozen=True)
class SweepOutcome:
    results: list[Result]  # of every cell of the sweep, measured now or earlier
    interrupted: bool = False


def sweep(
    grids: str | Path | Mapping[str, object] | Sequence[Mapping[str, object]],
    output: str | Path,
    progress: Progress | None = None,
    allow_code: bool = False,
    max_cells: int = MAX_CELLS,
) -> list[Result]:
    """Measure a grid, or several, into the run directory `output`.

    `grids` is the path of a sweep file, or what such a file holds (see gpubench.cells.grid).
    Returns the results of all cells, including those that `output` already held. If a sweep file
    names a model that runs code, `allow_code` must be true; grids that are not in a file are
    trusted. Raises what `sweep_grids` raises, and KeyboardInterrupt on Ctrl-C, when everything that
    was measured is on disk.
    """
    parsed = (
        read_grids(Path(grids), allow_code)
        if isinstance(grids, (str, Path))
        else parse_grids(dict(grids) if isinstance(grids, Mapping) else list(grids), "sweep")
    )
    outcome = sweep_grids(parsed, output, progress, max_cells)
    if outcome.interrupted:
        raise KeyboardInterrupt
    return outcome.results


def sweep_grids(
    grids: Sequence[Grid],
    output: str | Path,
    progress: Progress | None = None,
    max_cells: int = MAX_CELLS,
) -> SweepOutcome:
    """Measure every cell of `grids` that `output` does not hold yet.

    A cell that fails is stored with its error, and the sweep continues. On Ctrl-C the cell in
    progress is stored with what was measured, and the sweep ends.

    Raises InputError before anything is measured if a cell is not valid, if this machine cannot
    measure it, if an instance is unknown, if the directory cannot be written, or if another sweep
    writes to it.
    """
    progress = progress or Progress()
    machine = this_machine()
    planned = cells(grids, machine, max_cells)
    if not planned.cells:
        raise InputError(
            "this sweep has no cell for this machine; see its only_on and unavailable, or give "
            "another --device or --precision"
        )
    for cell in planned.cells:
        check_prices(cell.spec.instance)
    directory = open_run(output)
    wanted = {cell.spec.key(machine.identity): cell for cell in planned.cells}
    with directory.locked():
        directory.check_writable()
        if not _measure(wanted, planned.skipped, directory, machine, progress):
            return SweepOutcome([], interrupted=True)
    stored = dict(directory.read_all().cells)
    return SweepOutcome(
        [
            reprice(stored[key], cell.spec.instance, cell.spec.usd_per_hour)
            for key, cell in wanted.items()
        ]
    )


def _measure(
    wanted: Mapping[str, Cell],
    skipped: Mapping[str, int],
    directory: RunDirectory,
    machine: Machine,
    progress: Progress,
) -> bool:
    """Measure the cells that the directory does not hold. False if Ctrl-C ended the sweep."""
    missing = {key: cell for key, cell in wanted.items() if not directory.has(key)}
    progress.planned(len(missing), len(wanted) - len(missing), skipped)
    kept = {key: cell for key, cell in wanted.items() if key not in missing}
    for file, results in _changed_since(kept, directory).items():
        progress.file_changed(file, results)
    left = _TimeLeft(len(missing))
    with Bench(machine, progress) as bench:
        for number, (key, cell) in enumerate(missing.items(), 1):
            try:
                progress.cell_begins(number, cell.spec, left.seconds())
                left.begin()
                result = bench.measure(cell, partial(_keep, directory, key))
                progress.cell_ended(result, left.end())
            except KeyboardInterrupt:
                return False
            if bench.has_hung_batch:
                raise GpubenchError(
                    f"{result.error.message if result.error else 'a batch hung'}; its thread still "
                    "runs and would disturb the following cells: run the same sweep again to "
                    "continue"
                )
    return True


def _changed_since(kept: Mapping[str, Cell], directory: RunDirectory) -> Counter[Path]:
    """Files of models that were changed after a measurement, and how many results are older.

    A sweep finds the stored result of a cell by its settings. They contain the name of a file, but
    not its content.
    """
    local = {key: cell for key, cell in kept.items() if files_of(cell)}
    stored = dict(directory.read_all().cells) if local else {}
    changes = (
        changed_since(cell, stored[key].environment.time)
        for key, cell in local.items()
        if key in stored
    )
    return Counter(file for file in changes if file is not None)


def _keep(directory: RunDirectory, key: str, result: Result) -> None:
    directory.write(key, result, result.samples)


class _TimeLeft:
    """Estimates the remaining time of a sweep from the cells that were measured."""

    def __init__(self, cells: int) -> None:
        self._left = cells
        self._durations: list[float] = []
        self._began = 0.0

    def begin(self) -> None:
        self._began = time.monotonic()

    def end(self) -> float:
        self._durations.append(time.monotonic() - self._began)
        self._left -= 1
        return self._durations[-1]

    def seconds(self) -> float | None:
        if not self._durations:
            return None
        return self._left * sum(self._durations) / len(self._durations)
