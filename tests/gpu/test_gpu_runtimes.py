"""Tests of runtimes that compile for the GPU: outputs are right, and CUDA graphs are replayed."""

from __future__ import annotations

import pytest
from test_gpu_run import replayed


@pytest.mark.gpu(torch=True)
@pytest.mark.parametrize("runtime", ["eager", "compile", "aotinductor"])
@pytest.mark.parametrize("model", ["distilbert", "resnet50"])
def test_answers_are_right_and_replayed_as_graphs(model: str, runtime: str) -> None:
    replayed(model=model, runtime=runtime, precision="fp16", batch=2)


@pytest.mark.gpu(torch=True)
def test_compiled_code_is_compiled_once() -> None:
    import torch

    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    replayed(model="distilbert", runtime="compile", precision="amp")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before + 1
