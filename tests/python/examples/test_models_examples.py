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
from gpubench.cells.grid import read_grids
from gpubench.engines.base import build
from gpubench.measure.output_check import check
from gpubench.measure.reference import make_reference
from gpubench.models.base import LoadedModel, Tensors, seeded
from gpubench.statistics.verdicts import outputs_differ

EXAMPLES = Path(__file__).parents[3] / "examples"
DETECTOR = runpy.run_path(str(EXAMPLES / "detector.py"))
TRANSFORMERS = runpy.run_path(str(EXAMPLES / "transformers_models.py"))

SIZES = {"s": (1 / 3, 1 / 2), "m": (2 / 3, 3 / 4), "l": (1, 1), "x": (4 / 3, 5 / 4)}


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
        num_labels=10,
    )
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

    return LoadedModel(model.module.eval(), "random", inputs)


@pytest.mark.parametrize("runtime", ["torchscript", "onnxruntime"])
@pytest.mark.parametrize("name", list(SMALL))
def test_two_runtimes_give_the_outputs_of_the_fp32_model(name: str, runtime: str) -> None:
    make, shape = SMALL[name]
    model = loaded(make)
    cell = a_cell(model="resnet50", runtime=runtime, batch=3)  # for its runtime and its batch
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
