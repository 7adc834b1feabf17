"""The settings of a training step: what fits together, and the one line for what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from factories import a_machine

from gpubench.cells.resolve import resolve
from gpubench.errors import InputError
from gpubench.spec.parse import make_spec
from gpubench.spec.spec import Spec

MACHINE = a_machine(cores=4)


def spec(**settings: Any) -> Spec:
    return make_spec({"model": "resnet50", "task": "train", **settings})


def test_the_defaults_of_a_step() -> None:
    cell = resolve(spec(batch=4), MACHINE)
    assert cell.training is not None
    assert (cell.training.optimizer, cell.training.accumulate) == ("adamw", 1)
    assert (cell.training.checkpointing, cell.training.replicas) == (False, 1)
    assert (cell.runtime, cell.workers, cell.threads, cell.depth) == ("eager", 1, 4, 1)
    assert (cell.spec.clients, cell.samples_per_request) == (1, 4)


def test_a_step_counts_the_samples_of_all_its_batches_and_replicas() -> None:
    cell = resolve(spec(batch=4, accumulate=3, replicas=2), MACHINE)
    assert (cell.samples_per_request, cell.replicas, cell.threads) == (24, 2, 2)
    assert "train eager fp32, batch 4, adamw, accumulate 3, replicas 2" in cell.spec.describe()


def test_an_inference_counts_its_batch_and_has_no_training() -> None:
    cell = resolve(make_spec({"model": "resnet50", "batch": 4}), MACHINE)
    assert (cell.samples_per_request, cell.replicas, cell.training) == (4, 1, None)


def test_every_setting_of_a_step_but_its_price_is_part_of_the_key() -> None:
    changes: list[dict[str, Any]] = [
        *({}, {"optimizer": "sgd"}, {"accumulate": 2}, {"checkpointing": True}, {"replicas": 2}),
    ]
    keys = [resolve(spec(**change), MACHINE).spec.key("m") for change in changes]
    inference = resolve(make_spec({"model": "resnet50", "runtime": "eager"}), MACHINE)
    assert len({*keys, inference.spec.key("m")}) == 6
    assert resolve(spec(dataset_size=1000), MACHINE).spec.key("m") == keys[0]
    assert resolve(spec(optimizer="adamw", clients=1), MACHINE).spec.key("m") == keys[0]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"task": "inference", "optimizer": "sgd"}, "--optimizer: it belongs to a training step"),
        ({"task": "inference", "checkpointing": True}, "--checkpointing: it belongs to a training"),
        ({"task": "inference", "dataset_size": 10}, "--dataset-size: it belongs to a training"),
        ({"model": "synthetic"}, "--model: synthetic cannot be trained; give a preset"),
        ({"model": "net.pt", "input_shape": "3"}, "--model: net.pt cannot be trained"),
        ({"model": "net.onnx"}, "--model: net.onnx cannot be trained"),
        ({"runtime": "torchscript"}, "--runtime: a training step runs with eager or compile"),
        ({"precision": "fp16"}, "--precision: fp16 is not for training"),
        ({"precision": "int8"}, "use fp32, tf32, amp or bf16"),
        ({"rate": 5}, "--rate: training steps follow one another without a rate"),
        ({"arrivals": "trace:t"}, "--arrivals: training steps follow one another"),
        ({"clients": 2}, "--clients: training is one client"),
        ({"workers": 2}, "--workers: training is one client"),
        ({"depth": 2}, "--depth: training is one client"),
        ({"dynamic_batch": "8:1ms"}, "--dynamic-batch: training is one client"),
        ({"eval": "val.parquet"}, "--eval: training is one client"),
        ({"sparsity": "2:4"}, "--sparsity: training is one client"),
        ({"accumulate": 0}, "--accumulate"),
        ({"replicas": 0}, "--replicas"),
        ({"optimizer": "adam"}, "--optimizer"),
        ({"task": "evaluate"}, "--task"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as refusal:
        spec(**settings)
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"replicas": 5}, "--replicas 5: each needs a core of its own, and this machine has 4"),
        ({"replicas": 2, "cpus": "0"}, "and --cpus 0 has 1; use 1 or fewer"),
        ({"precision": "tf32"}, "only NVIDIA GPUs from Ampere on have it"),
        ({"inputs": "pinned"}, "--inputs pinned: only GPUs copy from pinned memory"),
        ({"model": "absent.py:net"}, "there is no absent.py"),
    ],
)
def test_what_this_machine_cannot_train_is_refused(
    settings: dict[str, Any], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refusal:
        resolve(spec(**settings), MACHINE)
    assert expected in str(refusal.value)
