"""Runs in real time: what a run answers, whatever happens in it."""

from __future__ import annotations

import signal
import threading

import numpy as np
import pytest

from gpubench import core


def test_closed_loop_completes_the_number_asked_for() -> None:
    outcome = core.Runner([core.DelayExecutor(0)]).run(
        core.ClosedLoop(1), stop_after_completions=1000
    )
    assert outcome.reason == "completions"
    assert outcome.completed == outcome.offered == 1000
    (timeline,) = outcome.timelines
    stamps = [timeline.opened_ns, timeline.departed_ns, timeline.submitted_ns]
    for earlier, later in zip(stamps, [*stamps[1:], timeline.completed_ns], strict=True):
        assert (earlier <= later).all()


def test_open_loop_serves_every_place_on_the_schedule_once() -> None:
    due = core.poisson_arrivals(20_000, 2000, seed=3)
    runner = core.Runner([core.DelayExecutor(1000), core.DelayExecutor(1000)])
    outcome = runner.run(core.OpenLoop(due))
    assert outcome.reason == "finished"
    ids = np.concatenate([t.id for t in outcome.timelines])
    scheduled = np.concatenate([t.scheduled_ns for t in outcome.timelines])
    assert sorted(ids) == list(range(2000))
    assert (scheduled == outcome.start_ns + due[ids]).all()


def test_python_exception_ends_the_run_and_keeps_what_completed() -> None:
    calls = 0

    def run(ids: np.ndarray) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise RuntimeError("out of memory")

    runner = core.Runner([core.PythonExecutor(run)])
    outcome = runner.run(core.ClosedLoop(1))
    assert outcome.reason == "error"
    assert outcome.error == "worker 0: RuntimeError: out of memory"
    assert (outcome.completed, outcome.failed, outcome.offered) == (4, 1, 5)
    assert runner.run(core.ClosedLoop(1), stop_after_completions=3).completed == 3


def test_ctrl_c_stops_the_run_and_keeps_what_completed() -> None:
    def run(ids: np.ndarray) -> None:
        if len(done) == 100:
            signal.raise_signal(signal.SIGINT)
        done.append(ids)

    done: list[np.ndarray] = []
    outcome = core.Runner([core.PythonExecutor(run)]).run(core.ClosedLoop(1))
    assert outcome.reason == "stopped"
    assert outcome.interrupted
    assert outcome.completed >= 100


def test_a_batch_past_its_deadline_is_abandoned_and_the_runner_refused() -> None:
    hang = threading.Event()
    before = core.abandoned_workers()
    runner = core.Runner([core.PythonExecutor(lambda ids: hang.wait())])
    outcome = runner.run(core.ClosedLoop(1), batch_deadline_ns=10_000_000)
    assert outcome.reason == "deadline"
    assert outcome.error is not None
    assert outcome.error.startswith("worker 0: a batch did not complete within 0.01 s")
    assert len(outcome.unfinished_scheduled_ns) == 1
    assert core.abandoned_workers() == before + 1
    with pytest.raises(RuntimeError, match="abandon"):
        runner.run(core.ClosedLoop(1))
    hang.set()


def test_columns_are_read_only_views_that_keep_the_timeline_alive() -> None:
    outcome = core.Runner([core.DelayExecutor(0)]).run(
        core.ClosedLoop(1), stop_after_completions=100
    )
    column = outcome.timelines[0].completed_ns
    expected = column.copy()
    assert column.base is not None
    assert not column.flags.writeable
    del outcome
    assert (column == expected).all()
