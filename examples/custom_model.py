"""Your own model, in every runtime.

gpubench run --model examples/custom_model.py:classifier --batch 8
gpubench sweep --model examples/custom_model.py:classifier --runtime eager,torchscript,compile \\
    --batch 1,8 --output results/custom
"""

from __future__ import annotations

import torch

import gpubench


class Classifier(torch.nn.Module):
    """A small network on 32 x 32 images."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 32, 3, stride=2, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(32, 64, 3, stride=2, padding=1),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(64 * 8 * 8, 10),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(images)
        return logits


def classifier() -> gpubench.OwnModel:
    """gpubench calls this. It could also return (Classifier(), torch.rand(4, 3, 32, 32))."""

    def images(generator: torch.Generator, samples: int) -> tuple[torch.Tensor]:
        return (torch.rand(samples, 3, 32, 32, generator=generator),)

    return gpubench.OwnModel(Classifier(), images, answers=("top1",))
