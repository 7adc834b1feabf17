"""When repeats end before the number that was asked for."""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from gpubench.spec.repetition import LEAST_REPEATS_UNTIL, Repetition
from gpubench.statistics.repeats import half_width

Repeated = TypeVar("Repeated", bound=Hashable)


class Limits(Generic[Repeated]):
    """Decides before each round whether it begins: see `until` and `max_time_s` of Repetition."""

    def __init__(self, repeated: Iterable[Repeated], repetition: Repetition) -> None:
        self._until, self._max_time_s = repetition.until, repetition.max_time_s
        self._logs: dict[Repeated, list[float]] = {each: [] for each in repeated}
        self._began = self._round_began = time.monotonic()
        self._longest_round_s = 0.0

    @property
    def wants_figures(self) -> bool:
        return self._until is not None

    def add(self, repeated: Repeated, figure: float | None) -> None:
        """A repeat has this figure, which is to be known well enough. None: it failed."""
        if figure:
            self._logs[repeated].append(math.log(figure))

    def end_before(self, round_number: int) -> bool:
        """Call this once before each round, from 1."""
        now = time.monotonic()
        self._longest_round_s = max(self._longest_round_s, now - self._round_began)
        self._round_began = now
        if self._until is not None and round_number > LEAST_REPEATS_UNTIL and not self.unreached():
            return True
        end_s = now - self._began + self._longest_round_s
        return round_number > 1 and self._max_time_s is not None and end_s > self._max_time_s

    def unreached(self) -> list[tuple[Repeated, float | None]]:
        """What is not known well enough, with the half-width of its interval. None: it has none.

        What failed each time is left out: no further round would make it known.
        """
        if self._until is None:
            return []
        widths = [(each, half_width(logs)) for each, logs in self._logs.items() if logs]
        return [(each, width) for each, width in widths if width is None or width > self._until]
