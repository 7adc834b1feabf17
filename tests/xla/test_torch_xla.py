"""The runtime xla with the real torch_xla, on PJRT's CPU device: see environment.py.

torch_xla starts once in a process. So all cells here have the same number of threads, except those
that test what happens otherwise.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_models import make_presets_small

import gpubench
from gpubench.errors import InputError
from gpubench.results.result import Result
from gpubench.statistics.verdicts import outputs_differ

SETTINGS: dict[str, Any] = {
    "model": "distilbert",
    "seq_len": 8,
    "runtime": "xla",
    "device": "cpu",
    "warmup": 0,
    "requests": 20,
}

# The same outputs for the same inputs, but the shapes inside differ from call to call.
CHANGING = """
import gpubench, torch

class Changing(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls = self.calls % 500 + 1
        return x[:, :self.calls].sum(1) + x[:, self.calls:].sum(1)

def changing():
    def inputs(generator, samples):
        return (torch.rand(samples, 1000, generator=generator),)
    return gpubench.OwnModel(Changing(), inputs)
"""


@pytest.fixture
def small_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    make_presets_small(monkeypatch)


def measured(**settings: object) -> Result:
    result = gpubench.run(**SETTINGS | settings)  # type: ignore[arg-type]
    assert result.error is None, result.error
    return result


def codes(result: Result) -> set[str]:
    return {reason.code for reason in result.verdict.reasons}


@pytest.mark.usefixtures("small_presets")
@pytest.mark.parametrize(
    ("model", "batch", "precision"),
    [
        ("distilbert", 1, "fp32"),
        ("distilbert", 3, "bf16"),
        ("bert-base", 2, "fp32"),
        ("resnet50", 1, "fp32"),
        ("resnet50", 3, "fp32"),
    ],
)
def test_outputs_are_those_of_the_fp32_model(model: str, batch: int, precision: str) -> None:
    seq_len = None if model == "resnet50" else 8
    result = measured(
        model=model,
        seq_len=seq_len,
        batch=batch,
        precision=precision,
        allow_emulated=True,
        requests=5,
    )
    assert result.numerics is not None
    assert result.numerics.cosine is not None
    assert outputs_differ(result.numerics, precision) is None
    assert result.numerics.relative_error is not None
    assert (result.numerics.relative_error > 1e-3) == (precision == "bf16")  # it really rounds


@pytest.mark.usefixtures("small_presets")
def test_dynamic_batching_compiles_nothing_in_the_window() -> None:
    result = measured(model="resnet50", seq_len=None, clients=3, dynamic_batch="3:1ms", requests=30)
    assert result.window.compilations == 0
    assert "recompiled" not in codes(result)


def test_shapes_that_change_are_compiled_and_reported(tmp_path: Path) -> None:
    file = tmp_path / "changing.py"
    file.write_text(CHANGING)
    result = measured(model=f"{file}:changing", seq_len=None, allow_code=True, requests=10)
    assert result.samples is not None
    assert result.window.compilations == len(result.samples)
    assert "recompiled" in codes(result)
    assert "outputs-differ" not in codes(result)


@pytest.mark.usefixtures("small_presets")
def test_a_sweep_measures_it_after_another_runtime(tmp_path: Path) -> None:
    """The two cells share the model and the requests."""
    grid = SETTINGS | {"runtime": ["eager", "xla"]}
    results = gpubench.sweep(grid, tmp_path / "run")
    assert [result.error for result in results] == [None, None]
    assert {result.spec.runtime for result in results} == {"eager", "xla"}


@pytest.mark.usefixtures("small_presets")
def test_another_number_of_threads_needs_another_process() -> None:
    measured()
    result = gpubench.run(**SETTINGS | {"threads": 64})  # type: ignore[arg-type]
    assert result.error is not None
    assert "measure this cell with a separate gpubench run" in result.error.message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 2, "clients": 2}, "torch_xla serves one thread of a process; use --workers 1"),
        ({"precision": "fp16", "allow_emulated": True}, "choose fp32 or bf16"),
        ({"inputs": "device"}, "use --inputs host"),
        ({"device": "tpu"}, r"pip install 'torch_xla\[tpu\]'"),
    ],
)
def test_what_it_cannot_do_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        gpubench.run(**SETTINGS | settings)


def test_a_sweep_has_a_process_for_each_number_of_threads(tmp_path: Path) -> None:
    file = tmp_path / "changing.py"
    file.write_text(CHANGING)
    sweep = tmp_path / "sweep.json"  # YAML
    cells = {"model": f"{file}:changing", "runtime": "xla", "device": "cpu", "threads": [1, 2]}
    sweep.write_text(json.dumps({**cells, "requests": 5, "warmup": 0}))
    environment = {name: value for name, value in os.environ.items() if name != "GPUBENCH_ISOLATE"}
    command = [sys.executable, "-P", "-m", "gpubench", "sweep", str(sweep), "--allow-code"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=False,
    )
    documents = [json.loads(each.read_text()) for each in (tmp_path / "run").glob("*.json")]
    assert [each["error"] for each in documents] == [None, None], done.stderr
    assert {each["spec"]["threads"] for each in documents} == {1, 2}


def test_a_process_measures_resnet50(tmp_path: Path) -> None:
    """The whole model. Compiling it is in build_seconds, and not in the first inference."""
    command = [sys.executable, "-P", "-m", "gpubench", "run", "--runtime", "xla"]
    flags = ["--model", "resnet50", "--device", "cpu", "--requests", "5", "--warmup", "0s"]
    done = subprocess.run(
        [*command, *flags, "--json", "-"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Setting mat mul precision" not in done.stderr
    result = json.loads(done.stdout)
    assert result["error"] is None
    assert result["numerics"]["relative_error"] < 2e-4
    assert result["engine"]["library"].startswith("torch_xla 2.9")
    assert result["engine"]["build_seconds"] > 2 * result["engine"]["first_inference_seconds"]
    assert result["engine"]["artifact_bytes"] > 100e6
    assert result["window"]["compilations"] == 0
    assert "recompiled" not in {reason["code"] for reason in result["verdict"]["reasons"]}
