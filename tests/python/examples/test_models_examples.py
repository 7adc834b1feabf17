"""The example models, on small sizes: two runtimes give the outputs of the fp32 model.

The sizes that the examples name are checked on torch's device "meta", which computes nothing.
"""

from __future__ import annotations

import csv
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from factories import a_cell
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, MarianConfig, ViTConfig, WhisperConfig

from gpubench import OwnModel
from gpubench.cells.grid import cells, read_grids
from gpubench.engines.base import build
from gpubench.measure.output_check import check
from gpubench.measure.reference import make_reference
from gpubench.models.base import LoadedModel, Tensors, seeded
from gpubench.statistics.verdicts import outputs_differ
from gpubench.system.machine import this_machine

EXAMPLES = Path(__file__).parents[3] / "examples"
DETECTOR = runpy.run_path(str(EXAMPLES / "detector.py"))
TRANSFORMERS = runpy.run_path(str(EXAMPLES / "transformers_models.py"))


def small_detector() -> OwnModel:
    network = DETECTOR["Network"](depth=1 / 3, width=1 / 8)
    return DETECTOR["detector"](network, size=64)  # type: ignore[no-any-return]


def small_whisper() -> OwnModel:
    config = WhisperConfig(
        d_model=32,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=64,
        num_mel_bins=8,
        max_source_positions=20,
    )
    return TRANSFORMERS["whisper_encoder"](config)  # type: ignore[no-any-return]


def small_vit() -> OwnModel:
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
    )
    config.num_labels = 10
    return TRANSFORMERS["vit"](config)  # type: ignore[no-any-return]


def small_embedding() -> OwnModel:
    config = BertConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        vocab_size=100,
    )
    return TRANSFORMERS["sentence_embedding"](config, tokens=16)  # type: ignore[no-any-return]


def small_translation() -> OwnModel:
    config = MarianConfig(
        d_model=32,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=64,
        vocab_size=100,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        max_position_embeddings=32,
    )
    return TRANSFORMERS["translation_encoder"](config, tokens=16)  # type: ignore[no-any-return]


SMALL = {
    "detector": (small_detector, (252, 85)),
    "whisper_encoder": (small_whisper, (20, 32)),
    "vit": (small_vit, (10,)),
    "sentence_embedding": (small_embedding, (32,)),
    "translation_encoder": (small_translation, (16, 32)),
}


def loaded(make: Callable[[], OwnModel]) -> LoadedModel:
    torch.manual_seed(0)
    model = make()

    def inputs(generator: torch.Generator, samples: int) -> Tensors:
        assert callable(model.inputs)
        request: Any = model.inputs(generator, samples)
        return model.preprocess(request) if model.preprocess else request

    assert isinstance(model.module, torch.nn.Module)
    return LoadedModel(model.module.eval(), "random", inputs)


@pytest.mark.parametrize("runtime", ["torchscript", "onnxruntime"])
@pytest.mark.parametrize("name", list(SMALL))
def test_two_runtimes_give_the_outputs_of_the_fp32_model(name: str, runtime: str) -> None:
    make, shape = SMALL[name]
    model = loaded(make)
    cell = a_cell(model="resnet50", runtime=runtime, batch=3)  # read for its runtime and batch
    reference = make_reference(model, cell.seed, cell.batch)
    engine = build(model, cell)
    with engine.thread_modes():
        outputs = engine.forward(*engine.cast(model.make_inputs(seeded(0), 3)))
        numerics = check(engine, reference, "fp32").numerics
    first = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
    assert first.shape == (3, *shape)
    assert not first[0].allclose(first[1], rtol=1e-3)  # the outputs depend on the inputs
    assert numerics is not None
    assert outputs_differ(numerics, "fp32") is None


def sizes_of(module: torch.nn.Module, *inputs: torch.Tensor) -> tuple[int, float]:
    """(parameters, floating-point operations of the products). `module` is on the device "meta"."""
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return parameters, float(counter.get_total_flops())


@pytest.mark.parametrize("size", ["s", "m", "l", "x"])
def test_the_detector_has_the_sizes_that_are_printed_for_yolov5(
    size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = DETECTOR[f"detector_{size}"]
    monkeypatch.setitem(make.__globals__, "detector", lambda network: network)
    with (EXAMPLES / "published" / "yolov5.csv").open(encoding="utf-8") as file:
        [printed] = [row for row in csv.DictReader(file) if row["model"] == f"yolov5{size}"]
    with torch.device("meta"):
        parameters, flops = sizes_of(make().eval(), torch.zeros(1, 3, 640, 640))
    assert parameters / 1e6 == pytest.approx(float(printed["parameters_millions"]), rel=0.015)
    assert flops / 1e9 == pytest.approx(float(printed["gflops"]), rel=0.01)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("whisper_encoder", 20.6),  # of the 72.6 of whisper-base
        ("vit", 86.6),
        ("sentence_embedding", 22.6),  # 22.7 with the pooling layer, which it does not use
        ("translation_encoder", 48.9),  # 29.7 of them are the embeddings of the vocabulary
    ],
)
def test_the_models_of_transformers_have_the_sizes_of_those_that_they_name(
    name: str, millions: float
) -> None:
    with torch.device("meta"):
        module = TRANSFORMERS[name]().module
    parameters = sum(parameter.numel() for parameter in module.parameters())
    assert parameters / 1e6 == pytest.approx(millions, abs=0.05)


def test_a_sentence_embedding_has_norm_1_and_ignores_padding() -> None:
    model = loaded(small_embedding)
    input_ids, mask = model.make_inputs(seeded(0), 4)
    assert len(set(mask.sum(dim=1).tolist())) > 1
    module = model.module
    with torch.inference_mode():
        embeddings = module(input_ids, mask)
        others = torch.where(mask == 1, input_ids, 7)
        assert module(others, mask).allclose(embeddings, atol=1e-6)
    assert embeddings.norm(dim=1).allclose(torch.ones(4))


def test_the_detector_keeps_the_better_one_of_two_boxes_that_overlap() -> None:
    boxes = torch.zeros(1, 3, 5 + 80)
    boxes[0, :, :4] = torch.tensor([[50, 50, 20, 20], [51, 50, 20, 20], [100, 50, 20, 20]])
    boxes[0, :, 4] = 1
    boxes[0, :, 5] = torch.tensor([0.6, 0.9, 0.3])  # of one class
    [kept] = DETECTOR["suppress"]((boxes,))
    assert kept.tolist() == [[41, 40, 61, 60], [90, 40, 110, 60]]


@pytest.mark.parametrize(("name", "count"), [("detector.yaml", 8), ("models.yaml", 16)])
def test_the_sweep_files_name_functions_that_exist(name: str, count: int) -> None:
    grids = read_grids(EXAMPLES / name, allow_code=True)
    found = cells(grids, this_machine()).cells
    assert len(found) == count
    for cell in found:
        file, _, function = cell.spec.model.partition(":")
        assert function in (DETECTOR if file.endswith("detector.py") else TRANSFORMERS)
