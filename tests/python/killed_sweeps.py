"""Sweeps whose command, or whose measuring process, is killed at a random moment.

The tests kill a few, tests/benchmarks/kill_moments.py many.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from gpubench.errors import InputError
from gpubench.results.result import Result
from gpubench.results.run_directory import open_run

Victim = Literal["command", "cell"]

_BEGINS = re.compile(r"^\[\d+/\d+", re.MULTILINE)
# A process ends within this time after it was killed, or the system is broken.
_LONGEST_END_S = 30.0


@dataclass(frozen=True)
class Killed:
    """What a kill has cost."""

    found_victim: bool  # False: the sweep had ended, or no cell was being measured
    begun: int  # cells that this command began
    stored: int  # cells without an error that the directory holds more than before
    failed: int  # cells with an error in the directory
    changed: int  # documents that were there before, and are others now
    damaged: int  # documents or sample files that cannot be used
    left: int  # processes that did not end with the command
    status: int  # of the command

    @property
    def lost(self) -> int:
        """Cells that were begun and are not stored. A cell with an error counts, too."""
        return self.begun - self.stored


def killed_sweep(arguments: list[str], output: Path, victim: Victim, after_s: float) -> Killed:
    """Run `gpubench sweep ARGUMENTS`, and kill the victim after this time."""
    before = {name: data for name, data in _documents(output).items() if open_run(output).has(name)}
    process = _start(arguments, output)
    with suppress(subprocess.TimeoutExpired):
        process.wait(after_s)
    family = _descendants(process.pid)
    target = process.pid if victim == "command" else (family[-1] if len(family) > 1 else None)
    if process.poll() is None and target is not None:
        _kill(target)
    else:
        target = None
    _, text = process.communicate()
    after = _documents(output)
    failed = sum(_has_error(output, name) for name in after)
    good = {name for name in after if open_run(output).has(name)}
    kept = {name for name in before if before[name] == after.get(name)}
    return Killed(
        found_victim=target is not None,
        begun=len(_BEGINS.findall(text)),
        stored=len(good) - len(before),
        failed=failed,
        changed=len(before) - len(kept),
        damaged=len(after) - len(good) - failed,
        left=_still_running(family),
        status=process.returncode,
    )


def whole_sweep(arguments: list[str], output: Path) -> tuple[int, float]:
    """Run it to the end. Returns how many cells it measured, and the seconds that it took."""
    began = time.monotonic()
    process = _start(arguments, output)
    _, text = process.communicate()
    return len(_BEGINS.findall(text)), time.monotonic() - began


def results(output: Path) -> list[Result]:
    return [each for _, each in open_run(output).read_all().cells]


def moments(count: int, longest_s: float, seed: int) -> list[float]:
    """Random times from the start of the command."""
    random = Random(seed)
    return [random.uniform(0, longest_s) for _ in range(count)]


def _start(arguments: list[str], output: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", "gpubench.cli", "sweep", *arguments]
    return subprocess.Popen(
        [*command, "--output", str(output)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _documents(output: Path) -> dict[str, bytes]:
    """All documents, by name."""
    names = (file.stem for file in output.glob("*.json"))
    return {name: (output / f"{name}.json").read_bytes() for name in names}


def _has_error(output: Path, name: str) -> bool:
    try:
        return open_run(output).read(name).error is not None
    except InputError:
        return False


def _descendants(pid: int) -> list[int]:
    """The children of a process, their children, and so on."""
    found = []
    for child in _children(pid):
        found += [child, *_descendants(child)]
    return found


def _children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _still_running(pids: list[int]) -> int:
    """How many of these processes run, after those that are ending had time for it."""
    deadline = time.monotonic() + _LONGEST_END_S
    while (left := [pid for pid in pids if _runs(pid)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    return len(left)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}
