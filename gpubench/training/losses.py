"""The loss of a model in training, against fixed targets that are drawn from a seed.

| model | loss | targets |
|---|---|---|
| OwnModel with `loss` | the user's | in the user's function |
| a model with `answers` (BERT, ResNet50) | cross-entropy | one class of each output a sample |
| any other | mean squared error | normally distributed, in the shape of each float output |

The targets mean nothing, so a model cannot learn from one batch what helps in another. The time of
a step does not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy, mse_loss

from gpubench.errors import GpubenchError
from gpubench.models.base import LoadedModel, Tensors, as_tuple
from gpubench.results.result import LossKind


@dataclass(frozen=True)
class Loss:
    """A loss function, and how to draw the targets of a batch.

    `of(outputs, targets)` is a scalar in fp32 with a gradient. `outputs` is what the module
    returned. `draw(generator)` makes the targets of a batch on the CPU.
    """

    kind: LossKind
    of: Callable[[object, Tensors], torch.Tensor]
    draw: Callable[[torch.Generator], Tensors]


def loss_of(model: LoadedModel, outputs: object) -> Loss:
    """The loss of `model`, whose outputs for a batch have the shapes of `outputs`.

    Raises GpubenchError if no output has a gradient.
    """
    if model.loss is not None:
        own = model.loss
        return Loss("own", lambda outputs, _: _scalar(own(outputs)), lambda _: ())
    tensors = as_tuple(outputs)
    if model.answers:
        classes = [(len(each), each.flatten(1).shape[1]) for each in tensors[: len(model.answers)]]
        return Loss("cross-entropy", _cross_entropy, lambda generator: _labels(classes, generator))
    places = [place for place, each in enumerate(tensors) if each.requires_grad]
    if not places:
        raise GpubenchError(
            "no output of the model has a gradient, so it cannot be trained; do not freeze all of "
            "its parameters, and return tensors that depend on them"
        )
    shapes = [tensors[place].shape for place in places]
    return Loss(
        "mean-squared-error",
        lambda outputs, targets: _squared_error(outputs, targets, places),
        lambda generator: tuple(torch.randn(shape, generator=generator) for shape in shapes),
    )


def _labels(classes: Sequence[tuple[int, int]], generator: torch.Generator) -> Tensors:
    return tuple(
        torch.randint(count, (samples,), generator=generator) for samples, count in classes
    )


def _cross_entropy(outputs: object, targets: Tensors) -> torch.Tensor:
    """The mean over the outputs that have an answer; of BERT, over the start and the end."""
    losses = [
        cross_entropy(output.flatten(1).float(), target)
        for output, target in zip(as_tuple(outputs), targets, strict=False)
    ]
    return sum(losses[1:], losses[0]) / len(losses)


def _squared_error(outputs: object, targets: Tensors, places: Sequence[int]) -> torch.Tensor:
    tensors = as_tuple(outputs)
    losses = [
        mse_loss(tensors[place].float(), target)
        for place, target in zip(places, targets, strict=True)
    ]
    return sum(losses[1:], losses[0]) / len(losses)


def _scalar(value: object) -> torch.Tensor:
    if not isinstance(value, torch.Tensor) or value.numel() != 1 or not value.requires_grad:
        raise GpubenchError(
            "the loss of the model must return one number with a gradient: a tensor like that of "
            "torch.nn.functional.cross_entropy"
        )
    return value.float().reshape(())
