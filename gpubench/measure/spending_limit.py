"""Ends a sweep before it costs more than a person wants to spend."""

from __future__ import annotations

import time

from gpubench.cells.resolve import cell_of
from gpubench.measure.progress import Progress
from gpubench.measure.time_left import run_seconds
from gpubench.results.result import Result
from gpubench.spec.spec import Spec


class SpendingLimit(Progress):
    """Ends a sweep before a cell after which its bill would probably be above the limit.

    The bill is the time since this object was made, times the price of the machine. The next cell
    is expected to take as long as the mean of those before, and at least its warm-up and window.
    """

    def __init__(self, usd_per_hour: float, max_usd: float) -> None:
        self.usd_per_hour, self.max_usd = usd_per_hour, max_usd
        self.reached = False
        self._began_s = time.monotonic()
        self._took_s: list[float] = []

    @property
    def usd(self) -> float:
        """The bill until now."""
        return (time.monotonic() - self._began_s) / 3600 * self.usd_per_hour

    def cell_begins(self, number: int, spec: Spec, seconds_left: float | None) -> None:
        """Raises KeyboardInterrupt, which ends a sweep in order, if the cell costs too much."""
        mean_s = sum(self._took_s) / len(self._took_s) if self._took_s else 0.0
        next_s = max(mean_s, run_seconds(cell_of(spec)) or 0.0)
        if self.usd + next_s / 3600 * self.usd_per_hour > self.max_usd:
            self.reached = True
            raise KeyboardInterrupt

    def cell_ended(self, result: Result, elapsed_s: float) -> None:
        self._took_s.append(elapsed_s)
