"""How long measurements take: before they begin, and from those that have ended."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

from gpubench.results.forecast import Basis
from gpubench.results.result import Result
from gpubench.spec.cell import Cell, ClosedLoad, OpenLoad

SecondsBasis = tuple[float | None, Basis | None]  # seconds of one measurement, and how it is known


def run_seconds(cell: Cell) -> float | None:
    """The warm-up and the measured run of a cell. None: it depends on how fast the cell is."""
    window_s = window_seconds(cell)
    return None if cell.warmup_s is None or window_s is None else cell.warmup_s + window_s


def window_seconds(cell: Cell, requests_per_second: float | None = None) -> float | None:
    """The measured run of a cell. None: it depends on how fast the cell is, and that is not known.

    `requests_per_second` is the rate of its closed loop.
    """
    load = cell.load
    if isinstance(load, ClosedLoad):
        seconds = [] if load.duration_s is None else [load.duration_s]
        if load.requests is not None and requests_per_second:
            seconds.append(load.requests / requests_per_second)
        return min(seconds, default=None)
    if isinstance(load, OpenLoad):
        return (load.settling + load.requests) / load.rate_per_second
    return float(load.trace.due_ns(load.rate_per_second)[-1]) / 1e9


def from_settings(cell: Cell, earlier: Sequence[Result]) -> SecondsBasis:
    """The warm-up and the window, and the rest of the time of cells of the same model, if any."""
    run_s = run_seconds(cell)
    if run_s is None:
        return None, None
    rest = [
        result.seconds.total - (result.seconds.warmup or 0.0) - (result.seconds.measure or 0.0)
        for result in earlier
        if result.seconds is not None
        and result.error is None
        and (result.spec.model, result.spec.runtime) == (cell.spec.model, cell.spec.runtime)
    ]
    return (run_s + _mean(rest), "settings-and-earlier") if rest else (run_s, "settings")


class TimeLeft:
    """Estimates how long the remaining measurements take, from those that have ended.

    It keeps sums, so that an estimate takes no longer in a sweep of many cells.
    """

    def __init__(self, cells: Iterable[Hashable]) -> None:
        """`cells` has one entry for each measurement: the cell that it measures."""
        self._left = Counter(cells)
        self._took_s: dict[Hashable, list[float]] = defaultdict(list)
        self._sum_s, self._ended = 0.0, 0  # of all measurements that have ended
        self._left_of_known_s = 0.0  # what remains of the cells that were measured before
        self._left_of_others = self._left.total()  # the measurements of all other cells

    def ended(self, cell: Hashable, seconds: float) -> None:
        """A measurement of `cell` has ended. It took this long, with everything around it."""
        took_s = self._took_s[cell]
        if took_s:
            self._left_of_known_s -= self._left[cell] * _mean(took_s)
        else:
            self._left_of_others -= self._left[cell]
        took_s.append(seconds)
        self._left[cell] -= 1
        self._left_of_known_s += self._left[cell] * _mean(took_s)
        self._sum_s += seconds
        self._ended += 1

    def seconds(self) -> float | None:
        """None: nothing was measured yet."""
        if not self._ended:
            return None
        return self._left_of_known_s + self._left_of_others * self._sum_s / self._ended


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
