"""What a sweep tells of its progress. Apart from the sweep, so that it can be had without torch."""

from __future__ import annotations

from collections.abc import Mapping

from gpubench.result import Result
from gpubench.spec import Spec


class Watcher:
    """Is told how a sweep goes, nothing while a cell is being measured. This one says nothing."""

    def planned(self, to_measure: int, measured_before: int, skipped: Mapping[str, int]) -> None:
        """`skipped`: why this machine cannot do some cells, and how many."""

    def begins(self, number: int, spec: Spec, seconds_left: float | None) -> None:
        """The cell `number`, from 1; no time is known before one has ended."""

    def stage(self, name: str) -> None:
        """load, build or measure."""

    def ended(self, result: Result, elapsed_s: float) -> None:
        """The cell is measured and kept."""
