"""`sweep --on ray` on a real cluster: several nodes of Ray on this machine."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ray_processes import worker_processes

from gpubench.cells.grid import parse_grids
from gpubench.errors import InputError
from gpubench.launch.ray.node import software_versions
from gpubench.launch.ray.sweep import sweep_on_ray
from gpubench.measure.progress import Progress
from gpubench.measure.sweep import SweepOutcome
from gpubench.results.result import Result
from gpubench.results.run_directory import open_run
from gpubench.spec.isolation import TOGETHER, Isolation
from gpubench.spec.repetition import ONCE, Repetition
from gpubench.spec.spec import Spec

cluster_utils = pytest.importorskip("ray.cluster_utils")

GRID: dict[str, object] = {
    "model": "synthetic",
    "service_time": "10us",
    "warmup": 0,
    "requests": 50,
}
# Clouds have these names; the nodes of the tests only say that they are such instances.
ONE, OTHER = "c7i.xlarge", "c7g.4xlarge"


class Nodes:
    """A cluster whose head does no work, as in a real one."""

    def __init__(self) -> None:
        head = {"num_cpus": 0, "include_dashboard": False}
        self.cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
        self.one = self.add(ONE)
        self.other = self.cluster.add_node(num_cpus=1, resources={OTHER: 1})

    def add(self, instance: str) -> object:
        return self.cluster.add_node(num_cpus=1, labels={"gpubench-instance": instance})

    @property
    def address(self) -> str:
        return str(self.cluster.address)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUBENCH_LOCK_DIR", "")  # all nodes are this machine; they need not wait
        found = Nodes()
        ray.init(found.address, log_to_driver=False, logging_level=logging.CRITICAL)
        yield found
        ray.shutdown()
        found.cluster.shutdown()


@dataclass
class Recorder(Progress):
    """What happened. `at_begin` and `at_end` are called after each cell that begins or ends."""

    at_begin: Callable[[int, str], None] = lambda number, node: None
    at_end: Callable[[int, str], None] = lambda number, node: None
    begun: list[tuple[str, Spec]] = field(default_factory=list)
    ended: list[tuple[str, Result]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def node_cell_begins(
        self, node: str, number: int, spec: Spec, seconds_left: float | None
    ) -> None:
        self.begun.append((node, spec))
        self.at_begin(number, node)

    def node_cell_ended(self, node: str, result: Result, elapsed_s: float) -> None:
        self.ended.append((node, result))
        self.at_end(len(self.ended), node)

    def node_told(self, node: str, what: str) -> None:
        self.told.append(f"{node}: {what}")


def swept(
    grid: dict[str, object],
    output: Path,
    recorder: Recorder,
    repetition: Repetition = ONCE,
    isolation: Isolation = TOGETHER,
    node_wait_s: float = 60.0,
) -> SweepOutcome:
    return sweep_on_ray(
        parse_grids(grid, "sweep"),
        output,
        "auto",  # the test is connected to its cluster
        recorder,
        repetition=repetition,
        isolation=isolation,
        node_wait_s=node_wait_s,
    )


def workers() -> list[int]:
    """The worker processes on the nodes of this test. Another cluster may run on this machine."""
    return worker_processes(os.getpid())


def assert_no_worker_is_left() -> None:
    """Ray ends processes soon after it was asked to."""
    end_s = time.monotonic() + 60
    while workers() and time.monotonic() < end_s:
        time.sleep(0.1)
    assert workers() == []


def test_each_instance_is_measured_on_a_node_of_its_type(nodes: Nodes, tmp_path: Path) -> None:
    recorder = Recorder()
    grid = GRID | {"workers": [1, 2], "instance": [ONE, OTHER]}
    outcome = swept(grid, tmp_path / "run", recorder, Repetition(repeats=2))
    assert len(outcome.results) == 8
    assert all(result.error is None for result in outcome.results)
    assert all(f"({result.environment.instance})" in node for node, result in recorder.ended)
    measured = Counter(
        (result.spec.workers, *(cost.instance for cost in result.costs))
        for result in outcome.results
    )
    assert measured == {(workers_, name): 2 for workers_ in (1, 2) for name in (ONE, OTHER)}
    assert {result.repeat and result.repeat.number for result in outcome.results} == {1, 2}
    directory = open_run(tmp_path / "run")
    assert all(directory.read_samples(key) is not None for key, _ in directory.read_all().cells)
    again = Recorder()
    assert len(swept(grid, tmp_path / "run", again, Repetition(repeats=2)).results) == 8
    assert again.begun == []
    assert_no_worker_is_left()


def test_a_node_that_is_removed_costs_nothing_but_time(nodes: Nodes, tmp_path: Path) -> None:
    lost = nodes.add(ONE)
    removed: list[str] = []

    def remove(number: int, node: str) -> None:
        if number == 5:
            nodes.cluster.remove_node(lost)
            removed.append(node)

    recorder = Recorder(at_begin=remove)
    grid = GRID | {"workers": list(range(1, 21)), "instance": [ONE]}
    outcome = swept(grid, tmp_path / "run", recorder)
    assert removed
    assert [result.error for result in outcome.results] == [None] * 20
    assert sorted(result.spec.workers or 0 for _, result in recorder.ended) == list(range(1, 21))
    assert any("has left the cluster" in each for each in recorder.told)


def test_a_worker_that_is_killed_is_replaced(nodes: Nodes, tmp_path: Path) -> None:
    def kill(number: int, node: str) -> None:
        if number == 2:
            for process in workers():
                os.kill(process, signal.SIGKILL)

    recorder = Recorder(at_begin=kill)
    grid = GRID | {"workers": [1, 2, 3, 4], "instance": [ONE]}
    outcome = swept(grid, tmp_path / "run", recorder)
    assert [result.error for result in outcome.results] == [None] * 4
    assert len(recorder.ended) == 4
    assert {r.spec.workers: r.lost_attempts for r in outcome.results} == {1: 0, 2: 1, 3: 0, 4: 0}
    assert any("its process has ended" in each for each in recorder.told)


def test_a_cell_whose_workers_always_end_is_reported_failed(nodes: Nodes, tmp_path: Path) -> None:
    def kill(number: int, node: str) -> None:
        for process in workers():
            os.kill(process, signal.SIGKILL)

    recorder = Recorder(at_begin=kill)
    outcome = swept(GRID | {"instance": [ONE]}, tmp_path / "run", recorder)
    (result,) = outcome.results
    assert result.error is not None
    assert result.error.stage == "process"
    assert result.environment.instance == ONE
    assert result.lost_attempts == len(recorder.begun) == 3
    assert len(recorder.ended) == 1


def test_cells_that_have_no_node_left_are_reported_failed(nodes: Nodes, tmp_path: Path) -> None:
    only = nodes.add("c8g.4xlarge")

    def remove(number: int, node: str) -> None:
        if number == 1:
            nodes.cluster.remove_node(only)

    recorder = Recorder(at_end=remove)
    grid = GRID | {"workers": [1, 2], "instance": ["c8g.4xlarge"]}
    outcome = swept(grid, tmp_path / "run", recorder, node_wait_s=0.0)
    done, failed = outcome.results
    assert done.error is None
    assert failed.error is not None
    assert "no node that could measure it was left" in failed.error.message


def test_what_no_node_can_measure_is_refused_before_anything_is_measured(
    nodes: Nodes, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"no node is a g5\.xlarge"):
        swept(GRID | {"instance": [ONE, "g5.xlarge"]}, tmp_path / "run", Recorder())
    assert not (tmp_path / "run").exists()
    assert_no_worker_is_left()


def test_other_versions_are_refused_before_anything_is_measured(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = software_versions() | {"torch": "1.13.0"}
    monkeypatch.setattr("gpubench.launch.ray.admission.software_versions", lambda: here)
    with pytest.raises(InputError, match=r"it has other versions: torch .* \(here 1\.13\.0\)"):
        swept(GRID | {"instance": [ONE]}, tmp_path / "run", Recorder())
    assert not (tmp_path / "run").exists()


MODELS = """
import logging
import os

