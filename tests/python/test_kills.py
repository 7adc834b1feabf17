"""Sweeps that are killed wherever a write can end: nothing half written is taken for whole."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import gpubench
from gpubench._watcher import Watcher
from gpubench.folder import WRITE_POINTS
from gpubench.result import Result
from gpubench.store import open_run

GRID: dict[str, object] = {
    "model": "synthetic",
    "service_time": "10us",
    "warmup": 0,
    "requests": 30,
    "workers": [1, 2],
}

# The writes of a sweep of two cells: the trial of the directory, then samples and result of each.
WRITES = ("trial", "samples 1", "result 1", "samples 2", "result 2")

SWEEP = f"""
import os, signal, sys
import gpubench
from gpubench import folder
left = int(sys.argv[2])
def reached(point):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
folder._reached = reached
gpubench.sweep({GRID!r}, sys.argv[1])
"""


class Counter(Watcher):
    def __init__(self) -> None:
        self.measured = 0

    def ended(self, result: Result, elapsed_s: float) -> None:
        self.measured += 1


@pytest.mark.parametrize(
    "number",
    range(len(WRITES) * len(WRITE_POINTS)),
    ids=lambda number: (
        f"{WRITES[number // len(WRITE_POINTS)]}, {WRITE_POINTS[number % len(WRITE_POINTS)]}"
    ),
)
def test_a_killed_sweep_goes_on_from_what_is_whole(tmp_path: Path, number: int) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-P", "-c", SWEEP, str(run), str(number)]
    killed = subprocess.run(command, capture_output=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL

    renamed = WRITE_POINTS.index("renamed")
    write, point = divmod(number, len(WRITE_POINTS))
    whole = sum(
        write > WRITES.index(name) or (write == WRITES.index(name) and point >= renamed)
        for name in ("result 1", "result 2")
    )
    assert len(list(run.glob("*.json"))) == whole
    if whole:
        contents = open_run(run).read_all()
        assert contents.problems == []
        assert all(open_run(run).has(key) for key, _ in contents.cells)

    counter = Counter()
    assert len(gpubench.sweep(GRID, run, counter)) == 2
    assert counter.measured == 2 - whole
    cells = open_run(run).read_all().cells
    names = [f"{key}.{suffix}" for key, _ in cells for suffix in ("json", "parquet")]
    assert {path.name for path in run.iterdir()} == set(names)
    for key, result in cells:
        samples = open_run(run).read_samples(key)
        assert samples is not None
        assert result.sample_file is not None
        assert len(samples) >= result.requests.completed
