"""A cell that another process has measured: its files, and the result that they hold."""

from __future__ import annotations

from dataclasses import dataclass

from gpubench.measure.assemble import Attempt, assemble
from gpubench.measure.environment import environment
from gpubench.results.parquet import from_parquet
from gpubench.results.result import Failure, Repeat, Result, parse_result
from gpubench.results.run_directory import CellFiles, cell_files
from gpubench.spec.cell import Cell
from gpubench.statistics.windows import counted_samples
from gpubench.system.machine import Machine

_ORIGIN = "the cell of another process"  # for messages


@dataclass(frozen=True)
class MeasuredCell:
    """What a process measured, perhaps with an error."""

    result: Result  # with its samples
    files: CellFiles  # RunDirectory.store takes them


def cell_in(files: CellFiles) -> MeasuredCell:
    """The cell that these files hold."""
    result = parse_result(files.document.decode(), _ORIGIN)
    if files.samples is not None:
        samples = from_parquet(files.samples, _ORIGIN)
        result.with_samples(samples, counted_samples(samples, result.window.counted)[0])
    return MeasuredCell(result, files)


def failed_cell(
    cell: Cell, machine: Machine, repeat: Repeat | None, failure: Failure
) -> MeasuredCell:
    """A cell whose process has ended without a result."""
    here = environment(machine, cell, imports_torch=False)
    result = assemble(cell, here, Attempt(error=failure))
    result.repeat = repeat
    return MeasuredCell(result, cell_files(result, None))


def with_failure(measured: MeasuredCell, failure: Failure) -> MeasuredCell:
    """A part of a cell, with the reason why its process was ended."""
    samples, counted = measured.result.samples, measured.result.counted
    result = measured.result.model_copy(update={"error": failure}).with_samples(samples, counted)
    return MeasuredCell(result, cell_files(result, samples))
