"""Repeats in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import gpubench
from gpubench.errors import InputError
from gpubench.measure import fresh, isolated
from gpubench.results.run_directory import open_run

GRID: dict[str, object] = {
    "model": "synthetic",
    "service_time": "10us",
    "warmup": 0,
    "requests": 20,
}


def test_each_repeat_has_a_process_of_its_own(tmp_path: Path) -> None:
    results = gpubench.sweep(GRID, tmp_path, repeats=2, fresh=True)
    processes = {result.repeat.process for result in results if result.repeat}
    assert len(processes | {fresh.THIS_PROCESS}) == 3
    assert [result.error for result in results] == [None, None]
    directory = open_run(tmp_path)
    for key, result in directory.read_all().cells:
        samples = directory.read_samples(key)
        assert samples is not None
        assert len(samples) >= result.requests.completed >= 20
    (result,) = gpubench.sweep(GRID | {"workers": 2}, tmp_path, fresh=True)
    assert result.repeat is not None
    assert (result.repeat.number, result.repeat.of) == (1, 1)


MODEL = """
import os
import torch
import helper
from gpubench import OwnModel

def small():
    return torch.nn.Linear(helper.size, 2), torch.randn(4, helper.size)

def killed():
    os.kill(os.getpid(), 9)
"""


def test_a_users_module_is_found_and_a_killed_process_costs_one_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, modules = tmp_path / "here", tmp_path / "modules"
    here.mkdir()
    modules.mkdir()
    (here / "mine.py").write_text(MODEL)
    (modules / "helper.py").write_text("size = 3\n")
    monkeypatch.chdir(here)  # mine is found here, helper by a change of sys.path
    monkeypatch.syspath_prepend(modules)
    grid = {"model": ["mine:killed", "mine:small"], "runtime": "eager", "requests": 20, "warmup": 0}
    killed, small = gpubench.sweep(grid, "run", fresh=True)
    assert small.error is None
    assert small.requests.completed >= 20
    assert killed.error is not None
    assert killed.error.stage == "process"
    assert "ended by signal 9 (Killed) before it wrote a result" in killed.error.message
    assert "the machine may have too little memory" in killed.error.message
    assert killed.repeat is not None
    assert len(open_run("run").read_all().cells) == 2


def test_a_process_that_ends_by_itself_is_a_failed_repeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(isolated, "_START", "raise SystemExit(7)")
        (failed,) = gpubench.sweep(GRID, tmp_path, fresh=True)
    assert failed.error is not None
    assert "its process ended with status 7 before it wrote a result" in failed.error.message
    (measured,) = gpubench.sweep(GRID, tmp_path, fresh=True)
    assert measured.error is None


def test_a_new_process_imports_no_torch_for_a_synthetic_cell() -> None:
    script = (
        "import sys, gpubench.cli.engine_process, gpubench.measure.isolated_child; "
        "print([name for name in ('torch', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "[]\n", done.stderr


def test_a_directory_in_memory_is_written_by_this_process() -> None:
    (result,) = gpubench.sweep(GRID, "memory://fresh", fresh=True)
    assert result.error is None


# The command. Its child sends a signal to the command alone, in the middle of the measured run.
INTERRUPTED = '''
import os
import sys
from gpubench.cli.entry import console
from gpubench.measure import isolated

number = sys.argv.pop(1)
CHILD = f"""
import os
from gpubench import core
from gpubench.measure import cell

calls = []
def execute(ids):
    calls.append(ids)
    if len(calls) == 100:
        os.kill({os.getpid()}, {number})
cell.synthetic_executors = lambda spec: [core.PythonExecutor(execute)]
"""
isolated._START = CHILD + isolated._START
console()
'''


def interrupted(number: signal.Signals, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the command until its child sends it this signal. Returns when both have ended."""
    endless = ["--model", "synthetic", "--service-time", "20us", "--warmup", "0"]
    repeats = ["--duration", "1h", "--fresh", "--repeats", "3", "--output", str(directory)]
    return subprocess.run(
        [sys.executable, "-P", "-c", INTERRUPTED, str(int(number)), "run", *endless, *repeats],
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        preexec_fn=_handled,
    )


def _handled() -> None:
    """A command inherits ignored signals, as under nohup."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.setpgid(0, 0)


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        (signal.SIGKILL, -9),  # the process then ends with the command, and its cell is lost
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_signal_to_the_command_ends_the_process_and_keeps_what_it_measured(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    done = interrupted(number, tmp_path / "run")
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    if number == signal.SIGKILL:
        with pytest.raises(InputError, match="holds no results"):
            open_run(tmp_path / "run").read_all()
        return
    ((_, result),) = open_run(tmp_path / "run").read_all().cells
    assert result.requests.completed > 50
    assert result.error is not None
    assert "interrupted" in result.error.message
    assert "synthetic" in done.stdout
