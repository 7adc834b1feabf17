"""Measures the cells of a sweep into a run directory, once or several times.

Each cell is written to disk before the next cell begins. If the directory already holds a cell that
was measured on a machine like this one, the cell is not measured again, unless it failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpubench.cells.grid import MAX_CELLS, Grid, PlannedCells, grids_of, sweep_cells
from gpubench.errors import InputError
from gpubench.files.leases import LEASE_TIMES, Leases, LeaseTimes
from gpubench.measure.claims import Claims, WaitFor
from gpubench.measure.isolated import EngineProcesses
from gpubench.measure.progress import Progress
from gpubench.measure.rounds import (
    RepeatedCell,
    Turn,
    engine_group,
    measure_rounds,
    missing_turns,
    own_group,
    shuffled_rounds,
)
from gpubench.models.local_files import changed_since, files_of
from gpubench.pricing.cost import check_prices, reprice
from gpubench.results.result import Result
from gpubench.results.run_directory import RunDirectory, key_and_number, open_run
from gpubench.spec.cell import Cell
from gpubench.spec.isolation import TOGETHER, Isolation, parse_isolation
from gpubench.spec.repetition import ONCE, Repetition, parse_repetition
from gpubench.system.machine import Machine, this_machine


@dataclass(frozen=True)
class SweepOutcome:
    # Every repeat of every cell of the sweep that the directory holds, measured now or earlier, by
    # this process or by others: in the order of the cells, then of the repeats.
    results: list[Result]
    interrupted: bool = False


def sweep(
    grids: str | Path | Mapping[str, object] | Sequence[Mapping[str, object]],
    output: str | Path,
    progress: Progress | None = None,
    allow_code: bool = False,
    max_cells: int = MAX_CELLS,
    *,
    repeats: int | None = None,
    until: str | float | None = None,
    fresh: bool = False,
    max_time: str | float | None = None,
    isolate: bool | None = None,
    max_cell_time: str | float | None = None,
) -> list[Result]:
    """Measure a grid, or several, into the run directory `output`.

    `grids` is the path of a sweep file, or what such a file holds (see gpubench.cells.grid).
    Returns the results of all cells, including those that `output` already held. If a sweep file
    names a model that runs code, `allow_code` must be true; grids that are not in a file are
    trusted.

    With `repeats` each cell is measured that often, and the list has a result for each repeat:
    gpubench.combine makes one result of them for each cell. `until` (0.02 or "2%"), `fresh` and
    `max_time` ("30m", or seconds) are those of the command: see docs/comparing.md.

    Each engine has a process of its own, so that a crash costs only its cells. With `isolate` false
    the cells are measured in this process. A process that reports nothing for `max_cell_time` is
    ended: see docs/many_machines.md.

    Raises what `sweep_grids` raises, and KeyboardInterrupt on Ctrl-C, when everything that was
    measured is on disk.
    """
    repetition = parse_repetition(repeats, until, fresh, max_time)
    isolation = parse_isolation(isolate, max_cell_time)
    outcome = sweep_grids(
        grids_of(grids, allow_code), output, progress, max_cells, repetition, isolation
    )
    if outcome.interrupted:
        raise KeyboardInterrupt
    return outcome.results


def sweep_grids(
    grids: Sequence[Grid],
    output: str | Path,
    progress: Progress | None = None,
    max_cells: int = MAX_CELLS,
    repetition: Repetition = ONCE,
    isolation: Isolation = TOGETHER,
) -> SweepOutcome:
    """Measure every cell of `grids` that `output` does not hold yet.

    Raises InputError if a cell is not valid, if this machine cannot measure it, or if there is
    none; also raises what `measure_cells` raises.
    """
    machine = this_machine()
    if not isolation.isolate:
        planned = sweep_cells(grids, machine, max_cells)
        return measure_cells(planned, output, machine, progress, repetition)
    with EngineProcesses(
        machine, progress, max_cell_s=isolation.max_cell_s, fresh=repetition.fresh
    ) as processes:
        planned = sweep_cells(grids, machine, max_cells, processes.resolve)
        return measure_cells(planned, output, machine, progress, repetition, processes)


def measure_cells(
    planned: PlannedCells,
    output: str | Path,
    machine: Machine,
    progress: Progress | None = None,
    repetition: Repetition = ONCE,
    processes: EngineProcesses | None = None,
    *,
    times: LeaseTimes = LEASE_TIMES,
) -> SweepOutcome:
    """Measure every cell, as often as `repetition` says, unless `output` holds the result.

    Other processes and machines may measure the same cells into the same directory: each cell is
    measured by one of them. This sweep ends when all its cells are stored.

    Raises InputError before anything is measured if an instance is unknown, if the directory cannot
    be written, or if a command that needs it alone writes to it. Raises GpubenchError as
    `measure_rounds` does.
    """
    for cell in planned.cells:
        check_prices(cell.spec.instance)
    directory = open_run(output)
    with directory.locked(shared=True):
        directory.check_writable()
        share = measure_share(
            planned, directory, machine, progress or Progress(), repetition, processes, times=times
        )
    wanted = [_repeated(cell, machine, directory) for cell in planned.cells]
    results = stored_results(wanted, directory, share.complete)
    return SweepOutcome(results, interrupted=not share.complete)


@dataclass(frozen=True)
class MeasuredShare:
    """What a process has done of a sweep that it may share with others."""

    complete: bool  # False: Ctrl-C has ended it
    begun: int  # measurements that it has made
    left_to_others: int  # measurements that it has not made, since others work on them


def measure_share(
    planned: PlannedCells,
    directory: RunDirectory,
    machine: Machine,
    progress: Progress,
    repetition: Repetition = ONCE,
    processes: EngineProcesses | None = None,
    *,
    wait: WaitFor = "all",
    times: LeaseTimes = LEASE_TIMES,
) -> MeasuredShare:
    """Measure every cell that `directory` does not hold, and that no other process measures.

    `processes` is that of `measure_rounds`. A cell that fails is stored with its error, and the
    sweep continues. On Ctrl-C the cell in progress is stored with what was measured, and the sweep
    ends. `wait` says for which work of others it waits at its end.

    The caller has checked that the directory can be written, and holds its lock. If the same object
    is given again, cells that others have stored with an error since the first time are not
    measured again.

    Raises InputError before anything is measured if the directory cannot be read, and GpubenchError
    as `measure_rounds` does.
    """
    wanted = [_repeated(cell, machine, directory) for cell in planned.cells]
    # Processes of their own share no engine.
    group = own_group if repetition.fresh else engine_group
    rounds = shuffled_rounds(wanted, repetition.repeats, group)
    missing = missing_turns(rounds)
    stored = [turn for round_ in rounds for turn in round_ if turn not in missing]
    progress.planned(len(missing), len(stored), planned.skipped)
    tell_changed_files(stored, progress)
    leases = Leases(directory.folder, times)
    with Claims(directory, machine.identity, leases, group, progress, wait) as claims:
        complete = measure_rounds(
            rounds, missing, machine, progress, repetition, processes=processes, claims=claims
        )
    return MeasuredShare(complete, claims.begun, claims.left_to_others)


def _repeated(cell: Cell, machine: Machine, directory: RunDirectory) -> RepeatedCell:
    return RepeatedCell(cell, cell.spec.key(machine.identity), directory)


def stored_results(
    cells: Sequence[RepeatedCell], directory: RunDirectory, complete: bool
) -> list[Result]:
    """Every repeat of these cells, with the prices asked for now."""
    keys = {each.key for each in cells}
    try:
        found = directory.read_cells(lambda name: key_and_number(name)[0] in keys)
    except InputError:
        if complete:
            raise
        return []  # Ctrl-C came before anything was measured
    repeats: dict[str, list[tuple[int, Result]]] = {}
    for name, result in found:
        key, number = key_and_number(name)
        repeats.setdefault(key, []).append((number, result))
    return [
        reprice(result, each.cell.spec.instance, each.cell.spec.usd_per_hour)
        for each in cells
        for _, result in sorted(repeats.get(each.key, []), key=lambda repeat: repeat[0])
    ]


def tell_changed_files(stored: Iterable[Turn], progress: Progress) -> None:
    """Tell `progress` which files of models were changed after these turns were measured.

    A sweep finds the stored result of a cell by its settings. They contain the name of a file, but
    not its content.
    """
    changes = (
        changed_since(turn.of.cell, turn.document().environment.time)
        for turn in stored
        if files_of(turn.of.cell)
    )
    for file, count in Counter(file for file in changes if file is not None).items():
        progress.file_changed(file, count)
