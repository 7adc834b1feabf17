"""The load of a cell as the core needs it: the requests, and the end of the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gpubench import core
from gpubench.measure.arrivals import schedule
from gpubench.results.samples import Nanoseconds
from gpubench.spec.cell import Cell, ClosedLoad, OpenLoad
from gpubench.statistics import ClosedLoopRule, OpenLoopRule

# After the last arrival of an open loop, requests that still wait get at least this much time.
_LEAST_DRAIN_S = 5.0


@dataclass(frozen=True)
class OfferedLoad:
    """The source of requests for the core, and the limits of the run."""

    source: core.RequestSource
    expected: int  # about how many requests the run will have
    stop_after_completions: int | None
    stop_after_s: float | None
    # The rule for which samples count; the argument is the start of the run in ns.
    counted: Callable[[int], ClosedLoopRule | OpenLoopRule]


def offered_load(cell: Cell, requests_per_second: float) -> OfferedLoad:
    """The load of `cell`. In the warm-up it completed `requests_per_second`."""
    load = cell.load
    if isinstance(load, ClosedLoad):
        return _closed(cell, load, requests_per_second)
    if isinstance(load, OpenLoad):
        due_ns = schedule(load, cell.load_seed)
        end_ns = load.settling_ns + round(load.requests / load.rate_per_second * 1e9)
        return _open(cell, due_ns, load.settling_ns, end_ns, load.burst, load.rate_per_second)
    due_ns = load.trace.due_ns(load.rate_per_second)  # all requests of a trace are measured
    return _open(cell, due_ns, settle_ns=0, end_ns=int(due_ns[-1]), burst=1, rate=None)


def _closed(cell: Cell, load: ClosedLoad, rate: float) -> OfferedLoad:
    loop = ClosedLoopRule(load.clients, cell.most_in_flight)
    completions = stop_after_s = None
    if load.requests is not None:
        completions = loop.completions_to_run(load.requests, cell.batch_limits.requests)
    if load.duration_s is not None:  # the window begins when each client has completed a request
        stop_after_s = load.duration_s + load.clients / rate
    expected = completions or round(2 * rate * (stop_after_s or 0.0)) + 2 * load.clients
    source = core.ClosedLoop(load.clients)
    return OfferedLoad(source, expected, completions, stop_after_s, lambda _: loop)


def _open(
    cell: Cell, due_ns: Nanoseconds, settle_ns: int, end_ns: int, burst: int, rate: float | None
) -> OfferedLoad:
    in_flight, last_ns = cell.most_in_flight, int(due_ns[-1])
    together = max(burst, in_flight)

    def counted(start_ns: int) -> OpenLoopRule:
        return OpenLoopRule(start_ns, settle_ns, start_ns + end_ns, together, in_flight, rate)

    stop_after_s = last_ns / 1e9 + max(_LEAST_DRAIN_S, last_ns / 2e9)
    return OfferedLoad(core.OpenLoop(due_ns), len(due_ns), None, stop_after_s, counted)
