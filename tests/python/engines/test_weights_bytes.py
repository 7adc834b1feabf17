"""The bytes of an engine: of its weights, each counted once, in the format in which they are."""

from __future__ import annotations

import pytest
import torch
from small_models import bert, resnet, small_cell

from gpubench.engines import eager, torchscript, weights_bytes


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)
        self.second.weight = self.first.weight
        self.register_buffer("steps", torch.zeros(3, dtype=torch.int64))


def test_tensors_that_share_memory_count_once() -> None:
    assert weights_bytes.of_module(Tied()) == 4 * (8 * 8 + 8 + 8) + 8 * 3
    shared = torch.zeros(10)
    assert weights_bytes.of_tensors([shared, shared, shared.clone()]) == 80
    assert weights_bytes.of_tensors([]) == 0


def test_a_quantised_tensor_has_the_bytes_of_its_values_and_scales() -> None:
    quantization = pytest.importorskip("torchao.quantization")
    layer = torch.nn.Sequential(torch.nn.Linear(64, 32, bias=False))
    quantization.quantize_(layer, quantization.Int8WeightOnlyConfig())
    size = weights_bytes.of_module(layer)
    assert 64 * 32 < size <= 64 * 32 + 3 * 4 * 32  # scales, and perhaps zero points


@pytest.mark.parametrize(("precision", "size"), [("fp32", 4), ("amp", 4), ("bf16", 2)])
def test_eager_keeps_the_weights_in_the_format_of_the_precision(precision: str, size: int) -> None:
    model = bert()
    engine = eager.build(model, small_cell("bert", "eager", precision))
    floats = sum(p.numel() for p in model.module.parameters())
    others = sum(b.nbytes for b in model.module.buffers())
    assert engine.artifact_bytes == floats * size + others


def test_frozen_torchscript_keeps_its_weights_as_constants() -> None:
    model = resnet()
    weights = sum(p.nbytes for p in model.module.parameters())
    engine = torchscript.build(model, small_cell("resnet", "torchscript"))
    assert engine.artifact_bytes is not None
    assert isinstance(engine.forward, torch.jit.ScriptModule)
    assert not list(engine.forward.parameters())
    # Batch normalisations are folded into the convolutions.
    assert engine.artifact_bytes == pytest.approx(weights, rel=0.02)
    half = torchscript.build(resnet(), small_cell("resnet", "torchscript", "bf16"))
    assert half.artifact_bytes == pytest.approx(engine.artifact_bytes / 2, rel=0.02)
