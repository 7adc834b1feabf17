"""The core and its process: forks, subinterpreters, signals, the GIL, the interpreter's end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpubench import _core, core


def ended(script: str, *, status: int = 0) -> subprocess.CompletedProcess[str]:
    """The output of a process that runs `script`. It must end by itself with this status."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


IN_A_CHILD = """
import multiprocessing, os, sys
from gpubench import core

source = core.ClosedLoop(1)
queue = core.LiveQueue(2)
executor = core.PythonExecutor(lambda ids: None)
runner = core.Runner([executor, core.DelayExecutor(0)])
runner.run(source, stop_after_completions=10)

def refusal(call):
    try:
        call()
    except (RuntimeError, ValueError) as error:
        return str(error)

def child():
    after = f"belongs to process {os.getppid()}; make a new one after fork"
    assert refusal(lambda: runner.run(source)) == f"this runner {after}"
    assert refusal(runner.stop) == f"this runner {after}"
    assert refusal(lambda: queue.submit(1)) == f"this queue {after}"
    assert refusal(lambda: core.simulate(queue, service_ns=1)) == f"this queue {after}"
    assert refusal(lambda: core.Runner([executor])).startswith(
        f"executors[0] belongs to a runner of process {os.getppid()}; "
    )
    runner.close()
    queue.close()
    own = core.Runner([core.PythonExecutor(lambda ids: None)])
    print(own.run(source, stop_after_completions=5).completed, flush=True)
"""


@pytest.mark.parametrize(
    "fork",
    [
        "pid = os.fork()\nif pid == 0: child(); sys.exit(7)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) - 7)",
        "p = multiprocessing.get_context('fork').Process(target=child)\n"
        "p.start(); p.join(); sys.exit(p.exitcode)",
    ],
    ids=["os.fork", "multiprocessing"],
)
def test_a_forked_child_is_refused_the_runner_and_makes_its_own(fork: str) -> None:
    assert ended(IN_A_CHILD + fork).stdout == "5\n"


def test_children_forked_amid_a_run_come_to_their_end() -> None:
    script = """
import os, threading
from gpubench import core
started = threading.Event()
runner = core.Runner([core.PythonExecutor(lambda ids: started.set()) for _ in range(2)])
options = {"capacity": 5_000_000}
going = threading.Thread(target=lambda: runner.run(core.ClosedLoop(2), **options))
going.start()
started.wait()
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        raise SystemExit  # the runner is closed on the way
    assert os.waitpid(pid, 0)[1] == 0
runner.stop()
going.join()
"""
    ended(script)


def test_a_child_that_comes_back_from_an_executor_is_ended() -> None:
    script = """
import os
from gpubench import core
def run(ids):
    pid = os.fork()
    if pid: print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
runner = core.Runner([core.PythonExecutor(run)])
print(runner.run(core.ClosedLoop(1), stop_after_completions=1).completed)
"""
    done = ended(script)
    assert done.stdout == "70\n1\n"
    assert done.stderr.startswith("gpubench: a process forked in an executor came back")


@pytest.mark.parametrize("first", ["", "import gpubench.core\n"], ids=["alone", "after the main"])
@pytest.mark.parametrize("name", ["gpubench.core", "gpubench._core"])
def test_a_subinterpreter_is_refused(first: str, name: str) -> None:
    testcapi = pytest.importorskip("_testcapi", reason="this Python has no _testcapi")
    assert hasattr(testcapi, "run_in_subinterp")
    script = f"""
import _testcapi
{first}
code = '''
try:
    import {name}
except ImportError as error:
    print(error)
'''
assert _testcapi.run_in_subinterp(code) == 0
"""
    assert ended(script).stdout == (
        "gpubench cannot be imported in a subinterpreter; import it in the main interpreter, or in "
        "another process\n"
    )


def test_ctrl_c_ends_a_simulation_whose_source_stays_usable() -> None:
    script = """
import signal
from gpubench import core
source = core.ClosedLoop(1)
signal.setitimer(signal.ITIMER_REAL, 0.2)
signal.signal(signal.SIGALRM, signal.default_int_handler)  # as Ctrl-C
try:
    core.simulate(source, service_ns=1, capacity=4_000_000_000)
except KeyboardInterrupt:
    print("interrupted")
print(core.simulate(source, service_ns=1, stop_after_completions=5).completed)
"""
    assert ended(script).stdout == "interrupted\n5\n"


def test_ctrl_c_ends_the_simulation_of_a_fleet() -> None:
    script = """
import signal
from gpubench import core
signal.setitimer(signal.ITIMER_REAL, 0.2)
signal.signal(signal.SIGALRM, signal.default_int_handler)
try:
    core.simulate_fleet([10**18], [1e3], service_ns=[1])  # 32 years
except KeyboardInterrupt:
    print("interrupted")
"""
    assert ended(script).stdout == "interrupted\n"


def test_ctrl_c_ends_a_wait_for_room_in_a_live_queue() -> None:
    script = """
import signal
from gpubench import core
queue = core.LiveQueue(1)
queue.submit(1)
signal.setitimer(signal.ITIMER_REAL, 0.2)
signal.signal(signal.SIGALRM, signal.default_int_handler)
try:
    queue.submit(2, wait_s=1e9)
except KeyboardInterrupt:
    print("interrupted")
"""
    assert ended(script).stdout == "interrupted\n"


