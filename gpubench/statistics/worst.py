"""The slowest request of a window, and where in the run it was."""

from __future__ import annotations

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
    stages = {name: int(stage_ns[row]) for name, stage_ns in stages_ns(samples).items()}
    longest = max(stages, key=lambda name: stages[name])
    return Worst(
        latency_ms=float(samples.latency_ns[row]) / _NS_PER_MS,
        at_seconds=float(samples.scheduled_ns[row] - opens_ns) / _NS_PER_S,
        request=row,
        longest_stage=longest,
        longest_stage_ms=stages[longest] / _NS_PER_MS,
    )
