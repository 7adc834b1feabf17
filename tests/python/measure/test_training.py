"""Steps of training from the settings to the result, on a CPU: alone and in several processes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import SEQ_LEN, make_presets_small

import gpubench
from gpubench.cli.program import main
from gpubench.errors import InputError
from gpubench.measure.cold import cold
from gpubench.results.read import read_contents
from gpubench.results.result import Result
from gpubench.results.run_directory import open_run
from gpubench.training import replica

# Each replica writes what it sees into files beside the models.
MODELS = """
import json
import os
import signal
from pathlib import Path

import torch
import torch.distributed as dist

import gpubench

HERE = Path(__file__).parent

def rank():
    return dist.get_rank() if dist.is_initialized() else 0

class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(16, 16)
        self.norm = torch.nn.BatchNorm1d(16)

    def forward(self, inputs):
        return inputs + torch.relu(self.norm(self.layer(inputs)))

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.Sequential(Block(), Block())
        self.head = torch.nn.Linear(16, 4)
        self.unused = torch.nn.Linear(16, 4)

    def forward(self, inputs):
        return self.head(self.blocks(inputs))

class Watched(Net):
    calls = 0

    def forward(self, inputs):
        Watched.calls += 1
        if self.training and dist.is_initialized():
            weights = float(self.head.weight.detach().double().sum())
            with open(HERE / f"rank{rank()}", "a") as file:
                file.write(json.dumps([weights, float(inputs.double().sum())]) + "\\n")
            if (HERE / "die").exists() and rank() == 1 and Watched.calls > 8:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(inputs)

def inputs(generator, samples):
    return (torch.randn(samples, 16, generator=generator),)

def net():
    return gpubench.OwnModel(Net(), inputs, answers=("top1",))

def watched():
    print("printed by the model")
    return gpubench.OwnModel(Watched(), inputs, answers=("top1",))

def own_loss():
    return gpubench.OwnModel(Net(), inputs, loss=lambda outputs: outputs.square().mean())

def infinite_later():
    seen = []
    def loss(outputs):
        seen.append(1)
        figure = outputs.square().mean()
        return figure / 0 if len(seen) > 60 else figure
    return gpubench.OwnModel(Net(), inputs, loss=loss)

def frozen():
    return Net().requires_grad_(False), torch.randn(4, 16)

class Normalised(torch.nn.Module):
    # Unit vectors: no step can lower their loss against random targets by a tenth.
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(16, 4096)

    def forward(self, inputs):
        return torch.nn.functional.normalize(self.layer(inputs))

def normalised():
    return Normalised(), torch.randn(4, 16)

class Cached(torch.nn.Module):
    # A model with a cache of keys and values, as those of transformers.
    class Config:
        use_cache = True

    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.ModuleList([Block()])
        self.config = Cached.Config()

    def forward(self, inputs):
        if self.config.use_cache:
            raise ValueError("the cache is on")
        return self.blocks[0](inputs)

def cached():
    return Cached(), torch.randn(4, 16)

def only_here():
    if "GPUBENCH_TEST_REPLICA" not in os.environ:
        return Net(), torch.randn(4, 16)
    raise ValueError("no weights on this machine")
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(name: str = "net", **settings: Any) -> Result:
    """The result of 20 steps without a warm-up."""
    usual: dict[str, Any] = {"batch": 8, "requests": 20, "warmup": 0, "task": "train"}
    return gpubench.run(model=f"models.py:{name}", **usual | settings)


def codes(result: Result) -> set[str]:
    return {reason.code for reason in result.verdict.reasons}


def test_the_stages_lie_inside_the_compute_of_each_step(models: Path) -> None:
    result = trained(accumulate=3)
    assert result.error is None
    samples = result.samples
    assert samples is not None
    assert samples.step_ns is not None
    assert (samples.step_ns > 0).all()
    assert (samples.step_ns.sum(axis=1) <= samples.completed_ns - samples.submitted_ns).all()
    stages = result.stages_ms
    assert stages.forward
    assert stages.backward
    assert stages.optimizer
    assert stages.compute
    parts = stages.forward.mean + stages.backward.mean + stages.optimizer.mean
    assert parts <= stages.compute.mean
    assert stages.preprocess is None


