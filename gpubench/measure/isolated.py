"""Measures cells in processes of their own: one for each engine.

This file is the side of the process that asks. It imports no torch, and it does not compute while
requests are measured. docs/many_machines.md says what happens when a process ends too early.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from gpubench.measure.progress import Progress
from gpubench.results.result import Repeat, Result
from gpubench.results.run_directory import CellFiles
from gpubench.spec.cell import Cell
from gpubench.system.machine import Machine

DEFAULT_MAX_CELL_S = 3600.0


@dataclass(frozen=True)
class MeasuredCell:
    """What a process measured, perhaps with an error."""

    result: Result  # with its samples
    files: CellFiles  # RunDirectory.store takes them


class EngineProcesses:
    """Measures one cell at a time. Neighbouring cells with the same engine share a process.

    It knows nothing of directories. Use it as a context manager: the end of the block ends the
    process. `machine` is the one on which it runs, and `progress` is told what the process does.
    """

    def __init__(
        self,
        machine: Machine,
        progress: Progress | None = None,
        *,
        max_cell_s: float = DEFAULT_MAX_CELL_S,
        fresh: bool = False,
    ) -> None:
        """A process that reports nothing for `max_cell_s` seconds, and is not measuring, is ended.

        With `fresh`, each measurement has a process of its own, which shares nothing with others.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end_process()

    def measure(
        self,
        cell: Cell,
        repeat: Repeat | None = None,
        keep: Callable[[MeasuredCell], None] | None = None,
    ) -> MeasuredCell:
        """Measure one cell. If the process dies, the result has the error.

        `repeat` becomes part of the document. `keep` is called with the complete cell, before a
        Ctrl-C can interrupt it. On Ctrl-C the process ends, `keep` is called with what was measured
        until then, if there is anything, and KeyboardInterrupt is raised.
        """
        raise NotImplementedError

    def end_process(self) -> None:
        """End the process. The next cell is measured in a new one, even if it shares the engine."""

    @property
    def start_seconds(self) -> float:
        """The time that starting processes took until now."""
        return 0.0
