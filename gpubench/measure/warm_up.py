"""The warm-up of a cell: for a given time, or until its speed has settled (--warmup auto).

Both begin with every batch size that can occur, on every worker: the first few batches compile,
allocate and choose kernels. Then the load of the cell runs as a closed loop. With --warmup auto it
runs in pieces, until gpubench.statistics.warm_up finds that the service time no longer changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gpubench import core
from gpubench.errors import GpubenchError, reason_in
from gpubench.measure.collect import collect
from gpubench.results.result import WarmUp
from gpubench.results.samples import Nanoseconds, Samples, concatenated
from gpubench.spec.cell import Cell, ClosedLoad
from gpubench.statistics.warm_up import Settled, describe, settled

# Every worker completes at least this many batches before anything is measured.
WARMUP_BATCHES = 3
# A delay for dynamic batching that is long enough for every batch of a warm-up to be full.
_UNTIL_FULL_NS = 10**9
_CAPACITY = 1_000_000
# A batch that takes longer than this counts as hung. The limit is longer than in the measured run,
# since some runtimes compile during their first inferences.
_DEADLINE_NS = 900 * 10**9

# With --warmup auto. A piece takes this long, or as long as this many batches if that is longer.
# It ends earlier at this many requests, so that a very fast system does not fill the memory.
_PIECE_S = 0.5
_PIECE_BATCHES = 8
_PIECE_REQUESTS = 200_000
# Four pieces are 2 s, the usual length of a warm-up, so nothing is hidden that it would have shown.
_LEAST_PIECES = 4
_LONGEST_S = 60.0
_MOST_REQUESTS = 2_000_000


@dataclass(frozen=True)
class WarmedUp:
    """What the warm-up measured."""

    requests_per_second: float
    p95_ns: float  # of the latency
    slowest_batch_ns: int
    seconds: float
    # Only of --warmup auto: its requests, and what was found in them.
    samples: Samples | None = None
    found: WarmUp | None = None


def warm_up(runner: core.Runner, cell: Cell) -> WarmedUp:
    """Run every batch size that can occur; then run the load of the cell.

    Raises GpubenchError for an error of the model, and KeyboardInterrupt.
    """
    began_ns = time.monotonic_ns()
    workers, limits = cell.workers, cell.batch_limits
    for size in range(1, limits.requests + 1):
        batches = WARMUP_BATCHES if size == limits.requests else 1
        last = _run(
            runner,
            clients=size * workers,
            max_batch=size,
            max_delay_ns=_UNTIL_FULL_NS if size > 1 else 0,
            stop_after_completions=batches * size * workers,
        )
    clients = cell.load.clients if isinstance(cell.load, ClosedLoad) else cell.most_in_flight

    def run_load(seconds: float, most_requests: int | None = None) -> Samples:
        return _run(
            runner,
            clients=clients,
            max_batch=limits.requests,
            max_delay_ns=limits.delay_ns,
            stop_after_ns=round(seconds * 1e9),
            stop_after_completions=most_requests,
        )

    if cell.warmup_s is None:
        return _until_settled(run_load, cell, began_ns, last)
    remaining_s = cell.warmup_s - _seconds_since(began_ns)
    if remaining_s > 0:
        rest = run_load(remaining_s)
        last = rest if len(rest) else last
    return _warmed_up(last, began_ns)


def _until_settled(
    run_load: Callable[..., Samples], cell: Cell, began_ns: int, last: Samples
) -> WarmedUp:
    """Run the load in pieces until its speed has settled, or until a limit is reached."""
    batch_s = float(np.mean(last.completed_ns - last.departed_ns)) / 1e9
    piece_s = max(_PIECE_S, _PIECE_BATCHES * batch_s / cell.workers)
    pieces: list[Samples] = []
    service_ns: list[Nanoseconds] = []
    requests = 0
    found = Settled(batches=0, settled=False, slower=None)
    while True:
        left_s = _LONGEST_S - _seconds_since(began_ns)
        if left_s <= 0 or requests >= _MOST_REQUESTS:
            break
        piece = run_load(min(piece_s, left_s), _PIECE_REQUESTS)
        if len(piece) == 0:
            break  # the time that was left is shorter than a batch
        pieces.append(piece)
        service_ns.append((piece.completed_ns - piece.departed_ns)[piece.batch_starts])
        requests += len(piece)
        if len(pieces) >= _LEAST_PIECES:
            found = settled(np.concatenate(service_ns))
            if found.settled:
                break
    if not pieces:
        return _warmed_up(last, began_ns, None, WarmUp(limit_reached=True))
    samples = concatenated(pieces)
    description = describe(
        samples, found, began_ns, _window_s(cell, pieces[-1]), limit_reached=not found.settled
    )
    return _warmed_up(pieces[-1], began_ns, samples, description)


def _window_s(cell: Cell, steady: Samples) -> float | None:
    """The length of the measured window of a closed loop; None for an open loop."""
    if not isinstance(cell.load, ClosedLoad):
        return None  # its throughput is that of its schedule
    lengths = []
    if cell.load.duration_s is not None:
        lengths.append(cell.load.duration_s)
    if cell.load.requests is not None:
        lengths.append(cell.load.requests / _requests_per_second(steady))
    return min(lengths)


def _warmed_up(
    last: Samples, began_ns: int, samples: Samples | None = None, found: WarmUp | None = None
) -> WarmedUp:
    return WarmedUp(
        requests_per_second=_requests_per_second(last),
        p95_ns=float(np.percentile(last.latency_ns, 95)),
        slowest_batch_ns=int((last.completed_ns - last.departed_ns).max()),
        seconds=_seconds_since(began_ns),
        samples=samples,
        found=found,
    )


def _requests_per_second(samples: Samples) -> float:
    span_ns = max(int(samples.completed_ns.max() - samples.opened_ns.min()), 1)
    return len(samples) / span_ns * 1e9


def _seconds_since(began_ns: int) -> float:
    return (time.monotonic_ns() - began_ns) / 1e9


def _run(
    runner: core.Runner,
    *,
    clients: int,
    max_batch: int,
    max_delay_ns: int,
    stop_after_completions: int | None = None,
    stop_after_ns: int | None = None,
) -> Samples:
    outcome = runner.run(
        core.ClosedLoop(clients),
        max_batch=max_batch,
        max_delay_ns=max_delay_ns,
        stop_after_completions=stop_after_completions,
        stop_after_ns=stop_after_ns,
        batch_deadline_ns=_DEADLINE_NS,
        capacity=_CAPACITY,
    )
    if outcome.interrupted:
        raise KeyboardInterrupt
    if outcome.error:
        raise GpubenchError(reason_in(outcome.error))
    return collect(outcome)
