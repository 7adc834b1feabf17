"""The example of structured pruning, on a small network."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

pytest.importorskip("torch_pruning", reason="torch-pruning is not installed")

EXAMPLE = Path(__file__).parents[3] / "examples" / "pruned_resnet50.py"


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 64, 3)
        self.second = torch.nn.Conv2d(64, 64, 3)
        self.last = torch.nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.second(self.first(images).relu()).relu()
        logits: torch.Tensor = self.last(features.mean((2, 3)))
        return logits


def test_channels_are_removed_in_groups_and_the_classes_stay() -> None:
    network = Small().eval()
    images = torch.randn(2, 3, 16, 16)
    runpy.run_path(str(EXAMPLE))["prune"](network, images[:1], kept_whole=[network.last])
    channels = network.first.out_channels
    assert channels % 8 == 0
    assert 0.6 * 64 <= channels <= 0.75 * 64
    assert network.second.in_channels == channels
    assert network(images).shape == (2, 10)
