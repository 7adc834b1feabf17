"""Tests of ONNX Runtime with `gpubench.run`, if its package for CUDA is installed.

Nobody has run them on a GPU yet.
"""

from __future__ import annotations

import pytest

import gpubench

BRIEF = {"device": "cuda:0", "runtime": "onnxruntime", "requests": 200, "warmup": 0.2}


@pytest.fixture(autouse=True)
def _for_cuda() -> None:
    library = pytest.importorskip("onnxruntime", reason="pip install '.[onnxruntime-gpu]'")
    if "CUDAExecutionProvider" not in library.get_available_providers():
        pytest.skip("onnxruntime is the package for CPUs; pip install '.[onnxruntime-gpu]'")


def measured(**settings: object) -> gpubench.Result:
    """A result without an error, whose outputs agree with the fp32 model."""
    result = gpubench.run(gpubench.Spec.model_validate(BRIEF | settings))
    assert result.error is None
    assert result.answers_agree, result.numerics
    return result


@pytest.mark.gpu(torch=True)
@pytest.mark.parametrize("inputs", ["host", "pinned", "device"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16"])
@pytest.mark.parametrize("model", ["resnet50", "bert-base"])
def test_one_worker_replays_a_graph_of_onnx_runtime(
    model: str, precision: str, inputs: str
) -> None:
    result = measured(model=model, precision=precision, inputs=inputs, clients=1, workers=1)
    assert result.harness.not_captured is not None
    assert "a CUDA graph of its own" in result.harness.not_captured


@pytest.mark.gpu(torch=True)
@pytest.mark.parametrize("settings", [{"workers": 2}, {"workers": 1, "dynamic_batch": "8:1ms"}])
def test_several_workers_or_batch_sizes_run_without_a_graph(settings: dict[str, object]) -> None:
    result = measured(model="resnet50", precision="fp16", clients=4, **settings)
    assert result.harness.not_captured is not None
    assert "only with one worker" in result.harness.not_captured
