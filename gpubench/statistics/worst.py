"""The slowest request of a window, and where in the run it was."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from gpubench.results.result import Worst
from gpubench.results.samples import Samples
from gpubench.statistics.stages import stages_ns
from gpubench.statistics.windows import Mask

_NS_PER_MS, _NS_PER_S = 1e6, 1e9


def worst_request(samples: Samples, counted: Mask, opens_ns: int) -> Worst | None:
    """The slowest of the counted requests, the first one if several are equally slow.

    `opens_ns` is the start of the window, on the clock of the samples. None if no request counts.
    """
    if not counted.any():
        return None
    rows = np.flatnonzero(counted)
    row = int(rows[samples.latency_ns[rows].argmax()])
    stages = {name: int(stage_ns[0]) for name, stage_ns in stages_ns(_only(samples, row)).items()}
    longest = max(stages, key=lambda name: stages[name])
    return Worst(
        latency_ms=float(samples.latency_ns[row]) / _NS_PER_MS,
        at_seconds=float(samples.scheduled_ns[row] - opens_ns) / _NS_PER_S,
        request=row,
        longest_stage=longest,
        longest_stage_ms=stages[longest] / _NS_PER_MS,
    )


def _only(samples: Samples, row: int) -> Samples:
    """The samples of one request."""
    columns = {column.name: getattr(samples, column.name) for column in fields(samples)}
    one: dict[str, Any] = {
        name: column[row : row + 1]
        for name, column in columns.items()
        if isinstance(column, np.ndarray) and name != "unfinished_scheduled_ns"
    }
    return replace(samples, **one)
