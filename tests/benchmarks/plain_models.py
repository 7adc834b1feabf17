"""Models of the benchmark plain_loop.py that are not presets, as functions for --model."""

from __future__ import annotations

import torch
import torchvision


def mobilenet() -> tuple[torch.nn.Module, torch.Tensor]:
    """torchvision's mobilenet_v3_small: many short operations on small tensors."""
    return torchvision.models.mobilenet_v3_small(weights=None).eval(), torch.randn(1, 3, 224, 224)


def mlp() -> tuple[torch.nn.Module, torch.Tensor]:
    """Two linear layers, about 0.1 ms: short enough to show the cost of the harness."""
    module = torch.nn.Sequential(
        torch.nn.Linear(784, 2048), torch.nn.ReLU(), torch.nn.Linear(2048, 10)
    )
    return module.eval(), torch.randn(1, 784)
