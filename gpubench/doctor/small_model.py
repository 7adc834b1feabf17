"""A small torch model for tests of a machine: some tenths of a millisecond on a server."""

from __future__ import annotations

import torch

from gpubench.models.base import Tensors
from gpubench.models.own import OwnModel

_WIDTH = 512
_SAMPLES = 32


class _Layers(torch.nn.Module):
    """Multiplies matrices, as most models do. `inputs` is (batch, rows, width)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(_WIDTH, _WIDTH), torch.nn.ReLU(),
            torch.nn.Linear(_WIDTH, _WIDTH), torch.nn.ReLU(),
            torch.nn.Linear(_WIDTH, _WIDTH),
        )  # fmt: skip

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layers(inputs)
        return outputs


def small_model() -> OwnModel:
    """Three linear layers with random weights."""

    def inputs(generator: torch.Generator, samples: int) -> Tensors:
        return (torch.randn(samples, _SAMPLES, _WIDTH, generator=generator),)

    return OwnModel(_Layers(), inputs)
