"""Labelled samples for --eval, from a function. Any source of data fits: a folder, a database.

    gpubench run --model examples/eval_function.py:classifier --precision bf16 \\
        --eval examples/eval_function.py:samples --max-drop 2%

The classifier tells whether a vector of 16 numbers has a positive sum.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

import gpubench


def classifier() -> gpubench.OwnModel:
    layer = torch.nn.Linear(16, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([-1.0, 1.0]).unsqueeze(1).expand(2, 16))
        layer.bias.zero_()

    def vectors(generator: torch.Generator, samples: int) -> tuple[torch.Tensor]:
        return (torch.randn(samples, 16, generator=generator),)

    return gpubench.OwnModel(layer, vectors, answers=("top1",))


def samples() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """1,000 samples in batches of 100, the same each time."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        vectors = torch.randn(100, 16, generator=generator)
        yield vectors, (vectors.double().sum(1) > 0).long()
