"""Cells on some of the cores (--cpus): every thread of the process that measures runs on them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import gpubench
from gpubench.system.machine import this_machine

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="it needs two cores")

# A model that notes the cores of every thread of its process, and is large enough for OpenMP.
MODEL = """
from pathlib import Path
import torch

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(512, 512)

    def forward(self, inputs):
        outputs = self.linear(inputs)
        seen = set()
        for status in Path("/proc/self/task").glob("*/status"):
            for line in status.read_text().splitlines():
                if line.startswith("Cpus_allowed_list"):
                    seen.add(line.split()[1])
        with (Path(__file__).parent / "seen").open("a") as file:
            file.write(" ".join(sorted(seen)) + "\\n")
        return outputs

def model():
    return Model(), torch.randn(256, 512)
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    file = tmp_path / "noted.py"
    file.write_text(MODEL)
    return f"{file}:model"


def seen(tmp_path: Path) -> set[str]:
    file = tmp_path / "seen"
    found = set(file.read_text().splitlines())
    file.unlink()
    return found


def test_all_threads_run_on_the_cores_of_the_cell_and_then_on_their_own_again(
    tmp_path: Path, model: str
) -> None:
    cores = sorted(os.sched_getaffinity(0))
    last = str(cores[-1])
    result = gpubench.run(model=model, runtime="eager", cpus=last, requests=5, warmup=0)
    assert result.error is None
    assert seen(tmp_path) == {last}
    assert (result.spec.cpus, result.harness.cpus, result.spec.threads) == (last, last, 1)
    assert result.engine.threads_note == "1 cores, 1 workers, 1 intra-op threads in each"
    assert result.environment.cores == this_machine().cores, "the machine is the whole machine"
    assert sorted(os.sched_getaffinity(0)) == cores


def test_each_cell_of_a_sweep_has_its_own_cores(tmp_path: Path, model: str) -> None:
    first, second = sorted(os.sched_getaffinity(0))[:2]
    grid = {"model": model, "runtime": "eager", "requests": 5, "warmup": 0}
    grid["cpus"] = [str(first), str(second), f"{first}+{second}"]
    results = gpubench.sweep(grid, tmp_path / "run", allow_code=True)
    assert [(each.error, each.harness.cpus, each.spec.threads) for each in results] == [
        (None, str(first), 1),
        (None, str(second), 1),
        (None, gpubench.Spec(model="synthetic", cpus=f"{first}+{second}").cpus, 2),
    ]
    assert seen(tmp_path) == {each.harness.cpus for each in results}
