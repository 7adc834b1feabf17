"""Every runtime computes what the model computes, in the precision asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from factories import a_cell
from small_models import make_presets_small
from torch.nn import Conv2d, Linear

from gpubench.engines import torchscript
from gpubench.engines.base import Engine, build
from gpubench.engines.precision import set_fp32_arithmetic
from gpubench.measure import engine
from gpubench.models.base import LoadedModel, Tensors, load, seeded
from gpubench.spec.cell import Cell


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def small_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    make_presets_small(monkeypatch)


def cell_of(model: str, runtime: str, precision: str, batch: int = 2) -> Cell:
    seq_len = None if model == "resnet50" else 16
    return a_cell(
        **{
            "model": model,
            "runtime": runtime,
            "precision": precision,
            "batch": batch,
            "seq_len": seq_len,
            "device": "cpu",
            "threads": 2,
            "workers": 1,
        }
    )


def outputs_of(engine: Engine, inputs: Tensors) -> Tensors:
    with engine.thread_modes():
        outputs = engine.forward(*engine.place(inputs))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return tuple(output.float() for output in outputs)


def reference(model: LoadedModel, inputs: Tensors) -> Tensors:
    with torch.inference_mode():
        outputs = model.module(*inputs)
    return outputs if isinstance(outputs, tuple) else (outputs,)


# Relative errors of the outputs that the formats allow: fp32 differs by the order of additions,
# bf16 has 8 bits of mantissa.
TOLERANCE = {"fp32": 1e-4, "amp": 0.1, "bf16": 0.1}


@pytest.mark.usefixtures("small_presets")
@pytest.mark.parametrize("precision", list(TOLERANCE))
@pytest.mark.parametrize("runtime", ["eager", "torchscript"])
@pytest.mark.parametrize("name", ["distilbert", "resnet50"])
def test_outputs_are_those_of_the_fp32_model(name: str, runtime: str, precision: str) -> None:
    check_outputs(name, runtime, precision)


@pytest.mark.parametrize("name", ["distilbert", "resnet50"])
def test_outputs_of_models_as_deep_as_the_presets_are_those_of_the_fp32_model(name: str) -> None:
    """Rounding errors grow with the number of layers."""
    check_outputs(name, "torchscript", "bf16")


def check_outputs(name: str, runtime: str, precision: str) -> None:
    cell = cell_of(name, runtime, precision)
    model = load(cell)
    inputs = model.make_inputs(seeded(11), 2)
    expected = reference(model, inputs)
    engine = build(model, cell)
    for ours, theirs in zip(outputs_of(engine, inputs), expected, strict=True):
        assert (ours - theirs).norm() <= TOLERANCE[precision] * theirs.norm()


@pytest.mark.usefixtures("small_presets")
def test_a_trace_made_with_one_padding_is_right_for_another() -> None:
    cell = cell_of("distilbert", "torchscript", "fp32")
    model = load(cell)
    ids, mask = model.make_inputs(seeded(1), 2)
    unpadded = (ids, torch.ones_like(mask))
    expected = reference(model, unpadded)
    for ours, theirs in zip(outputs_of(build(model, cell), unpadded), expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.usefixtures("small_presets")
def test_a_trace_takes_other_batch_sizes_for_dynamic_batching() -> None:
    cell = cell_of("distilbert", "torchscript", "fp32", batch=1)
    model = load(cell)
    inputs = model.make_inputs(seeded(1), 3)
    expected = reference(model, inputs)
    for ours, theirs in zip(outputs_of(build(model, cell), inputs), expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def casts_in_one_inference(engine: Engine, inputs: Tensors) -> int:
    with engine.thread_modes():
        placed = engine.place(inputs)
        engine.forward(*placed)
        with torch.profiler.profile() as profile:
            engine.forward(*placed)
    return sum(event.count for event in profile.key_averages() if event.key == "aten::_to_copy")


@pytest.mark.usefixtures("small_presets")
@pytest.mark.parametrize("runtime", ["eager", "torchscript"])
def test_autocast_casts_no_weight_twice(runtime: str) -> None:
    """The second inference casts activations alone: one for each layer with a matrix of weights.

    Casting all parameters each time is what a new autocast block per request would do.
    """
    cell = cell_of("resnet50", runtime, "amp")
    model = load(cell)
    layers = sum(isinstance(layer, Conv2d | Linear) for layer in model.module.modules())
    assert 2 * layers < len(list(model.module.parameters()))
    engine = build(model, cell)
    assert casts_in_one_inference(engine, model.make_inputs(seeded(1), 2)) <= layers


@pytest.mark.usefixtures("small_presets")
@pytest.mark.parametrize("runtime", ["eager", "torchscript"])
def test_what_is_quick_to_make_is_not_kept(runtime: str, own_cache: Path) -> None:
    cell = cell_of("resnet50", runtime, "fp32", batch=1)
    assert build(load(cell), cell).from_cache is None
    assert not list(own_cache.rglob("*"))


@pytest.mark.usefixtures("small_presets")
def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # which stands in for it
    cell = cell_of("resnet50", "onnxruntime", "fp32", batch=1)
    assert build(load(cell), cell).from_cache is False


def test_torchscript_is_refused_on_python_3_14(monkeypatch: pytest.MonkeyPatch) -> None:
    assert torchscript.refusal(cell_of("resnet50", "torchscript", "fp32")) is None
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    assert "Python 3.11 to 3.13" in (
        torchscript.refusal(cell_of("resnet50", "torchscript", "fp32")) or ""
    )


def test_tf32_is_never_on_silently() -> None:
    set_fp32_arithmetic("tf32")
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"  # type: ignore[attr-defined]
    set_fp32_arithmetic("fp32")
    assert torch.backends.cudnn.conv.fp32_precision == "ieee"  # type: ignore[attr-defined]
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"


@pytest.mark.parametrize(("name", "gflops"), [("resnet50", 8.178), ("bert-base", 22.348)])
def test_operations_are_counted_as_twice_the_multiply_adds(name: str, gflops: float) -> None:
    """BERT-base at 128 tokens: 12 layers of 12 * 768^2 weights, and attention over 128 x 128."""
    flops = engine.count_flops(load(a_cell(model=name)))
    assert (flops or 0) / 1e9 == pytest.approx(gflops, abs=0.001)
