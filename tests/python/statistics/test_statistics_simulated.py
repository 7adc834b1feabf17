"""The statistics of simulated queues, whose throughput, latency and lag are known in advance."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from gpubench.results.samples import Samples
from gpubench.statistics import ClosedLoopRule, OpenLoopRule, analyse
from gpubench.statistics.lag import batch_lag_ns

MS = 1_000_000
Service = Callable[[int, int], int]  # (number of the batch, worker) -> ns


def simulate(
    service: Service,
    *,
    workers: int = 1,
    clients: int = 0,
    due_ns: Iterable[int] = (),
    stop_after: int | None = None,
    max_batch: int = 1,
    max_delay_ns: int = 0,
) -> Samples:
    """An exact first-come-first-served queue: closed with `clients`, else open with `due_ns`.

    After `stop_after` completions nothing departs any more; what is in service still completes.
    """
    order = itertools.count()
    events: list[tuple[int, int, tuple[int, list[int]] | int | None]] = []
    for request, due in enumerate(due_ns):
        heapq.heappush(events, (due, next(order), request))
    waiting: deque[tuple[int, int]] = deque((0, client) for client in range(clients))
    if clients:
        heapq.heappush(events, (0, next(order), None))
    idle = [(0, worker) for worker in range(workers)]  # (since when, worker)
    rows: list[tuple[int, ...]] = []  # of the columns of Samples, in their order
    batches = completions = 0
    while events:
        now, _, event = heapq.heappop(events)
        if isinstance(event, int):
            waiting.append((now, event))
        elif event is not None:
            worker, ids = event
            completions += len(ids)
            if clients:
                waiting.extend((now, client) for client in ids)
            idle.append((now, worker))
        if events and events[0][0] == now and events[0][2] is not None:
            continue  # all other events at this time are handled before a departure
        while idle and waiting and (stop_after is None or completions < stop_after):
            leaves = waiting[0][0] + max_delay_ns
            if len(waiting) < max_batch and now < leaves:
                heapq.heappush(events, (leaves, next(order), None))
                break
            opened, worker = idle.pop(0)
            batch = [waiting.popleft() for _ in range(min(max_batch, len(waiting)))]
            done = now + service(batches, worker)
            for due, number in batch:
                rows.append((due, opened, now, now, done, worker, batches, number))
            batches += 1
            heapq.heappush(events, (done, next(order), (worker, [number for _, number in batch])))
    columns = np.array(rows, np.int64).reshape(-1, 8).T
    return Samples(
        scheduled_ns=columns[0],
        opened_ns=columns[1],
        departed_ns=columns[2],
        submitted_ns=columns[3],
        completed_ns=columns[4],
        worker=columns[5].astype(np.int32),
        batch=columns[6],
        id=columns[7],
        unfinished_scheduled_ns=np.array([due for due, _ in waiting], np.int64),
    )


def constant(service_ns: int) -> Service:
    return lambda batch, worker: service_ns


def from_table(table: NDArray[np.float64]) -> Service:
    return lambda batch, worker: int(table[batch])


@pytest.mark.parametrize("clients", [1, 2, 3, 8])
@pytest.mark.parametrize("completions", range(30, 46, 3))
def test_synchronised_clients_do_not_bias_the_throughput(clients: int, completions: int) -> None:
    # Clients with their own workers complete together every millisecond, some nanoseconds apart.
    apart = simulate(
        lambda batch, worker: MS + (worker if batch < clients else 0),
        workers=clients,
        clients=clients,
        stop_after=completions,
    )
    analysis = analyse(apart, ClosedLoopRule(clients))
    assert analysis.completed % clients == 0
    assert analysis.completed > completions - 2 * clients
    assert analysis.throughput_per_second == pytest.approx(clients * 1000, rel=1e-4)


@pytest.mark.parametrize("completions", range(30, 46, 3))
def test_more_clients_than_workers_count_in_rounds_of_the_workers(completions: int) -> None:
    samples = simulate(constant(MS), workers=2, clients=3, stop_after=completions)
    analysis = analyse(samples, ClosedLoopRule(3, in_flight=2))
    assert analysis.throughput_per_second == pytest.approx(2000, rel=1e-9)


@pytest.mark.parametrize("clients", [1, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("completions", [40, 41, 50])
def test_requests_of_one_batch_are_counted_together_or_not_at_all(
    clients: int, completions: int
) -> None:
    samples = simulate(constant(MS), clients=clients, max_batch=4, stop_after=completions)
    analysis = analyse(samples, ClosedLoopRule(clients, in_flight=4), max_batch=4)
    assert analysis.throughput_per_second == pytest.approx(min(clients, 4) * 1000, rel=1e-9)


@pytest.mark.parametrize(
    ("clients", "workers", "max_batch", "requests"),
    [(1, 1, 1, 130), (2, 2, 1, 130), (3, 2, 1, 129), (8, 1, 4, 130), (5, 2, 3, 100), (7, 1, 3, 20)],
)
def test_a_run_of_completions_to_run_counts_the_requests_asked_for(
    clients: int, workers: int, max_batch: int, requests: int
) -> None:
    loop = ClosedLoopRule(clients, in_flight=workers * max_batch)
    stop_after = loop.completions_to_run(requests, max_batch)
    samples = simulate(
        constant(MS), workers=workers, clients=clients, max_batch=max_batch, stop_after=stop_after
    )
    assert analyse(samples, loop, max_batch=max_batch).completed >= requests


@pytest.mark.parametrize("clients", [1, 2, 8])
def test_draining_after_the_last_departure_does_not_count(clients: int) -> None:
    # With exponential service, the rate of completions falls as soon as a worker has no request.
    rng = np.random.default_rng(clients)
    seconds_per_request = []
    for _ in range(300):
        service = rng.exponential(MS, 10 * clients + 10)
        samples = simulate(
            from_table(service), workers=clients, clients=clients, stop_after=5 * clients
        )
        analysis = analyse(samples, ClosedLoopRule(clients))
        assert analysis.completed == 4 * clients
        assert analysis.throughput_per_second is not None
        seconds_per_request.append(1 / analysis.throughput_per_second)
    error = np.std(seconds_per_request) / np.sqrt(len(seconds_per_request))
    assert np.mean(seconds_per_request) == pytest.approx(1e-3 / clients, abs=3 * error)


@pytest.mark.parametrize("clients", [1, 4])
def test_littles_law_holds_in_a_closed_loop(clients: int) -> None:
    samples = simulate(
        from_table(np.random.default_rng(1).exponential(MS, 2100)),
        workers=2,
        clients=clients,
        stop_after=2000,
    )
    analysis = analyse(samples, ClosedLoopRule(clients, in_flight=2))
    assert analysis.littles_law_residual == pytest.approx(0, abs=clients / 2000)


@pytest.mark.parametrize("load", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_md1_has_the_latency_of_pollaczek_and_khinchine(load: float, seed: int) -> None:
    # https://en.wikipedia.org/wiki/M/D/1_queue
    gaps = np.random.default_rng(seed).exponential(MS / load, 50_000)
    due = np.cumsum(gaps).astype(np.int64)
    samples = simulate(constant(MS), due_ns=due.tolist())
    settle_ns = int(due[5_000])
    analysis = analyse(samples, OpenLoopRule(start_ns=0, settle_ns=settle_ns, end_ns=int(due[-1])))
    assert analysis.completed == 45_000
    assert analysis.latency.mean == pytest.approx(1 + load / (2 * (1 - load)), rel=0.1)
    assert analysis.throughput_per_second == pytest.approx(analysis.offered_per_second, rel=2e-3)
    assert analysis.kept_up == pytest.approx(1, abs=1e-3)
    interval = analysis.throughput_interval
    assert interval is not None
    assert analysis.offered_per_second is not None
    assert interval[0] <= analysis.offered_per_second <= interval[1]
    # Only the requests in the queue at the two ends of the window may not count, of 45,000.
    assert interval[1] / interval[0] - 1 < 60 / 45_000


@pytest.mark.parametrize("bursts", [3, 20])
def test_bursts_do_not_bias_the_throughput(bursts: int) -> None:
    due = [100 * MS * burst for burst in range(bursts) for _ in range(8)]
    samples = simulate(constant(MS), due_ns=due)
    analysis = analyse(samples, OpenLoopRule(0, 0, due[-1] + 50 * MS, round=8))
    assert analysis.throughput_per_second == pytest.approx(80, rel=1e-9)
    assert analysis.offered_per_second == pytest.approx(80, rel=1e-9)


def test_an_overloaded_open_loop_does_not_keep_up() -> None:
    due = list(range(0, 1000 * MS, MS // 2))  # twice what the worker can serve
    samples = simulate(constant(MS), due_ns=due)
    analysis = analyse(samples, OpenLoopRule(0, 0, due[-1]))
    assert analysis.throughput_per_second == pytest.approx(1000, rel=1e-9)
    assert analysis.offered_per_second == pytest.approx(2000, rel=1e-9)
    assert analysis.kept_up == pytest.approx(0.5, abs=0.01)
    # All requests that were due inside the window count, however late they completed: 2000 in 2 s.
    assert analysis.completed == len(due)
    assert analysis.latency.max == pytest.approx(1000, rel=0.01)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("max_batch", [1, 4])
@pytest.mark.parametrize("max_delay_ns", [0, MS // 3, 5 * MS])
def test_a_queue_that_keeps_to_the_rule_has_no_lag(
    workers: int, max_batch: int, max_delay_ns: int
) -> None:
    rng = np.random.default_rng(workers)
    due = np.cumsum(rng.exponential(MS / 2, 500)).astype(np.int64).tolist()
    service = from_table(rng.exponential(MS, 600))
    for loop in ({"due_ns": due}, {"clients": 6, "stop_after": 400}):
        samples = simulate(
            service, workers=workers, max_batch=max_batch, max_delay_ns=max_delay_ns, **loop
        )
        assert not batch_lag_ns(samples, max_batch, max_delay_ns).any()


def test_lag_is_what_a_late_harness_adds() -> None:
    due = [0, 0, 0, 0, 10 * MS]
    samples = simulate(constant(MS), due_ns=due, max_batch=4, max_delay_ns=2 * MS)
    late = replace(
        samples,
        departed_ns=samples.departed_ns + 7_000,
        submitted_ns=samples.submitted_ns + 7_000,
        completed_ns=samples.completed_ns + 7_000,
    )
    assert batch_lag_ns(late, 4, 2 * MS).tolist() == [7_000, 7_000]
    lag = analyse(late, OpenLoopRule(0, 0, 20 * MS), max_batch=4, max_delay_ns=2 * MS).lag
    assert lag is not None
    assert (lag.p50, lag.p99) == (7.0, 7.0)