import torch


def good():
    return torch.nn.Linear(4, 4), torch.rand(1, 4)


class Ends(torch.nn.Module):
    def forward(self, x):
        os._exit(3)


def ends():
    return Ends(), torch.rand(1, 4)
"""


def test_a_model_that_ends_its_process_fails_alone(nodes: Nodes, tmp_path: Path) -> None:
    file = tmp_path / "models.py"
    file.write_text(MODELS)
    grid: dict[str, object] = {
        **{"model": [f"{file}:ends", f"{file}:good"], "runtime": "eager", "warmup": 0},
        **{"requests": 5, "device": "cpu", "instance": [ONE]},
    }
    recorder = Recorder()
    outcome = swept(grid, tmp_path / "run", recorder, isolation=Isolation(isolate=True))
    failed, good = outcome.results
    assert failed.error is not None
    assert "ended with status 3" in failed.error.message
    assert good.error is None
    assert not any("lost" in each for each in recorder.told)


def test_ctrl_c_keeps_what_was_measured_and_leaves_no_process(nodes: Nodes, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "gpubench", "sweep", "--on", f"ray:{nodes.address}"]
    command += ["--output", str(tmp_path / "run"), "--instance", ONE, "--model", "synthetic"]
    command += ["--service-time", "10us", "--warmup", "0", "--requests", "50"]
    command += ["--workers", ",".join(map(str, range(1, 201)))]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("[4/"):
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait() == 130, "".join(lines) + rest
    assert "The same command goes on from there" in " ".join(rest.split())
    kept = open_run(tmp_path / "run").read_all().cells
    assert 3 <= len(kept) < 200
    assert all(result.error is None for _, result in kept)
    assert_no_worker_is_left()
