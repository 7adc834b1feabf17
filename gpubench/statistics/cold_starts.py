"""Figures of cold starts: when the service time has settled, and the percentiles of each stage."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from gpubench.results.cold_result import ColdFigure, ColdFigures, ColdStart, StartSeconds
from gpubench.statistics.percentiles import least_count, rank

# A start is followed until one of these limits is reached.
MOST_INFERENCES = 50
MOST_SETTLING_S = 10.0
# The service time has settled if the median of this many inferences in a row is at most this share
# above the median of the last third. A median is used because other programs delay single ones.
_IN_A_ROW = 5
_MARGIN = 0.1
_LEAST_INFERENCES = 3 * _IN_A_ROW


def settled_after(service_s: Sequence[float]) -> int | None:
    """How many inferences were slower than the later ones: the smallest n >= 1 such that
    the median of inferences n + 1 to n + 5 is at most 10% above the median of the last third.

    `service_s` are the service times of all inferences, in order. The first one always counts as
    slow. None if there are fewer than 15 after it, or if only the last third itself has settled.
    """
    later = service_s[1:]
    if len(later) < _LEAST_INFERENCES:
        return None
    last_third = len(later) - len(later) // 3
    limit = (1 + _MARGIN) * median(later[last_third:])
    for begin in range(last_third - _IN_A_ROW + 1):
        if median(later[begin : begin + _IN_A_ROW]) <= limit:
            return begin + 1
    return None


def unsettled_note(inferences: int) -> str:
    """Why `settled_after` has no answer for this many inferences."""
    if inferences <= _LEAST_INFERENCES:
        return (
            f"{inferences} inferences in {MOST_SETTLING_S:g} s; "
            f"{_LEAST_INFERENCES + 1} are needed to see when the service time settles"
        )
    return f"the service time had not settled after {inferences} inferences"


def figures_of(starts: Sequence[ColdStart]) -> list[ColdFigures]:
    """The figures of each state of the page cache, in the order in which they first appear."""
    states = dict.fromkeys(start.state for start in starts)
    return [
        _figures(state, [start for start in starts if start.state == state]) for state in states
    ]


def _figures(state: str, starts: Sequence[ColdStart]) -> ColdFigures:
    measured = [start for start in starts if start.error is None]
    stages = {
        name: _figure([getattr(start.seconds, name) for start in measured])
        for name in StartSeconds.model_fields
    }
    return ColdFigures(
        page_cache=state,
        count=len(measured),
        failed=len(starts) - len(measured),
        seconds={name: figure for name, figure in stages.items() if figure is not None},
        ready=_figure([start.ready_seconds for start in measured]),
        total=_figure([start.total_seconds for start in measured]),
    )


def _figure(values: Sequence[float | None]) -> ColdFigure | None:
    ordered = sorted(value for value in values if value is not None)
    if not ordered:
        return None
    percentiles = {
        f"p{percent}": ordered[rank(percent, len(ordered)) - 1]
        for percent in (50, 90, 95)
        if len(ordered) >= least_count(percent)
    }
    figure = {"count": len(ordered), "min": ordered[0], "max": ordered[-1], **percentiles}
    return ColdFigure.model_validate(figure)
