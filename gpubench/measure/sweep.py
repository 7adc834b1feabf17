"""Measure the cells of a sweep into a run directory.

Each cell is on disk before the next begins. Cells that the directory already holds, measured on a
machine like this one, are not measured again; cells that failed are.
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
class Swept:
    results: list[Result]  # of every cell of the sweep, measured now or before
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
    Returns the results of all its cells, those included that `output` held already. The models that
    a file names run no code without `allow_code`; a grid that is not a file is trusted. Raises what
    `sweep_grids` raises, and KeyboardInterrupt with everything measured until then on disk.
    """
    parsed = (
        read_grids(Path(grids), allow_code)
        if isinstance(grids, (str, Path))
        else parse_grids(dict(grids) if isinstance(grids, Mapping) else list(grids), "sweep")
    )
    swept = sweep_grids(parsed, output, progress, max_cells)
    if swept.interrupted:
        raise KeyboardInterrupt
    return swept.results


def sweep_grids(
    grids: Sequence[Grid],
    output: str | Path,
    progress: Progress | None = None,
    max_cells: int = MAX_CELLS,
) -> Swept:
    """Measure every cell of `grids` that `output` does not hold yet.

    A cell that fails is stored with its error and the rest goes on. On Ctrl-C the cell in progress
    is stored with what it had measured, and the sweep ends.

    Raises InputError before anything is measured: a cell that is not valid or not possible here, an
    unknown instance, a directory that cannot be written, or that another sweep writes to.
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
            return Swept([], interrupted=True)
    stored = dict(directory.read_all().cells)
    return Swept(
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
    """Measure the cells that the directory does not hold; False where Ctrl-C has ended it."""
    missing = {key: cell for key, cell in wanted.items() if not directory.has(key)}
    progress.planned(len(missing), len(wanted) - len(missing), skipped)
    kept = {key: cell for key, cell in wanted.items() if key not in missing}
    for file, results in _changed_since(kept, directory).items():
        progress.file_changed(file, results)
    bench = Bench(machine, progress)
    left = _TimeLeft(len(missing))
    for number, (key, cell) in enumerate(missing.items(), 1):
        try:
            progress.cell_begins(number, cell.spec, left.seconds())
            left.begin()
            result = bench.measure(cell, partial(_keep, directory, key))
            progress.cell_ended(result, left.end())
        except KeyboardInterrupt:
            return False
        if bench.worn_out:
            raise GpubenchError(
                f"{result.error.message if result.error else 'a batch hung'}; its thread still "
                "runs and would disturb the cells to come: run the same sweep again to go on"
            )
    return True


def _changed_since(kept: Mapping[str, Cell], directory: RunDirectory) -> Counter[Path]:
    """Files of models that were changed after they were measured, and how many results are older.

    A cell is found by its settings, among them the name of a file and not its content.
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
    """Of a sweep, from the cells done so far."""

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
