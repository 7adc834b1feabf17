"""What a model file gives to the engines."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from gpubench.errors import GpubenchError
from gpubench.models import MODELS

if TYPE_CHECKING:
    from gpubench.spec import Spec

Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class LoadedModel:
    """A model in fp32 on the CPU, in eval mode, and the means to make requests for it.

    `module(*inputs)` takes the tensors of one request and returns a tensor or a tuple of tensors,
    the batch first in each.
    """

    module: torch.nn.Module
    weights: str  # label for the result: "random (seed 0)", "pretrained: <where from>"
    make_inputs: Callable[[torch.Generator, int], Tensors]  # (generator, samples) -> one request
    # What the largest value of each output answers, in order: "top1", or "start" and "end".
    answers: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.module.parameters())


def load(spec: Spec) -> LoadedModel:
    """Load the model that `spec` names, by the file its preset points to.

    Raises GpubenchError where the weights cannot be fetched or do not fit the model.
    """
    file = MODELS[spec.model].file
    if file is None:
        raise GpubenchError(f"{spec.model} has no weights to load")
    loader = cast(Callable[["Spec"], LoadedModel], importlib.import_module(file).load)
    return loader(spec)


def as_tuple(outputs: torch.Tensor | Tensors) -> Tensors:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def random_weights_label(seed: int) -> str:
    return f"random (seed {seed})"


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed % 2**63)
