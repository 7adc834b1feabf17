"""How long each stage of a cell takes: where the time of a sweep goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

from gpubench.results.result import CellSeconds


class StageTimes:
    """Times the stages of one cell. At any moment the cell is in one stage, or in none.

    The names of the stages are those of the fields of CellSeconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = self._changed = clock()
        self._stage: str | None = None
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._shared: list[str] = []

    def enter(self, stage: str) -> None:
        """End the stage in progress, and begin `stage`. A stage may be entered several times."""
        assert stage in CellSeconds.STAGES, stage
        self.leave()
        self._stage = stage

    def leave(self) -> None:
        """End the stage in progress. What follows belongs to no stage."""
        now = self._clock()
        if self._stage is not None:
            self._seconds[self._stage] += now - self._changed
        self._stage, self._changed = None, now

    def share(self, *stages: str) -> None:
        """Note that an earlier cell did most of the work of these stages, or all of it."""
        assert CellSeconds.STAGES.issuperset(stages), stages
        self._shared += [stage for stage in stages if stage not in self._shared]

    def seconds(self) -> CellSeconds:
        """The times until now. They end the stage in progress."""
        self.leave()
        total = self._changed - self._began
        return CellSeconds(
            **self._seconds,
            other=total - sum(self._seconds.values()),
            total=total,
            shared=self._shared,
        )
