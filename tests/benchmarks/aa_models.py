"""Models of aa.py."""

from __future__ import annotations

import time

import torch


class _Sleeping(torch.nn.Module):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        time.sleep(1e-3)
        return inputs


def sleeping() -> tuple[torch.nn.Module, torch.Tensor]:
    """Sleeps for a millisecond, and the operating system decides how much longer."""
    return _Sleeping(), torch.zeros(4, 8)
