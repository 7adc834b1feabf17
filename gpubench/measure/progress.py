"""What a run, a sweep or a search tells of its progress. It can be imported without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gpubench.results.result import Result
from gpubench.spec.spec import Spec

if TYPE_CHECKING:
    from gpubench.results.search_result import Load, Probe
    from gpubench.statistics.crossing import Crossing


class Progress:
    """Is told how a measurement goes. It is told nothing while a cell is being measured.

    This class does nothing; override the methods that you need. `run` calls `stage`; a sweep calls
    the methods of cells, a search those of probes, and both call `stage`. A spec has all its
    defaults filled in.
    """

    def stage(self, name: str) -> None:
        """A stage of a cell begins: load, build, check, capture or measure."""

    def planned(self, to_measure: int, measured_before: int, skipped: Mapping[str, int]) -> None:
        """A sweep begins. `skipped`: why this machine cannot do some cells, and how many."""

    def file_changed(self, file: Path, kept: int) -> None:
        """The file of a model was changed after `kept` results of it, which stay as they are.

        Called once a file, before anything is measured.
        """

    def cell_begins(self, number: int, spec: Spec, seconds_left: float | None) -> None:
        """The cell `number` of a sweep, from 1. No time is known before one has ended."""

    def cell_ended(self, result: Result, elapsed_s: float) -> None:
        """The cell is measured, and its result is kept."""

    def probe_begins(self, load: Load, spec: Spec) -> None:
        """One measurement of a search; `spec` has its rate or its clients."""

    def probe_ended(self, probe: Probe) -> None:
        """The measurement is done, without an error."""

    def located(self, crossing: Crossing) -> None:
        """What all open loops of a search say so far."""
