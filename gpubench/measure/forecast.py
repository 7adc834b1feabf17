"""Says what a sweep would measure and about how long it would take. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean

from gpubench.cells.grid import Grid, PlannedCells, sweep_cells
from gpubench.errors import InputError
from gpubench.measure.assemble import Attempt, assemble
from gpubench.measure.environment import environment
from gpubench.measure.search_rounds import document_name
from gpubench.measure.search_sweep import planned_settings
from gpubench.measure.time_left import SecondsBasis, from_settings
from gpubench.pricing.cost import costs
from gpubench.results.forecast import CellForecast, Forecast
from gpubench.results.result import Result
from gpubench.results.run_directory import Contents, RunDirectory, open_run, repeat_name
from gpubench.results.search_result import SearchResult
from gpubench.spec.cell import Cell
from gpubench.spec.objective import SearchSettings
from gpubench.spec.repetition import Repetition
from gpubench.system.machine import Machine, this_machine

_UNKNOWN: SecondsBasis = (None, None)


def forecast_cells(
    grids: Sequence[Grid], output: str | Path, max_cells: int, repetition: Repetition
) -> Forecast:
    """What `sweep_grids` would do with the same arguments.

    Raises InputError for what it refuses before it writes.
    """
    machine = this_machine()
    planned = sweep_cells(grids, machine, max_cells)
    directory = open_run(output)
    earlier = [result for _, result in _contents(directory).cells]

    def names(cell: Cell) -> list[str]:
        key = cell.spec.key(machine.identity)
        return [repeat_name(key, number) for number in range(1, repetition.repeats + 1)]

    def estimate(cell: Cell) -> SecondsBasis:
        same = [r for r in earlier if r.spec.measured_settings() == cell.spec.measured_settings()]
        return _mean(same) or from_settings(cell, earlier)

    cells = _forecasts(planned, machine, names, directory.has, estimate)
    ends_early = repetition.until is not None or repetition.max_time_s is not None
    return Forecast(cells, planned.skipped, "repeat", ends_early)


def forecast_searches(
    grids: Sequence[Grid], output: str | Path, max_cells: int, wanted: SearchSettings
) -> Forecast:
    """What `search_grids` would do with the same arguments.

    Raises InputError for what it refuses before it writes.
    """
    machine = this_machine()
    planned = planned_settings(grids, wanted, machine, max_cells)
    directory = open_run(output)
    earlier = [found for _, found in _contents(directory).searches]

    def names(cell: Cell) -> list[str]:
        return [document_name(cell.spec, wanted, machine)]

    def is_stored(name: str) -> bool:
        # One that was dropped is only continued if it may win after all.
        try:
            return directory.has_search(name) or directory.read_search(name).pruned is not None
        except InputError:
            return False

    def estimate(cell: Cell) -> SecondsBasis:
        took_s = [_search_seconds(found) for found in earlier]
        known = [each for each in took_s if each]
        if known:
            return fmean(known), "earlier"
        window_s, warmup_s = cell.spec.duration, cell.warmup_s
        if window_s is None or warmup_s is None:
            return _UNKNOWN
        return wanted.probes * (warmup_s + window_s), "settings"

    cells = _forecasts(planned, machine, names, is_stored, estimate)
    return Forecast(cells, planned.skipped, "search", at_most=True)


def _contents(directory: RunDirectory) -> Contents:
    try:
        return directory.read_all(searches=True)
    except InputError:  # there is none, or nothing in it can be read
        return Contents([], [], [], [])


def _forecasts(
    planned: PlannedCells,
    machine: Machine,
    names: Callable[[Cell], list[str]],
    is_stored: Callable[[str], bool],
    estimate: Callable[[Cell], SecondsBasis],
) -> list[CellForecast]:
    forecasts = []
    for cell in planned.cells:
        documents = names(cell)
        stored = sum(map(is_stored, documents))
        missing = len(documents) - stored
        seconds, basis = estimate(cell) if missing else _UNKNOWN
        shown = assemble(cell, environment(machine, cell), Attempt())
        shown.costs = costs(shown)
        if shown.spec.open_loop and shown.spec.rate is None:  # a search chooses its rates
            shown.spec = shown.spec.model_copy(update={"rate": 1.0})
        total = None if seconds is None else missing * seconds
        forecasts.append(CellForecast(shown, missing, stored, total, basis))
    return forecasts


def _mean(results: Iterable[Result]) -> SecondsBasis | None:
    took_s = [r.seconds.total for r in results if r.seconds is not None and r.error is None]
    return (fmean(took_s), "earlier") if took_s else None


def _search_seconds(found: SearchResult) -> float:
    if found.error is not None or found.pruned is not None:
        return 0.0
    return sum(probe.result.seconds.total for probe in found.probes if probe.result.seconds)
