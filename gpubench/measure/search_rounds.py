"""Makes a search several times. Each repeat is a whole search with arrivals of its own.

One search has the interval of its own probes. Another search on the same machine may find another
rate, since engines, clocks and neighbours differ: see docs/comparing.md.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gpubench.errors import InputError
from gpubench.measure.cell_process import death
from gpubench.measure.fresh import (
    THIS_PROCESS,
    RepeatRequest,
    refuse_unreachable,
    run_process,
)
from gpubench.measure.limits import Limits
from gpubench.measure.progress import Progress
from gpubench.measure.search import SearchInterrupted, check_spec, objective_info, resolved, search
from gpubench.measure.time_left import TimeLeft
from gpubench.pricing.cost import check_prices, reprice_search
from gpubench.results.result import Failure, Repeat
from gpubench.results.run_directory import (
    RunDirectory,
    open_run,
    repeat_name,
    search_key,
    search_name,
)
from gpubench.results.search_result import SearchResult
from gpubench.spec.cell import Cell
from gpubench.spec.objective import SearchSettings
from gpubench.spec.repetition import Repetition
from gpubench.spec.spec import Spec
from gpubench.system.interrupts import Deferral
from gpubench.system.machine import Machine, this_machine

# Each repeat has its own arrivals. A search has fewer probes than this, and each has its own seed.
_SEEDS = 1_000_000


@dataclass(frozen=True)
class SearchOutcome:
    repeats: list[SearchResult]  # that the directory holds, made now or earlier
    interrupted: bool = False


def search_repeatedly(
    spec: Spec,
    settings: SearchSettings,
    output: str | Path,
    progress: Progress,
    repetition: Repetition,
) -> SearchOutcome:
    """Search as often as `repetition` says, unless `output` holds the repeats already.

    Each repeat is written before the next one begins, and one that fails does not end the others.
    Ctrl-C ends the search that runs. Raises InputError, before anything is measured, for what
    cannot be searched or written.
    """
    settings.check()
    check_spec(spec)
    check_prices(spec.instance)
    machine = this_machine()
    cell = resolved(spec, machine)
    directory = open_run(output)
    if repetition.fresh:
        refuse_unreachable(directory)
        search_once = partial(_in_new_process, settings=settings, progress=progress)
    else:
        search_once = partial(search_and_write, settings=settings, progress=progress)
    key = document_name(cell.spec, settings, machine)
    names = [repeat_name(key, number) for number in range(1, repetition.repeats + 1)]
    with directory.locked():
        directory.check_writable()
        missing = [name for name in names if not directory.has_search(name)]
        progress.planned(len(missing), len(names) - len(missing), {})
        limits, left = Limits([key], repetition), TimeLeft([key] * len(missing))
        series, done = secrets.token_hex(4), 0
        for number, name in enumerate(names, 1):
            if limits.end_before(number):
                break
            if name in missing:
                repeat = Repeat(
                    number=number,
                    of=len(names),
                    round=number,
                    series=series,
                    process=THIS_PROCESS,
                )
                progress.search_begins(number, left.seconds())
                began = time.monotonic()
                try:
                    search_once(
                        _varied(spec, cell, number), directory=directory, name=name, repeat=repeat
                    )
                except KeyboardInterrupt:
                    return SearchOutcome(_repeats(directory, key, spec), interrupted=True)
                left.ended(key, time.monotonic() - began)
            found = directory.read_search(name)
            limits.add(key, None if found.error else found.max_rate_per_second)
            done = number
        if len(names) > 1:
            unreached = [(cell.spec, width) for _, width in limits.unreached()]
            progress.rounds_ended(done, len(names), unreached)
    return SearchOutcome(_repeats(directory, key, spec))


def _varied(spec: Spec, cell: Cell, number: int) -> Spec:
    """The settings of a repeat: those of the first one, with other arrivals."""
    if number == 1:
        return spec
    seed = (cell.load_seed + (number - 1) * _SEEDS) % 2**63
    return spec.model_copy(update={"load_seed": seed})


def document_name(spec: Spec, settings: SearchSettings, machine: Machine) -> str:
    """The name of the document of a search, without a suffix. `spec` is that of `resolved`."""
    objective = f"p{settings.objective.percent}:{settings.objective.latency_s!r}"
    text = f"{spec.key(machine.identity)} {objective} {settings.tolerance!r} {settings.probes}"
    return search_name(hashlib.sha256(text.encode()).hexdigest()[:16])


def _repeats(directory: RunDirectory, key: str, spec: Spec) -> list[SearchResult]:
    """The repeats in their order, with the prices that `spec` asks for."""
    try:
        searches = directory.read_all(searches=True).searches
    except InputError:  # Ctrl-C came before anything was measured
        return []
    found = [
        reprice_search(each, spec.instance, spec.usd_per_hour)
        for name, each in searches
        if search_key(name) == key
    ]
    return sorted(found, key=lambda each: each.repeat.number if each.repeat else 1)


def search_and_write(
    spec: Spec,
    settings: SearchSettings,
    directory: RunDirectory,
    name: str,
    repeat: Repeat,
    progress: Progress,
) -> None:
    """Search once, and write the document.

    On Ctrl-C it raises SearchInterrupted, when what was measured is written.
    """
    interrupted = False
    with Deferral() as deferral:
        try:
            found = search(spec, settings.objective, settings.tolerance, settings.probes, progress)
        except SearchInterrupted as stop:
            found, interrupted = stop.result, True
        deferral.begin()
        found.repeat = repeat
        directory.write_search(name, found)
    if interrupted or deferral.pressed:
        raise SearchInterrupted(found)


def _in_new_process(
    spec: Spec,
    settings: SearchSettings,
    directory: RunDirectory,
    name: str,
    repeat: Repeat,
    progress: Progress,
) -> None:
    """As `search_and_write`, in a new process. If it dies, the document has the error."""
    status = run_process(
        RepeatRequest(
            spec=spec,
            allow_code=spec.allow_code,
            search=settings,
            directory=directory.url,
            name=name,
            repeat=repeat,
        )
    )
    with suppress(InputError):  # there is no document
        found = directory.read_search(name)
        if found.repeat is not None and found.repeat.series == repeat.series:
            for probe in found.probes:
                progress.measured(probe.result)
            return
    failed = SearchResult(
        spec=spec,
        objective=objective_info(settings.objective),
        repeat=repeat,
        error=Failure(stage="process", message=death(status)),
    )
    directory.write_search(name, failed)
