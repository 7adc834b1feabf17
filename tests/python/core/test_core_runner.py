"""Runs in real time: the outcome of a run, also after errors."""

from __future__ import annotations

import signal
import subprocess
import sys
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


def test_open_and_close_run_on_the_worker_s_thread() -> None:
    threads: list[int] = []

    def note(*_: object) -> None:
        threads.append(threading.get_ident())

    runner = core.Runner([core.PythonExecutor(note, open=note, close=note)])
    runner.run(core.ClosedLoop(1), stop_after_completions=2)
    runner.run(core.ClosedLoop(1), stop_after_completions=2)
    runner.close()
    assert len(threads) == 6
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


def test_an_executor_that_fails_to_open_is_an_error_of_the_constructor() -> None:
    def fail() -> None:
        raise OSError("no such model")

    with pytest.raises(RuntimeError, match="worker 0: OSError: no such model"):
        core.Runner([core.PythonExecutor(lambda ids: None, open=fail)])


def test_stop_from_another_thread() -> None:
    runner = core.Runner([core.PythonExecutor(lambda ids: started.set())])
    started = threading.Event()

    def stop() -> None:
        started.wait()
        runner.stop()

    stopper = threading.Thread(target=stop)
    stopper.start()
    outcome = runner.run(core.ClosedLoop(1))
    stopper.join()
    assert outcome.reason == "stopped"
    assert not outcome.interrupted


def test_requests_of_a_batch_lie_together() -> None:
    seen: list[list[int]] = []
    runner = core.Runner([core.PythonExecutor(lambda ids: seen.append(ids.tolist()))])
    due = core.burst_arrivals(100_000, 40, 4)
    outcome = runner.run(core.OpenLoop(due), max_batch=4, max_delay_ns=1_000_000)
    (timeline,) = outcome.timelines
    assert timeline.size.sum() == 40
    assert (timeline.batch == np.repeat(np.arange(len(timeline.size)), timeline.size)).all()
    assert [i for batch in seen for i in batch] == timeline.id.tolist()
    assert timeline.first_request.tolist() == [0, *np.cumsum(timeline.size)[:-1]]
    assert timeline.device_ns is None


IN_ANOTHER_PROCESS = """
import os, signal, sys, threading, time
from gpubench import core

def interrupt():
    started.wait()
    os.kill(os.getpid(), signal.SIGINT)

def run(ids):
    started.set()
    {work}

started = threading.Event()
threading.Thread(target=interrupt).start()
runner = core.Runner([core.PythonExecutor(run)])
outcome = runner.run(core.ClosedLoop(2))
print(outcome.reason, outcome.interrupted, outcome.offered, core.abandoned_workers(), flush=True)
{end}
"""


@pytest.mark.parametrize(
    ("work", "end", "printed"),
    [
        # A batch that never ends is abandoned after a short time, so that the program can end.
        ("threading.Event().wait()", "os._exit(130)", "stopped True 2 1"),
        # The interpreter ends correctly although a thread returns to it too late.
        ("time.sleep(1.5)", "sys.exit(130)", "stopped True 2 1"),
        ("pass", "sys.exit(130)", "stopped True"),
    ],
)
def test_ctrl_c_ends_a_process(work: str, end: str, printed: str) -> None:
    script = IN_ANOTHER_PROCESS.format(work=work, end=end)
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith(printed), done.stderr
    assert done.returncode == 130, done.stderr


def test_a_runner_left_open_does_not_hang_the_interpreter_s_end() -> None:
    script = (
        "from gpubench import core\n"
        "model = core.PythonExecutor(lambda ids: None, close=lambda: print('closed'))\n"
        "runner = core.Runner([model])\n"
        "runner.run(core.ClosedLoop(1), stop_after_completions=5)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "closed\n"), done.stderr
