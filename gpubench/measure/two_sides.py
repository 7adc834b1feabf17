"""Measures two cells, A and B, in turn: A, B, B, A in one round, and B, A, A, B in the next.

docs/comparing.md explains the order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gpubench.errors import InputError
from gpubench.measure.progress import Progress
from gpubench.measure.rounds import RepeatedCell, Round, Turn, measure_rounds, missing_turns
from gpubench.measure.sweep import tell_changed_files
from gpubench.pricing.cost import check_prices, reprice
from gpubench.results.result import Result
from gpubench.results.run_directory import (
    RunDirectory,
    key_and_number,
    open_run,
    temporary_folder,
)
from gpubench.spec.cell import Cell
from gpubench.spec.repetition import DEFAULT_ROUNDS, Repetition, check_rounds
from gpubench.system.machine import Machine


@dataclass(frozen=True)
class MeasuredSides:
    """Every repeat of both sides that belongs to the answer, measured now or earlier."""

    a: list[Result]
    b: list[Result]
    rounds: int  # that were measured completely
    interrupted: bool = False  # then only the repeats of complete rounds are listed


def balanced_rounds(a: RepeatedCell, b: RepeatedCell, count: int) -> list[Round]:
    """`count` rounds of four turns: A, B, B, A and B, A, A, B, alternately.

    Both sides have the same mean time in a round, so a change of the machine that is linear in time
    cancels. A bend of that change, and the order itself, act on the two kinds of rounds in opposite
    directions.
    """
    rounds: list[Round] = []
    for index in range(count):
        outer, inner = (a, b) if index % 2 == 0 else (b, a)
        early, late = 2 * index + 1, 2 * index + 2
        rounds.append(
            [Turn(outer, early), Turn(inner, early), Turn(inner, late), Turn(outer, late)]
        )
    return rounds


def measure_two_sides(
    a: Cell,
    b: Cell,
    machine: Machine,
    rounds: int = DEFAULT_ROUNDS,
    *,
    fresh: bool = True,
    output: str | Path | None = None,
    progress: Progress | None = None,
) -> MeasuredSides:
    """Measure both cells in `rounds` rounds, into the run directories `output`/a and `output`/b.

    Without `output` the directories are temporary. What they hold already is not measured again.
    With `fresh`, each measurement is made in a new process. It ends after a round in which each
    measurement of a side failed. On Ctrl-C the measurement in progress is stored with what was
    measured.

    Raises InputError before anything is measured if `rounds` is too small, if an instance is
    unknown, or if a directory cannot be written or holds other cells. Raises GpubenchError as
    `measure_rounds` does.
    """
    check_rounds(rounds)
    for cell in (a, b):
        check_prices(cell.spec.instance)
    progress = progress or Progress()
    with _directories(output) as (directory_a, directory_b):
        side_a, side_b = (
            RepeatedCell(cell, cell.spec.key(machine.identity), directory)
            for cell, directory in ((a, directory_a), (b, directory_b))
        )
        for side in (side_a, side_b):
            side.directory.check_writable()
            _refuse_other_cells(side)
        plan = balanced_rounds(side_a, side_b, rounds)
        missing = missing_turns(plan)
        stored = [turn for round_ in plan for turn in round_ if turn not in missing]
        progress.planned(len(missing), len(stored), {})
        tell_changed_files(stored, progress)
        repetition = Repetition(2 * rounds, fresh=fresh)
        finished = measure_rounds(plan, missing, machine, progress, repetition, end_on_failure=True)
        still_missing = missing_turns(plan)
        complete = [round_ for round_ in plan if still_missing.isdisjoint(round_)]
        results_a, results_b = (
            _results(side, None if finished else complete) for side in (side_a, side_b)
        )
    return MeasuredSides(results_a, results_b, len(complete), interrupted=not finished)


@contextmanager
def _directories(output: str | Path | None) -> Iterator[tuple[RunDirectory, RunDirectory]]:
    """The locked directories of both sides."""
    with ExitStack() as stack:
        if output is None:
            output = stack.enter_context(temporary_folder())
        place = str(output).rstrip("/")
        if not place.strip():
            raise InputError("--output: it is empty; give a directory or a URL")
        a, b = open_run(f"{place}/a"), open_run(f"{place}/b")
        stack.enter_context(a.locked())
        stack.enter_context(b.locked())
        yield a, b


def _refuse_other_cells(side: RepeatedCell) -> None:
    """Each directory holds one cell, so the two together are one comparison.

    Otherwise a side that two comparisons have in common would be measured in the first one only.
    """
    for name, result in _documents(side.directory):
        if key_and_number(name)[0] != side.key:
            raise InputError(
                f"{side.directory.url} holds another cell: {result.spec.describe()}; choose "
                "another --output"
            )


def _results(side: RepeatedCell, rounds: Sequence[Round] | None) -> list[Result]:
    """The repeats of a side, with the prices that are asked for now: all, or those of `rounds`."""
    names = (
        None
        if rounds is None
        else {turn.name for round_ in rounds for turn in round_ if turn.of is side}
    )
    spec = side.cell.spec
    return [
        reprice(result, spec.instance, spec.usd_per_hour)
        for name, result in _documents(side.directory)
        if names is None or name in names
    ]


def _documents(directory: RunDirectory) -> list[tuple[str, Result]]:
    """The names and the documents in a directory, which may be empty."""
    try:
        return directory.read_all().cells
    except InputError:  # it has none that can be read
        return []
