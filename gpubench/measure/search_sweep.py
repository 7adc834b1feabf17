"""Finds the setting of a grid that serves the most within an objective: `sweep --objective`.

    every setting:   one client, then a saturated closed loop          -> expected rate
    in the order of  open loops, until the rate is known, or until it
    expected rates:  is certain that another setting serves more       -> rate, or dropped

Settings of the same workload compete (`spec.workload.competition`). Their machine is the same, so
the highest rate is also the cheapest. Each setting is one document `search-KEY.json`, which
`gpubench search` would also write; that of a dropped setting has `pruned`. A second sweep takes the
probes from these documents, and decides again which settings to drop. docs/search.md explains the
method.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gpubench.cells.grid import MAX_CELLS, Grid, PlannedCells, grids_of, sweep_cells
from gpubench.errors import GpubenchError, InputError
from gpubench.measure.cell import Bench
from gpubench.measure.fresh import THIS_PROCESS
from gpubench.measure.progress import Progress
from gpubench.measure.search import SearchInterrupted, StagedSearch, resolved
from gpubench.measure.search_rounds import document_name
from gpubench.models.local_files import changed_since, files_of
from gpubench.pricing.cost import check_prices, reprice_search
from gpubench.results.result import Failure, Repeat
from gpubench.results.run_directory import RunDirectory, open_run
from gpubench.results.search_result import SearchResult
from gpubench.spec.cell import Cell
from gpubench.spec.objective import (
    DEFAULT_PROBES,
    DEFAULT_TOLERANCE,
    Objective,
    SearchSettings,
    parse_objective,
)
from gpubench.spec.varied import varied_text
from gpubench.spec.workload import competition
from gpubench.statistics.pruning import Best, best_of
from gpubench.system.interrupts import Deferral
from gpubench.system.machine import Machine, this_machine

_NOT_SEARCHED = "only its closed loops were measured; run the same sweep again"


@dataclass(frozen=True)
class SearchSweepOutcome:
    searches: list[SearchResult]  # of all settings that the directory holds, in the grid's order
    interrupted: bool = False


def search_grid(
    grids: str | Path | Mapping[str, object] | Sequence[Mapping[str, object]],
    output: str | Path,
    objective: str | Objective,
    tolerance: float = DEFAULT_TOLERANCE,
    probes: int = DEFAULT_PROBES,
    progress: Progress | None = None,
    allow_code: bool = False,
    max_cells: int = MAX_CELLS,
) -> list[SearchResult]:
    """Search a grid of settings for the one that serves the most within `objective` ("p95:100ms").

    `grids`, `output`, `allow_code` and `max_cells` are those of `sweep`; the others are those of
    `search`. Returns one result for each setting, in the order of the grid. A setting that cannot
    win is not searched to the end: its result has `pruned`, and no rate.

    Raises InputError before anything is measured, for what `sweep` or `search` refuses. Raises
    KeyboardInterrupt on Ctrl-C, when everything that was measured is on disk.
    """
    objective = parse_objective(objective)
    settings = SearchSettings(objective, tolerance, probes)
    outcome = search_grids(grids_of(grids, allow_code), output, settings, progress, max_cells)
    if outcome.interrupted:
        raise KeyboardInterrupt
    return outcome.searches


def search_grids(
    grids: Sequence[Grid],
    output: str | Path,
    settings: SearchSettings,
    progress: Progress | None = None,
    max_cells: int = MAX_CELLS,
) -> SearchSweepOutcome:
    """As `search_grid`, but Ctrl-C ends it with what `output` holds.

    A setting that fails is stored with its error, and the others follow. Raises GpubenchError if
    the directory can no longer be written, or if a batch hangs.
    """
    machine = this_machine()
    planned = planned_settings(grids, settings, machine, max_cells)
    directory = open_run(output)
    progress = progress or Progress()
    with directory.locked():
        directory.check_writable()
        race = _Race(planned.cells, settings, directory, machine, progress)
        progress.planned(race.to_measure, race.measured_before, planned.skipped)
        race.tell_changed_files()
        interrupted = False
        try:
            race.run()
        except KeyboardInterrupt:
            interrupted = True
    return SearchSweepOutcome(race.results(), interrupted)


def planned_settings(
    grids: Sequence[Grid], settings: SearchSettings, machine: Machine, max_cells: int
) -> PlannedCells:
    """The settings of a sweep with an objective. Raises InputError as `search_grid` does."""
    settings.check()
    for grid in grids:
        _refuse(grid)
    planned = sweep_cells(grids, machine, max_cells, resolved)
    for cell in planned.cells:
        check_prices(cell.spec.instance)
    return planned


def _refuse(grid: Grid) -> None:
    """Raises InputError for settings that the searches choose, or cannot use."""
    for name in ("clients", "rate"):
        if grid.settings.get(name) is not None:
            raise InputError(
                f"{grid.location(name)}: {name}: a sweep with an objective chooses it; remove it"
            )
    arrivals = grid.settings.get("arrivals")
    for pattern in arrivals if isinstance(arrivals, (list, tuple)) else (arrivals,):
        if str(pattern).startswith("trace:"):
            raise InputError(
                f"{grid.location('arrivals')}: arrivals: every probe needs different arrivals, and "
                "a trace has always the same; use poisson, constant or burst:N"
            )


class _Setting:
    """A setting of the grid: its document, and its search while it is not complete."""

    def __init__(self, cell: Cell, name: str, directory: RunDirectory, text: str) -> None:
        self.cell, self.name, self.text = cell, name, text
        self._directory = directory
        self.stored: SearchResult | None = None
        self.search: StagedSearch | None = None
        try:
            self.stored = directory.read_search(name)
        except InputError:  # there is none, or it is damaged
            directory.has_search(name)  # raises if it cannot be read
        self.complete = self.stored is not None and directory.has_search(name)

    @property
    def measured_before(self) -> bool:
        """Whether its document has an answer, as long as no better setting is known."""
        return self.complete or (
            self.stored is not None and self.stored.pruned is not None and not self.changed_file
        )

    @property
    def latest(self) -> SearchResult | None:
        return self.search.found if self.search is not None else self.stored

    @property
    def changed_file(self) -> Path | None:
        """The file of the model, if it was changed after the stored result."""
        if self.stored is None or self.stored.environment is None or not files_of(self.cell):
            return None
        return changed_since(self.cell, self.stored.environment.time)

    def open(self, objective: Objective, progress: Progress, bench: Bench) -> StagedSearch:
        """Its search, which continues with the probes of the document."""
        earlier = []
        if self.stored is not None and self.changed_file is None:
            earlier = [p for p in self.stored.probes if p.result.error is None and p.requests]
        self.search = StagedSearch(self.cell, objective, progress, bench, earlier)
        return self.search

    def write(self, series: str, is_last: bool) -> None:
        """Write what is known now, unless the document says exactly that."""
        found = self.search.found if self.search is not None else None
        if found is None or (is_last and self._says(found)):
            self.search = None
            return
        found.repeat = Repeat(number=1, of=1, round=1, series=series, process=THIS_PROCESS)
        if not is_last and self.search is not None and not self.search.ended:
            error = Failure(stage="measure", message=_NOT_SEARCHED)
            found = found.model_copy(update={"error": error})
        self._directory.write_search(self.name, found)

    def _says(self, found: SearchResult) -> bool:
        return (
            self.stored is not None
            and self.stored.error is None
            and self.stored.pruned == found.pruned
            and len(self.stored.probes) == len(found.probes)
        )


class _Race:
    """The settings of a sweep, and the best one until now of each workload."""

    def __init__(
        self,
        planned: Sequence[Cell],
        wanted: SearchSettings,
        directory: RunDirectory,
        machine: Machine,
        progress: Progress,
    ) -> None:
        self._wanted, self._machine, self._progress = wanted, machine, progress
        self._series = secrets.token_hex(4)
        texts = varied_text([cell.spec for cell in planned])
        self._all = [
            _Setting(cell, document_name(cell.spec, wanted, machine), directory, text)
            for cell, text in zip(planned, texts, strict=True)
        ]
        self._best: dict[Hashable, Best] = {}
        for setting in self._all:
            if setting.complete and setting.stored is not None:
                self._compare(setting, setting.stored)

    @property
    def to_measure(self) -> int:
        return sum(not setting.measured_before for setting in self._all)

    @property
    def measured_before(self) -> int:
        return len(self._all) - self.to_measure

    def tell_changed_files(self) -> None:
        changes = Counter(s.changed_file for s in self._all if s.complete)
        for file, count in changes.items():
            if file is not None:
                self._progress.file_changed(file, count)

    def results(self) -> list[SearchResult]:
        """What is known of each setting, with the prices that are asked for now."""
        return [
            reprice_search(found, setting.cell.spec.instance, setting.cell.spec.usd_per_hour)
            for setting in self._all
            if (found := setting.latest) is not None
        ]

    def run(self) -> None:
        """Screen every setting that is not complete, then search those that may win.

        Raises SearchInterrupted on Ctrl-C, when everything is written.
        """
        with Bench(self._machine, self._progress) as bench:
            searches = [
                (setting, setting.open(self._wanted.objective, self._progress, bench))
                for setting in self._all
                if not setting.complete
            ]
            unscreened = [each for each in searches if not each[1].is_screened]
            for number, (setting, search) in enumerate(unscreened, 1):
                self._progress.setting_begins(number, len(unscreened), setting.text, None)
                elapsed_s = self._stage(bench, setting, search.screen, is_last=False)
                self._progress.screened(search.found, elapsed_s)
            for _, search in searches:
                if search.is_screened and not search.ended:
                    search.screen()  # it only reads the probes
            contenders = [each for each in searches if not each[1].ended]
            contenders.sort(key=lambda each: _expected(each[1]), reverse=True)
            if contenders:
                self._progress.contenders(len(contenders), self._most_s(contenders))
            for number, (setting, search) in enumerate(contenders, 1):
                most_s = self._most_s(contenders[number - 1 :])
                self._progress.setting_begins(number, len(contenders), setting.text, most_s)
                locate = partial(self._locate, setting, search)
                elapsed_s = self._stage(bench, setting, locate, is_last=True)
                self._compare(setting, search.found)
                self._progress.setting_ended(search.found, elapsed_s)

    def _locate(self, setting: _Setting, search: StagedSearch) -> None:
        best = self._best.get(competition(setting.cell.spec))
        search.locate(self._wanted.tolerance, self._wanted.probes, best)

    def _stage(
        self, bench: Bench, setting: _Setting, stage: Callable[[], None], is_last: bool
    ) -> float:
        """Do one stage of a search, and write its document. Returns the seconds that it took."""
        if bench.has_hung_batch:
            raise GpubenchError(
                "a batch of the last setting hung; its thread still runs and would disturb the "
                "following settings: run the same command again to continue"
            )
        began = time.monotonic()
        interrupted = False
        with Deferral() as deferral:
            try:
                stage()
            except SearchInterrupted:
                interrupted = True
            deferral.begin()
            setting.write(self._series, is_last)
        if interrupted or deferral.pressed:
            raise KeyboardInterrupt
        return time.monotonic() - began

    def _compare(self, setting: _Setting, found: SearchResult) -> None:
        """Make this setting the one to beat, if its result is valid and it is better."""
        rate = found.max_rate_per_second
        if rate is None or found.error is not None or found.verdict.status != "valid":
            return
        batch = found.spec.batch
        interval = found.interval and (found.interval[0] * batch, found.interval[1] * batch)
        near = sum(probe.near for probe in found.probes)
        new = best_of(rate * batch, interval, near, setting.text)
        workload = competition(setting.cell.spec)
        best = self._best.get(workload)
        if new is not None and (best is None or new.to_beat() > best.to_beat()):
            self._best[workload] = new

    def _most_s(self, contenders: Sequence[tuple[_Setting, StagedSearch]]) -> float:
        """The time of all warm-ups and windows, if no contender is dropped."""
        return sum(
            max(0, self._wanted.probes - search.opened) * search.probe_s for _, search in contenders
        )


def _expected(search: StagedSearch) -> float:
    """Inferences per second."""
    return search.expected_rate * search.found.spec.batch
