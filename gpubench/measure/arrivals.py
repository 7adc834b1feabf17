"""When the requests of an open loop arrive."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gpubench import core
from gpubench.results.samples import Nanoseconds
from gpubench.spec.spec import Spec
from gpubench.spec.trace import read_trace

# Added to the seed of the load, so that the arrivals that settle the queue are others.
_SETTLING_SEED = 2**63


def schedule(spec: Spec) -> tuple[Nanoseconds, float]:
    """(due times in ns from the start, seconds at their beginning that only fill the queue).

    The settling part and the measured part are two schedules, one after the other, each with as
    many arrivals as the rate makes of its length. So exactly the requests asked for are counted (a
    whole number of bursts, at least), the window is known before the run, and in it the rate that
    is offered is the rate asked for. The window neither begins nor ends at an arrival of its own
    choice: a Poisson process, given the number of its arrivals in a fixed time, has them anywhere
    in it with the same probability.

    A trace is measured whole. Raises InputError for one that cannot be used.
    """
    pattern, _, argument = spec.arrivals.partition(":")
    if pattern == "trace":
        return read_trace(Path(argument), spec.rate), 0.0
    assert spec.rate is not None  # else the loop is closed
    together = int(argument) if pattern == "burst" else 1
    asked_for = spec.requests or max(1, round(spec.rate * (spec.duration or 0.0)))
    measured = _whole_bursts(asked_for, together)
    settling = _whole_bursts(round(spec.rate * spec.warmup), together)
    settle_ns = round(settling / spec.rate * 1e9)

    def arrivals(count: int, seed: int) -> Nanoseconds:
        assert spec.rate is not None
        if pattern == "poisson":
            return core.poisson_arrivals(spec.rate, count, seed)
        return core.burst_arrivals(spec.rate, count, together)

    due_ns = settle_ns + arrivals(measured, spec.seed_of_load)
    if settling:
        before_ns = arrivals(settling, (spec.seed_of_load + _SETTLING_SEED) % 2**64)
        due_ns = np.concatenate((np.minimum(before_ns, settle_ns - 1), due_ns))
    return due_ns, settle_ns / 1e9


def _whole_bursts(requests: int, burst: int) -> int:
    return -(-requests // burst) * burst
