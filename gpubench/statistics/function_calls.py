"""Figures of the calls of a serverless function: those that were cold, and those that were warm."""

from __future__ import annotations

from collections.abc import Sequence

from gpubench.results.function_calls import CallFigure, CallFigures, FunctionCall
from gpubench.statistics.percentiles import least_count, rank


def call_figures(calls: Sequence[FunctionCall], *, cold: bool) -> CallFigures | None:
    """The figures of the cold calls or of the warm ones; None if there are none."""
    chosen = [call for call in calls if call.error is None and call.cold is cold]
    if not chosen:
        return None
    return CallFigures(
        count=len(chosen),
        round_trip=_figure([call.round_trip_ms for call in chosen]),
        handler=_figure([call.handler_ms for call in chosen]),
        inference=_figure([call.inference_ms for call in chosen]),
        outside=_figure([call.outside_ms for call in chosen]),
    )


def _figure(values: Sequence[float | None]) -> CallFigure | None:
    ordered = sorted(value for value in values if value is not None)
    if not ordered:
        return None
    percentiles = {
        f"p{percent}": ordered[rank(percent, len(ordered)) - 1]
        for percent in (50, 90, 95, 99)
        if len(ordered) >= least_count(percent)
    }
    mean = sum(ordered) / len(ordered)
    figure = {"count": len(ordered), "mean": mean, "min": ordered[0], "max": ordered[-1]}
    return CallFigure.model_validate({**figure, **percentiles})
