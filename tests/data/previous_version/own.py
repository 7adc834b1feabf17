"""The models of sweep.yaml and failing.yaml that are functions."""

from __future__ import annotations

import torch


class Failing(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("this model always fails")


def classifier() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    return torch.nn.Linear(16, 4), (torch.rand(1, 16),)


def failing() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    return Failing(), (torch.rand(1, 16),)
