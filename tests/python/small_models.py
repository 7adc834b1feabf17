"""The preset architectures with few and narrow layers, for what is slow to build."""

from __future__ import annotations

import torch

from gpubench.models.base import LoadedModel, Tensors
from gpubench.models.bert import _AnswerLogits, question_and_context
from gpubench.models.resnet import normalised_images

SEQ_LEN = 16


def bert() -> LoadedModel:
    from transformers import BertConfig, BertForQuestionAnswering

    torch.manual_seed(0)
    small = BertForQuestionAnswering(
        BertConfig(
            hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=128
        )
    )

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        return question_and_context(generator, samples, SEQ_LEN)

    module = _AnswerLogits(small, token_types=True).eval()
    return LoadedModel(module, "random", make_inputs, answers=("start", "end"))


def resnet() -> LoadedModel:
    from torchvision.models.resnet import Bottleneck, ResNet

    torch.manual_seed(0)
    module = ResNet(Bottleneck, [1, 1, 1, 1], num_classes=100, width_per_group=16).eval()

    def make_inputs(generator: torch.Generator, samples: int) -> Tensors:
        (images,) = normalised_images(generator, samples)
        return (images[:, :, ::4, ::4].contiguous(),)

    return LoadedModel(module, "random", make_inputs, answers=("top1",))


SMALL = {"bert": bert, "resnet": resnet}
