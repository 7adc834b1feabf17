"""Sweeps that are killed at each point of a write: incomplete files are not used."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

import gpubench
from gpubench.files import folder
from gpubench.files.folder import WRITE_POINTS
from gpubench.measure.progress import Progress
from gpubench.results.result import Result
from gpubench.results.run_directory import open_run

GRID: dict[str, object] = {
    "model": "synthetic",
    "service_time": "10us",
    "warmup": 0,
    "requests": 30,
    "workers": [1, 2],
}

# The writes of a sweep of two cells: the test file, then lease, samples and result of each cell.
WRITES = ("trial", "lease 1", "samples 1", "result 1", "lease 2", "samples 2", "result 2")


def sweep_and_die(run: Path, write: int, where: str) -> None:
    """A sweep in a separate process that is killed at a point of one of its writes."""
    begun = -1

    def reached(point: str) -> None:
        nonlocal begun
        begun += point == "opened"
        if (begun, point) == (write, where):
            os.kill(os.getpid(), signal.SIGKILL)

    folder._reached = reached
    gpubench.sweep(GRID, run)


# Each process starts with the imports done and without threads.
FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload(["gpubench.measure.sweep", "gpubench.measure.cell", "pyarrow.parquet"])

CRASHES = [
    (write, point)
    for write in WRITES
    for point in (("written", "linked") if write.startswith("lease") else WRITE_POINTS)
    if point != "linked" or write != "trial"
]


class Counter(Progress):
    def __init__(self) -> None:
        self.ended = 0

    def cell_ended(self, result: Result, elapsed_s: float) -> None:
        self.ended += 1


@pytest.mark.parametrize(("write", "point"), CRASHES)
def test_a_killed_sweep_continues_after_the_complete_cells(
    tmp_path: Path, write: str, point: str
) -> None:
    run = tmp_path / "run"
    number = WRITES.index(write)
    killed = FRESH.Process(target=sweep_and_die, args=(run, number, point))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL

    is_named = WRITE_POINTS.index(point) >= WRITE_POINTS.index("linked")
    whole = sum(
        WRITES.index(result) < number or (result == write and is_named)
        for result in ("result 1", "result 2")
    )
    assert len(list(run.glob("*.json"))) == whole
    if whole:
        contents = open_run(run).read_all()
        assert contents.problems == []
        assert all(open_run(run).has(key) for key, _ in contents.cells)

    counter = Counter()
    assert len(gpubench.sweep(GRID, run, counter)) == 2
    assert counter.ended == 2 - whole
    cells = open_run(run).read_all().cells
    names = [f"{key}.{suffix}" for key, _ in cells for suffix in ("json", "parquet")]
    assert {path.name for path in run.iterdir()} == set(names)
    for key, result in cells:
        samples = open_run(run).read_samples(key)
        assert samples is not None
        assert result.sample_file is not None
        assert len(samples) >= result.requests.completed
