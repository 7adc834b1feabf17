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
from gpubench.measure.progress import Watcher
from gpubench.models.local_files import changed_since, files_of
from gpubench.pricing.cost import check_prices, reprice
from gpubench.results.result import Result
from gpubench.results.run_directory import RunDirectory, open_run
from gpubench.spec.spec import Spec
from gpubench.system.machine import Machine, this_machine


@dataclass(frozen=True)
class Swept:
    results: list[Result]  # of every cell of the sweep, measured now or before
    interrupted: bool = False


def sweep(
    grids: str | Path | Mapping[str, object] | Sequence[Mapping[str, object]],
    output: str | Path,
    watcher: Watcher | None = None,
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
    swept = sweep_grids(parsed, output, watcher, max_cells)
    if swept.interrupted:
        raise KeyboardInterrupt
    return swept.results


def sweep_grids(
    grids: Sequence[Grid],
    output: str | Path,
    watcher: Watcher | None = None,
    max_cells: int = MAX_CELLS,
) -> Swept:
    """Measure every cell of `grids` that `output` does not hold yet.

    A cell that fails is stored with its error and the rest goes on. On Ctrl-C the cell in progress
    is stored with what it had measured, and the sweep ends.

    Raises InputError before anything is measured: a cell that is not valid or not possible here, an
    unknown instance, a directory that cannot be written, or that another sweep writes to.
    """
    watcher = watcher or Watcher()
    machine = this_machine()
    planned = cells(grids, machine, max_cells)
    if not planned.specs:
        raise InputError(
            "this sweep has no cell for this machine; see its only_on and unavailable, or give "
            "another --device or --precision"
        )
    for spec in planned.specs:
        check_prices(spec.instance)
    directory = open_run(output)
    keys = {spec.key(machine.identity): spec for spec in planned.specs}
    with directory.locked():
        directory.check_writable()
        if not _measure(keys, planned.skipped, directory, machine, watcher):
            return Swept([], interrupted=True)
    stored = dict(directory.read_all().cells)
    return Swept(
        [reprice(stored[key], spec.instance, spec.usd_per_hour) for key, spec in keys.items()]
    )


def _measure(
    keys: Mapping[str, Spec],
    skipped: Mapping[str, int],
    directory: RunDirectory,
    machine: Machine,
    watcher: Watcher,
) -> bool:
    """Measure the cells that the directory does not hold; False where Ctrl-C has ended it."""
    missing = {key: spec for key, spec in keys.items() if not directory.has(key)}
    watcher.planned(len(missing), len(keys) - len(missing), skipped)
    kept = {key: spec for key, spec in keys.items() if key not in missing}
    for file, results in _changed_since(kept, directory).items():
        watcher.changed(file, results)
    bench = Bench(machine, watcher.stage)
    clock = _Clock(len(missing))
    for number, (key, spec) in enumerate(missing.items(), 1):
        try:
            watcher.begins(number, spec, clock.seconds_left())
            clock.begin()
            result = bench.measure(spec, partial(_keep, directory, key))
            watcher.ended(result, clock.end())
        except KeyboardInterrupt:
            return False
        if bench.worn_out:
            raise GpubenchError(
                f"{result.error.message if result.error else 'a batch hung'}; its thread still "
                "runs and would disturb the cells to come: run the same sweep again to go on"
            )
    return True


def _changed_since(kept: Mapping[str, Spec], directory: RunDirectory) -> Counter[Path]:
    """Files of models that were changed after they were measured, and how many results are older.

    A cell is found by its settings, among them the name of a file and not its content.
    """
    local = {key: spec for key, spec in kept.items() if files_of(spec)}
    stored = dict(directory.read_all().cells) if local else {}
    changes = (
        changed_since(spec, stored[key].environment.time)
        for key, spec in local.items()
        if key in stored
    )
    return Counter(file for file in changes if file is not None)


def _keep(directory: RunDirectory, key: str, result: Result) -> None:
    directory.write(key, result, result.samples)


class _Clock:
    """Time left, from the cells done so far."""

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

    def seconds_left(self) -> float | None:
        if not self._durations:
            return None
        return self._left * sum(self._durations) / len(self._durations)
