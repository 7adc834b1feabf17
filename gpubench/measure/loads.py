"""What a cell's load offers to the workers, and when a run of it is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gpubench import core
from gpubench.measure.arrivals import schedule
from gpubench.results.samples import Nanoseconds
from gpubench.spec.cell import Cell, ClosedLoad, OpenLoad
from gpubench.statistics import ClosedLoop, OpenLoop

# An open loop that fell behind is drained for this long after its last arrival.
_LEAST_DRAIN_S = 5.0


@dataclass(frozen=True)
class OfferedLoad:
    """A source of requests for the core, with the limits of its run."""

    source: core.RequestSource
    expected: int  # requests, about
    stop_after_completions: int | None
    stop_after_s: float | None
    # Which of the samples count, given the start of the run in ns.
    counted: Callable[[int], ClosedLoop | OpenLoop]


def offered_load(cell: Cell, requests_per_second: float) -> OfferedLoad:
    """The load of `cell`, where its warm-up completed `requests_per_second`."""
    load = cell.load
    if isinstance(load, ClosedLoad):
        return _closed(cell, load, requests_per_second)
    if isinstance(load, OpenLoad):
        due_ns = schedule(load, cell.load_seed)
        end_ns = load.settling_ns + round(load.requests / load.rate_per_second * 1e9)
        return _open(cell, due_ns, load.settling_ns, end_ns, load.burst, load.rate_per_second)
    due_ns = load.trace.due_ns(load.rate_per_second)  # a trace is measured whole
    return _open(cell, due_ns, settle_ns=0, end_ns=int(due_ns[-1]), burst=1, rate=None)


def _closed(cell: Cell, load: ClosedLoad, rate: float) -> OfferedLoad:
    loop = ClosedLoop(load.clients, cell.most_in_flight)
    completions = stop_after_s = None
    if load.requests is not None:
        completions = loop.completions_to_run(load.requests, cell.batch_limits.requests)
    if load.duration_s is not None:  # the window opens when each client has completed one request
        stop_after_s = load.duration_s + load.clients / rate
    expected = completions or round(2 * rate * (stop_after_s or 0.0)) + 2 * load.clients
    source = core.ClosedLoop(load.clients)
    return OfferedLoad(source, expected, completions, stop_after_s, lambda _: loop)


def _open(
    cell: Cell, due_ns: Nanoseconds, settle_ns: int, end_ns: int, burst: int, rate: float | None
) -> OfferedLoad:
    in_flight, last_ns = cell.most_in_flight, int(due_ns[-1])
    together = max(burst, in_flight)

    def counted(start_ns: int) -> OpenLoop:
        return OpenLoop(start_ns, settle_ns, start_ns + end_ns, together, in_flight, rate)

    stop_after_s = last_ns / 1e9 + max(_LEAST_DRAIN_S, last_ns / 2e9)
    return OfferedLoad(core.OpenLoop(due_ns), len(due_ns), None, stop_after_s, counted)
