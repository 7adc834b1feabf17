"""Dynamic batching against a discrete-event model written separately.

The model below is written from the rule's definition, one step of time after another in plain
Python; it shares nothing with the core.
"""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gpubench import core

Batch = tuple[int, int, tuple[int, ...]]  # departed, completed, ids


def open_loop_model(
    due: list[int], service: list[int], workers: int, max_batch: int, max_delay: int
) -> list[Batch]:
    """Every batch of an open loop: the first free worker serves the first waiting request."""
    free_at = [0] * workers
    batches: list[Batch] = []
    k = 0
    while k < len(due):
        worker = min(range(workers), key=free_at.__getitem__)
        ready = due[k] + max_delay
        if k + max_batch <= len(due):
            ready = min(ready, due[k + max_batch - 1])
        departed = max(free_at[worker], ready)
        ids = [i for i in range(k, min(k + max_batch, len(due))) if due[i] <= departed]
        completed = departed + service[len(batches) % len(service)]
        batches.append((departed, completed, tuple(ids)))
        free_at[worker] = completed
        k += len(ids)
    return batches


def closed_loop_model(
    clients: int,
    think: int,
    service: list[int],
    workers: int,
    max_batch: int,
    max_delay: int,
    departures: int,
) -> list[Batch]:
    """The first batches of a closed loop, simulated nanosecond by nanosecond."""
    waiting = [(0, client) for client in range(clients)]  # due, client; in order of return
    running: list[Batch] = []
    batches: list[Batch] = []
    now = 0
    while len(batches) < departures:
        # The model does not define which of several workers completes first at the same time.
        # So the test with several workers compares sizes and not clients.
        for batch in sorted(b for b in running if b[1] == now):
            running.remove(batch)
            waiting += [(now + think, client) for client in batch[2]]
        while len(running) < workers and len(batches) < departures:
            line = sorted(waiting, key=lambda request: request[0])
            due = [request for request in line if request[0] <= now]
            if not due or (len(due) < max_batch and now < due[0][0] + max_delay):
                break
            taken = due[:max_batch]
            for request in taken:
                waiting.remove(request)
            completed = now + service[len(batches) % len(service)]
            batch = (now, completed, tuple(client for _, client in taken))
            running.append(batch)
            batches.append(batch)
        now += 1
    return batches


def batches_of(outcome: core.Outcome) -> list[Batch]:
    batches = []
    for timeline in outcome.timelines:
        ids = timeline.id.tolist()
        for row, first in enumerate(timeline.first_request.tolist()):
            departed, completed = int(timeline.departed_ns[row]), int(timeline.completed_ns[row])
            size = int(timeline.size[row])
            batches.append((departed, completed, tuple(ids[first : first + size])))
    return batches


@settings(max_examples=2000, deadline=None)
@given(
    gaps=st.lists(st.integers(0, 30), min_size=1, max_size=60),
    service=st.lists(st.integers(0, 50), min_size=1, max_size=7),
    workers=st.integers(1, 5),
    max_batch=st.integers(1, 6),
    max_delay=st.integers(0, 60),
)
def test_open_loop_batches_are_those_of_the_model(
    gaps: list[int], service: list[int], workers: int, max_batch: int, max_delay: int
) -> None:
    due = np.cumsum(gaps)
    delay = max_delay if max_batch > 1 else 0
    outcome = core.simulate(
        core.OpenLoop(due),
        executors=workers,
        service_ns=np.array(service),
        max_batch=max_batch,
        max_delay_ns=delay,
    )
    model = open_loop_model(due.tolist(), service, workers, max_batch, delay)
    assert sorted(batches_of(outcome)) == sorted(model)
    assert outcome.completed == len(due)


@settings(max_examples=1000, deadline=None)
@given(
    clients=st.integers(1, 12),
    think=st.integers(0, 25),
    service=st.integers(1, 40),
    max_batch=st.integers(1, 6),
    max_delay=st.integers(0, 30),
)
def test_closed_loop_batches_are_those_of_the_model(
    clients: int, think: int, service: int, max_batch: int, max_delay: int
) -> None:
    delay = max_delay if max_batch > 1 else 0
    outcome = core.simulate(
        core.ClosedLoop(clients, think_time_ns=think),
        service_ns=service,
        max_batch=max_batch,
        max_delay_ns=delay,
        stop_after_completions=60,
    )
    simulated = batches_of(outcome)
    model = closed_loop_model(clients, think, [service], 1, max_batch, delay, len(simulated))
    assert simulated == model


@settings(max_examples=500, deadline=None)
@given(
    clients=st.integers(1, 12),
    think=st.integers(0, 25),
    workers=st.integers(2, 4),
    max_batch=st.integers(1, 4),
    max_delay=st.integers(0, 30),
)
def test_closed_loop_with_several_workers_departs_when_the_model_does(
    clients: int, think: int, workers: int, max_batch: int, max_delay: int
) -> None:
    delay = max_delay if max_batch > 1 else 0
    service = [17, 23, 31, 5, 11]
    outcome = core.simulate(
        core.ClosedLoop(clients, think_time_ns=think),
        executors=workers,
        service_ns=np.array(service),
        max_batch=max_batch,
        max_delay_ns=delay,
        stop_after_completions=60,
    )
    simulated = sorted((b[0], b[1], len(b[2])) for b in batches_of(outcome))
    model = closed_loop_model(clients, think, service, workers, max_batch, delay, len(simulated))
    assert simulated == sorted((b[0], b[1], len(b[2])) for b in model)


def test_stages_add_up_to_the_latency_for_millions_of_random_requests() -> None:
    """queue + batching + submit-to-completed is completed - scheduled, and no part is negative."""
    random = np.random.default_rng(5)
    checked = 0
    for round_number in range(20):
        count = 150_000
        due = np.sort(random.integers(0, 10**9, count))
        outcome = core.simulate(
            core.OpenLoop(due),
            executors=int(random.integers(1, 9)),
            service_ns=random.integers(0, 20_000, 1000),
            max_batch=1 + round_number % 8,
            max_delay_ns=int(random.integers(0, 50_000)) if round_number % 8 else 0,
        )
        for timeline in outcome.timelines:
            per_request = np.repeat(np.arange(len(timeline.size)), timeline.size)
            opened = timeline.opened_ns[per_request]
            departed = timeline.departed_ns[per_request]
            submitted = timeline.submitted_ns[per_request]
            completed = timeline.completed_ns[per_request]
            scheduled = timeline.scheduled_ns
            stages = [
                np.maximum(0, opened - scheduled),
                departed - np.maximum(scheduled, opened),
                submitted - departed,
                completed - submitted,
            ]
            assert all((stage >= 0).all() for stage in stages)
            assert (sum(stages) == completed - scheduled).all()
            checked += len(scheduled)
    assert checked == 3_000_000