HOLDS_THE_GIL = """
import ctypes, os
from gpubench import core
seconds = {seconds}
holder = ctypes.PyDLL(None)  # its calls keep the GIL
runner = core.Runner([core.PythonExecutor(lambda ids: holder.sleep(seconds))])
outcome = runner.run(core.ClosedLoop(1), batch_deadline_ns=1_000_000_000)
print(outcome.reason, outcome.completed, core.abandoned_workers(), outcome.error, flush=True)
os._exit(0)
"""


def test_a_deadline_passes_while_the_executor_holds_the_gil() -> None:
    done = ended(HOLDS_THE_GIL.format(seconds=3))
    printed = "deadline 0 1 worker 0: a batch did not complete within 1 s"
    assert done.stdout.startswith(printed)
    assert "(GIL) kept Python from going on for " in done.stdout


def test_an_executor_that_never_releases_the_gil_is_reported() -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", HOLDS_THE_GIL.format(seconds=3600)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process, process.stderr as errors:
        line = errors.readline()  # comes from a thread that needs no GIL
        process.kill()
    assert line.startswith(
        "gpubench: the run is over, but code that does not return holds Python's"
    )
    assert line.endswith(f"to end this process: kill -9 {process.pid}\n")


def test_what_python_keeps_for_a_thread_lasts_from_batch_to_batch() -> None:
    import threading

    kept = threading.local()
    counts: list[int] = []

    def run(ids: object) -> None:
        kept.calls = getattr(kept, "calls", 0) + 1
        counts.append(kept.calls)

    core.Runner([core.PythonExecutor(run)]).run(core.ClosedLoop(1), stop_after_completions=3)
    assert counts == [1, 2, 3]


@pytest.mark.parametrize(
    "script",
    [
        # A cycle that holds a runner, which the garbage collector may find at any time.
        "class Loop: pass\nloop = Loop()\nloop.me = loop\n"
        "loop.runner = core.Runner([core.PythonExecutor(lambda ids: loop)])\n"
        "loop.runner.run(core.ClosedLoop(1), stop_after_completions=5)",
        # A run that continues in a daemon thread.
        "import threading\nstarted = threading.Event()\n"
        "runner = core.Runner([core.PythonExecutor(lambda ids: started.set())])\n"
        "source = core.ClosedLoop(1)\n"
        "threading.Thread(target=runner.run, args=(source,), daemon=True).start()\nstarted.wait()",
        # A run in an atexit function that is called after the core's own.
        "import atexit\n"
        "def last():\n"
        "    runner = core.Runner([core.PythonExecutor(lambda ids: None)])\n"
        "    runner.run(core.ClosedLoop(1), stop_after_completions=5)\n"
        "atexit._run_exitfuncs()\natexit.register(last)",
        # Runners that garbage collection ends in the batch of another one.
        "import gc\n"
        "def run(ids):\n"
        "    other = [core.Runner([core.PythonExecutor(lambda ids: None)])]\n"
        "    other.append(other)\n"
        "    del other\n"
        "    gc.collect()\n"
        "runner = core.Runner([core.PythonExecutor(run)])\n"
        "assert runner.run(core.ClosedLoop(1), stop_after_completions=5).completed == 5",
    ],
    ids=["cycle", "daemon", "atexit", "collected in a batch"],
)
def test_the_interpreter_ends(script: str) -> None:
    assert ended("from gpubench import core\n" + script).stderr == ""


def test_an_executor_closes_its_own_runner_and_cannot_run_it() -> None:
    script = """
from gpubench import core
def run(ids):
    try:
        runner.run(core.ClosedLoop(1))
    except RuntimeError as error:
        print(error)
    runner.close()
runner = core.Runner([core.PythonExecutor(run)])
print(runner.run(core.ClosedLoop(1)).reason)
runner.close()
"""
    assert ended(script).stdout == (
        "an executor cannot use the runner that it belongs to, but for stop() and close(); use "
        "another thread\nstopped\n"
    )


def test_an_executor_serves_one_runner_at_a_time() -> None:
    executor = core.DelayExecutor(0)
    first = core.Runner([executor])
    with pytest.raises(ValueError, match=r"executors\[0\] is in use by another runner.*close that"):
        core.Runner([executor])
    first.close()
    second = core.Runner([executor])
    assert second.run(core.ClosedLoop(1), stop_after_completions=5).completed == 5
    second.close()


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no message")


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit("stop"), "GeneratorExit: stop"),
        (Unprintable(), "Unprintable: (its message cannot be shown)"),
        (ValueError("half \ud800"), "ValueError: half \\ud800"),
        (ValueError("x" * 1_000_000), "ValueError: " + "x" * 1_000_000),
        (ValueError("a\0b"), "ValueError: a\\x00b"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_exception_of_any_kind_ends_the_run(raised: BaseException, message: str) -> None:
    def run(ids: object) -> None:
        raise raised

    outcome = core.Runner([core.PythonExecutor(run)]).run(core.ClosedLoop(1))
    assert outcome.reason == "error"
    assert outcome.error == f"worker 0: {message}"


def test_the_module_exports_its_entry_alone() -> None:
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm is not installed")
    module = Path(_core.__file__ or os.devnull)
    listed = subprocess.run([nm, "-D", "--defined-only", module], capture_output=True, text=True)
    assert [line.split()[-1] for line in listed.stdout.splitlines()] == ["PyInit__core"]
