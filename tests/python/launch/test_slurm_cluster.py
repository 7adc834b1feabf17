"""Workers that a real Slurm starts on this machine, from `gpubench launch slurm` on."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import slurm_cluster

_SWEEP = """
model: synthetic
service_time: 1ms
batch: [1, 2]
clients: [1, 2]
requests: 20
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield {**os.environ, **environment}


def gpubench(environment: dict[str, str], *arguments: str, cwd: Path) -> str:
    command = [sys.executable, "-P", "-m", "gpubench", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def program(folder: Path) -> str:
    """gpubench on the node."""
    path = folder / "gpubench of the tests"
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m gpubench "$@"\n')
    path.chmod(0o755)
    return str(path)


def wait_for_end(environment: dict[str, str], job: str) -> None:
    """Slurm starts the command when all jobs of the array have ended."""
    subprocess.run(["srun", f"--dependency=afterany:{job}", "true"], env=environment, check=True)


def states(environment: dict[str, str], job: str) -> list[tuple[str, str]]:
    """The state and the exit status of each job of an array."""
    shown = subprocess.run(
        ["scontrol", "show", "job", job], env=environment, check=True, capture_output=True
    ).stdout.decode()
    return re.findall(r"JobState=(\w+).*?ExitCode=(\d+):", shown, flags=re.DOTALL)


def test_an_array_measures_every_cell_once(cluster: dict[str, str], tmp_path: Path) -> None:
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(_SWEEP)
    run = tmp_path / "run of $(id)"
    asked = ["launch", "slurm", str(sweep), "--output", str(run), "--machines", "2", "--submit"]
    asked += ["--constraint", "fast&here", "--logs", str(tmp_path), "--program", program(tmp_path)]
    job = gpubench(cluster, *asked, cwd=tmp_path).split()[-1]
    wait_for_end(cluster, job)

    logs = "\n".join(log.read_text() for log in tmp_path.glob("*.log"))
    assert states(cluster, job) == [("COMPLETED", "0")] * 2, logs
    documents = [file for file in run.glob("*.json") if not file.name.startswith(".")]
    assert len(documents) == 4
    workers = [json.loads(file.read_text()) for file in run.glob(".worker-*.json")]
    assert sorted(worker["index"] for worker in workers) == [0, 1]
    assert [worker["ended"] for worker in workers] == ["finished"] * 2
    assert [worker["measured"] for worker in workers] == [2] * 2
