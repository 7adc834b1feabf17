"""The preset architectures with few and narrow layers, for what is slow to build."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from factories import a_cell

from gpubench.models.base import LoadedModel, Tensors
from gpubench.models.bert import _AnswerLogits, question_and_context
from gpubench.models.resnet import normalised_images
from gpubench.spec.cell import Cell

if TYPE_CHECKING:
    from torchvision.models.resnet import ResNet
    from transformers import BertConfig, DistilBertConfig

SEQ_LEN = 16


def bert() -> LoadedModel:
    from transformers import BertForQuestionAnswering

    torch.manual_seed(0)
    small = BertForQuestionAnswering(_bert_configuration())

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        return question_and_context(generator, samples, SEQ_LEN)

    module = _AnswerLogits(small, token_types=True).eval()
    return LoadedModel(module, "random", make_inputs, answers=("start", "end"))


def resnet() -> LoadedModel:
    torch.manual_seed(0)
    module = _resnet50().eval()

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        (images,) = normalised_images(generator, samples)
        return (images[:, :, ::4, ::4].contiguous(),)

    return LoadedModel(module, "random", make_inputs, answers=("top1",))


SMALL = {"bert": bert, "resnet": resnet}


def make_presets_small(patch: pytest.MonkeyPatch) -> None:
    """The presets are loaded as ever, but have few and narrow layers themselves."""
    patch.setattr("gpubench.models.bert._configuration", _configuration)
    patch.setattr("torchvision.models.resnet50", _resnet50)


def _configuration(name: str) -> BertConfig | DistilBertConfig:
    if name == "distilbert":
        from transformers import DistilBertConfig

        return DistilBertConfig(dim=64, n_layers=1, n_heads=2, hidden_dim=128)
    return _bert_configuration()


def _bert_configuration() -> BertConfig:
    from transformers import BertConfig

    return BertConfig(
        hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=128
    )


def _resnet50(weights: None = None) -> ResNet:
    from torchvision.models.resnet import Bottleneck, ResNet

    module = ResNet(Bottleneck, [1, 1, 1, 1], num_classes=100, width_per_group=16)
    # Two stages of four: every further one is compiled anew, for its own sizes.
    module.layer3 = module.layer4 = torch.nn.Sequential()
    module.fc = torch.nn.Linear(512, 100)
    return module


def small_cell(
    model: str, runtime: str, precision: str = "fp32", batch: int = 1, workers: int = 1
) -> Cell:
    """A cell on the CPU for one of the models in SMALL: "bert" or "resnet"."""
    return a_cell(
        model="bert-base" if model == "bert" else "resnet50",
        runtime=runtime,
        precision=precision,
        batch=batch,
        seq_len=SEQ_LEN if model == "bert" else None,
        workers=workers,
    )