def test_a_step_of_a_small_net_trains_and_counts_all_its_samples(models: Path) -> None:
    result = trained(accumulate=2, dataset_size=5_000_000, usd_per_hour=2.0)
    report, rate = result.training, result.throughput_per_second
    assert report is not None
    assert rate is not None
    assert (report.samples_per_step, report.loss, report.trains) == (16, "cross-entropy", True)
    assert report.toy_last_loss is not None
    assert report.toy_first_loss is not None
    assert report.toy_last_loss <= 0.9 * report.toy_first_loss
    assert (report.parameters_changed, report.last_loss_finite) == (True, True)
    assert "no-training" not in codes(result)
    window = result.window.seconds
    assert window is not None
    assert rate == pytest.approx(16 * result.requests.completed / window)
    (cost,) = result.costs
    assert cost.usd_per_million == pytest.approx(2 / 3600 / rate * 1e6)
    assert cost.usd_per_epoch == pytest.approx(5 * (cost.usd_per_million or 0))
    assert result.engine.flops is not None
    assert result.achieved.flops_per_second == pytest.approx(3 * result.engine.flops * rate)
    assert (result.numerics, result.engine.first_inference_seconds is None) == (None, False)


@pytest.mark.parametrize("model", ["bert-base", "resnet50"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_loss_of_the_presets_falls(
    model: str, optimizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of presets with few and narrow layers, on the batch of the toy task."""
    make_presets_small(monkeypatch)
    text = {"seq_len": SEQ_LEN} if model == "bert-base" else {}
    settings: dict[str, Any] = {"model": model, "optimizer": optimizer, **text}
    result = gpubench.run(
        task="train", batch=2, requests=2, warmup=0, checkpointing=True, **settings
    )
    assert result.error is None
    assert result.training is not None
    assert (result.training.trains, result.training.last_loss_finite) == (True, True)
    tokens = result.training.tokens_per_second
    if model == "bert-base":
        assert tokens == pytest.approx((result.throughput_per_second or 0) * SEQ_LEN)
    else:
        assert tokens is None


def test_bf16_on_a_cpu_trains_with_fp32_weights(models: Path) -> None:
    result = trained(precision="bf16", allow_emulated=True)
    assert (result.error, result.training and result.training.trains) == (None, True)
    assert result.engine.artifact_bytes == 4 * (result.engine.parameters or 0) + 2 * (32 * 4 + 8)


def test_a_compiled_step_trains(models: Path) -> None:
    result = trained(runtime="compile")
    assert result.error is None
    assert (result.training and result.training.trains) is True
    assert "TorchInductor" in (result.engine.library or "")


def test_a_step_without_its_optimizer_is_no_training(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Idle(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            pass

    monkeypatch.setattr(replica, "make_optimizer", lambda _, parameters: Idle(parameters, lr=1.0))
    result = trained()
    assert result.training is not None
    assert (result.training.trains, result.training.parameters_changed) == (False, False)
    assert "no-training" in codes(result)


def test_a_loss_that_does_not_fall_is_no_training(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def climb(_: str, parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=1e-2, maximize=True)

    monkeypatch.setattr(replica, "make_optimizer", climb)
    result = trained()
    assert result.training is not None
    assert (result.training.trains, result.training.parameters_changed) == (False, True)
    assert "no-training" in codes(result)


def test_a_loss_that_is_not_finite_in_the_window_is_no_training(models: Path) -> None:
    result = trained("infinite_later", requests=80)
    assert result.training is not None
    assert (result.training.trains, result.training.last_loss_finite) == (True, False)
    assert "no-training" in codes(result)


def test_the_loss_of_an_own_model_is_used(models: Path) -> None:
    result = trained("own_loss")
    assert result.training is not None
    assert (result.training.loss, result.training.trains) == ("own", True)


def test_a_loss_that_falls_slowly_but_steadily_is_training(models: Path) -> None:
    result = trained("normalised")
    report = result.training
    assert report is not None
    assert report.toy_first_loss is not None
    assert report.toy_last_loss is not None
    assert 0.9 * report.toy_first_loss < report.toy_last_loss < report.toy_first_loss
    assert report.trains
    assert report.tokens_per_second is None  # it takes no text


def test_a_cache_of_keys_and_values_is_off_in_training(models: Path) -> None:
    result = trained("cached")
    assert result.error is None


def test_batch_normalisation_of_a_single_sample_names_the_fix(models: Path) -> None:
    result = trained("net", batch=1)
    assert result.error is not None
    assert result.error.message.endswith("to train; use --batch 2 or more")


def test_a_model_that_is_frozen_cannot_be_trained(models: Path) -> None:
    result = trained("frozen")
    assert result.error is not None
    assert result.error.stage == "build"
    assert "so it cannot be trained" in result.error.message


def seen(file: Path) -> tuple[list[float], list[float]]:
    """(the weights, the inputs) that a replica saw in each forward pass."""
    weights, inputs = zip(*map(json.loads, file.read_text().splitlines()), strict=True)
    return list(weights), list(inputs)


def children() -> list[str]:
    """The processes that this one has started and that still run."""
    listed = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True
    )
    return [line for line in listed.stdout.splitlines() if "replica_process" in line]


def test_two_replicas_have_the_same_weights_and_other_batches(models: Path) -> None:
    result = trained("watched", replicas=2)
    assert result.error is None
    assert children() == []
    report, window = result.training, result.window.seconds
    assert report is not None
    assert window is not None
    assert (report.replicas, report.samples_per_step, report.trains) == (2, 16, True)
    assert result.throughput_per_second == pytest.approx(16 * result.requests.completed / window)
    (weights, inputs), (others, other_inputs) = seen(models / "rank0"), seen(models / "rank1")
    steps = min(len(weights), len(others))
    assert steps > 20
    assert weights[:steps] == others[:steps]
    assert len(set(weights)) > 10
    assert not set(inputs) & set(other_inputs)


def test_a_replica_that_is_killed_ends_the_cell_in_one_line(models: Path) -> None:
    (models / "die").touch()
    result = trained("watched", replicas=2, requests=10_000)
    assert result.error is not None
    assert "replica 1 of the training ended (signal 9)" in result.error.message
    assert children() == []
    (models / "die").unlink()
    assert trained("watched", replicas=2).error is None  # the process can train again


def test_a_replica_that_cannot_load_its_model_says_why(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start: Any = subprocess.Popen

    def popen(*arguments: Any, **options: Any) -> Any:
        variables = os.environ | {"GPUBENCH_TEST_REPLICA": "1"}
        return start(*arguments, **options, env=variables)

    monkeypatch.setattr(subprocess, "Popen", popen)
    result = trained("only_here", replicas=2)
    assert result.error is not None
    assert "replica 1 of the training ended (exit status 1): ValueError: no weights on this" in (
        result.error.message
    )
    assert children() == []


def test_a_sweep_resumes_isolates_and_reports_training(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = [
        "sweep",
        "--task",
        "train",
        "--model",
        "models.py:net",
        "--batch",
        "4",
        "--threads",
        "1",
    ]
    sweep += ["--replicas", "1,2", "--requests", "20", "--warmup", "0", "--output", "run"]
    sweep += ["--isolate", "--quiet", "--usd-per-hour", "1", "--dataset-size", "1000"]
    assert main(sweep) == 0
    documents = {path.name: path.stat().st_mtime_ns for path in (models / "run").glob("*.json")}
    assert main(sweep) == 0
    assert {p.name: p.stat().st_mtime_ns for p in (models / "run").glob("*.json")} == documents
    capsys.readouterr()
    assert main(["report", "run", "--format", "json"]) == 0
    cells = json.loads(capsys.readouterr().out)
    found = {each["training"]["replicas"]: each for each in cells}
    assert found[1]["training"]["scaling_efficiency"] is None
    one, two = (found[number]["throughput_per_second"] for number in (1, 2))
    assert found[2]["training"]["scaling_efficiency"] == pytest.approx(two / (2 * one))
    assert main(["report", "run", "--format", "markdown"]) == 0
    table = capsys.readouterr().out
    for title in ("samples /s", "forward ms", "backward ms", "optimizer ms", "scaling", "$/epoch"):
        assert title in table
    assert main(["plan", "run", "--objective", "p95:1s"]) == 2
    assert "all cells are steps of training" in capsys.readouterr().err


def test_the_sample_file_has_the_stages_of_each_step(models: Path) -> None:
    command = ["train", "--model", "models.py:net", "--batch", "4"]
    command += ["--requests", "20", "--warmup", "0"]
    assert main([*command, "--output", "run", "--quiet"]) == 0
    ((name, result),) = read_contents("run").cells
    samples = open_run("run").read_samples(name, result.sample_file)
    assert samples is not None
    assert samples.step_ns is not None
    assert samples.step_ns.shape == (len(samples), 3)
    assert samples.step_ns.dtype == np.int64


def test_a_search_and_a_cold_start_refuse_training() -> None:
    with pytest.raises(InputError, match="there is no rate to search"):
        gpubench.search(model="resnet50", task="train", objective="p95:1s")
    with pytest.raises(InputError, match="--task train: cold starts are those of inferences"):
        cold(gpubench.Spec(model="resnet50", task="train"))
