"""While a cell is measured, the process has the thread pools of its workers and no others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from factories import a_cell
from threadpoolctl import ThreadpoolController

from gpubench import core
from gpubench.system.cpu_threads import end_pools_of_this_thread, limited, on_ending_thread

# A model whose forward pass computes in parallel and counts the threads of the process.
MODEL = """
import builtins
import os
import torch

seen = builtins.threads_seen = []


class Noting(torch.nn.Module):
    def forward(self, values):
        result = torch.sqrt(values).exp()  # large enough to be divided among threads
        seen.append(len(os.listdir("/proc/self/task")))
        return result[:, :8]


def make():
    return Noting(), torch.rand(1, 2_000_000)
"""
MEASURE = """
import builtins, os, sys
import numpy, torch, gpubench
torch.set_num_threads(2)  # makes torch's other pool (XNNPACK), which every process with torch has
if sys.argv[2] == "pool":
    torch.rand(2_000_000).exp()
before = len(os.listdir("/proc/self/task"))
result = gpubench.run(gpubench.Spec(
    model=sys.argv[1] + ":make", runtime="eager", device="cpu", threads=2, requests=3, warmup=0))
assert result.error is None, result.error
print(builtins.threads_seen[-1] - before)
"""


def threads_more(folder: Path, caller: str) -> int:
    """Threads in the last measured forward pass minus those before gpubench ran."""
    model = folder / "noting.py"
    model.write_text(MODEL)
    done = subprocess.run(
        [sys.executable, "-P", "-c", MEASURE, str(model), caller],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_measured_process_has_only_the_workers_and_their_pools(tmp_path: Path) -> None:
    # The worker, the other thread of its pool, and the thread that checks deadlines.
    assert threads_more(tmp_path, "no pool") == 3


def test_the_pool_of_a_program_that_calls_gpubench_is_ended(tmp_path: Path) -> None:
    import torch  # noqa: F401 (it brings the OpenMP library that is asked)

    libraries = ThreadpoolController().select(user_api="openmp").lib_controllers
    if not all(hasattr(library.dynlib, "omp_pause_resource_all") for library in libraries):
        pytest.skip("this OpenMP library cannot end a pool (libgomp before GCC 9)")
    assert threads_more(tmp_path, "pool") == 2  # the same three, and one of a pool less


def test_ending_a_pool_that_does_not_exist_does_nothing() -> None:
    end_pools_of_this_thread()
    end_pools_of_this_thread()


def test_work_runs_on_a_thread_that_has_ended_afterwards() -> None:
    thread = on_ending_thread(threading.current_thread)
    assert thread is not threading.current_thread()
    assert not thread.is_alive()


def test_an_exception_of_the_work_is_raised_again() -> None:
    def work() -> None:
        raise SystemExit("no weights")

    with pytest.raises(SystemExit, match="no weights"):
        on_ending_thread(work)


def test_ctrl_c_ends_the_work() -> None:
    ended: list[BaseException] = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)  # reaches the main thread, which waits for this one
            while True:
                time.sleep(0.001)
        except BaseException as error:
            ended.append(error)
            raise

    with pytest.raises(KeyboardInterrupt):
        on_ending_thread(work)
    assert [type(error) for error in ended] == [KeyboardInterrupt]


def threads_under_a_limit_of_one() -> set[int]:
    import torch

    with limited(1):
        infos = ThreadpoolController().info()
        return {torch.get_num_threads(), *(each["num_threads"] for each in infos)}


def test_a_limit_holds_for_every_openmp_library_and_blas() -> None:
    assert on_ending_thread(threads_under_a_limit_of_one) == {1}


def test_a_limit_holds_although_a_thread_of_an_earlier_cell_still_has_its_own() -> None:
    is_limited, may_end = threading.Event(), threading.Event()

    def hang() -> None:
        with limited(2):
            is_limited.set()
            may_end.wait(60)

    hanging = threading.Thread(target=hang)
    hanging.start()
    try:
        assert is_limited.wait(60)
        assert on_ending_thread(threads_under_a_limit_of_one) == {1}
    finally:
        may_end.set()
        hanging.join()


def test_a_worker_has_one_python_thread_state_for_its_whole_life() -> None:
    own = threading.local()
    calls: list[int] = []

    def run(ids: object) -> None:
        own.calls = getattr(own, "calls", 0) + 1
        calls.append(own.calls)

    runner = core.Runner([core.PythonExecutor(run, open=lambda: run(None))])
    runner.run(core.ClosedLoop(1), stop_after_completions=3)
    runner.close()
    assert calls == [1, 2, 3, 4]


def test_parallel_branches_are_refused_if_their_threads_cannot_be_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    from gpubench.engines.base import Engine
    from gpubench.errors import GpubenchError
    from gpubench.measure.engine import _refuse_foreign_interop_threads

    class Branches(torch.nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            branch = torch.jit.fork(torch.relu, values)
            result: torch.Tensor = torch.jit.wait(branch)
            return result

    def engine(module: torch.nn.Module) -> Engine:
        trace: Any = torch.jit.trace
        script = trace(module, torch.ones(2))
        return Engine(script, torch.device("cpu"), torch.float32, torch.inference_mode)

    cell = a_cell(model="resnet50", workers=2, threads=3)
    monkeypatch.setattr(torch, "get_num_interop_threads", lambda: 5)
    _refuse_foreign_interop_threads(engine(torch.nn.ReLU()), cell)
    with pytest.raises(GpubenchError, match=r"torch\.jit\.fork.* 6 threads for them.* has 5,"):
        _refuse_foreign_interop_threads(engine(Branches()), cell)
    monkeypatch.setattr(torch, "get_num_interop_threads", lambda: 6)
    _refuse_foreign_interop_threads(engine(Branches()), cell)
