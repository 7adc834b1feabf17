"""What a sweep or a search tells of its progress. Apart from them, to be had without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gpubench.results.result import Result
from gpubench.spec.spec import Spec

if TYPE_CHECKING:
    from gpubench.results.search_result import Load, Probe
    from gpubench.statistics.crossing import Crossing


class Watcher:
    """Is told how a sweep goes, nothing while a cell is being measured. This one says nothing."""

    def planned(self, to_measure: int, measured_before: int, skipped: Mapping[str, int]) -> None:
        """`skipped`: why this machine cannot do some cells, and how many."""

    def changed(self, file: Path, kept: int) -> None:
        """`file`, of a model, was changed after so many results of it, which are kept as they are.

        Told once a file, before anything is measured.
        """

    def begins(self, number: int, spec: Spec, seconds_left: float | None) -> None:
        """The cell `number`, from 1; no time is known before one has ended."""

    def stage(self, name: str) -> None:
        """load, build or measure."""

    def ended(self, result: Result, elapsed_s: float) -> None:
        """The cell is measured and kept."""


class SearchWatcher:
    """Is told how a search goes, nothing while anything is measured. This one says nothing."""

    def begins(self, load: Load, spec: Spec) -> None:
        """One measurement; `spec` has its rate or its clients."""

    def stage(self, name: str) -> None:
        """load, build, capture or measure."""

    def measured(self, probe: Probe) -> None:
        """It is done, without an error."""

    def located(self, crossing: Crossing) -> None:
        """What all open loops say so far."""
