"""The toy task: does this step train?

Before anything is timed, the same step runs on one batch again and again, with the same engine,
precision, replicas and accumulation. Its loss must fall, and the parameters must change. A step
without its optimiser, or with gradients that are zero or wrong, does not pass. Convergence is not
tested.

The loss falls if it soon is clearly below the first one, or else if it falls steadily to the end:
outputs that are normalised, or a large part of the loss that no step can remove, keep some losses
high. Dropout and batch normalisation make each loss random, so the trend is tested.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch

from gpubench.training.replica import Replica

MOST_STEPS = 20
# A small model needs more steps, which are short: these are made while they take less than this,
# without the first one, which may compile the model.
SHORT_S = 5.0
# The loss has fallen if it was below this share of the first one in two successive steps.
FALLEN = 0.9
# The losses are averaged in this many parts. A random order of them has as clear a trend in one
# case of 30,000. Source: Mann (1945), "Nonparametric Tests Against Trend".
_PARTS = 20
_CLEAR_TREND = 4.0  # standard deviations


@dataclass(frozen=True)
class ToyTask:
    """What the steps on one batch have shown. The losses are those of the replica 0."""

    steps: int
    first_loss: float | None  # None: it is not finite
    last_loss: float | None
    loss_fell: bool
    parameters_changed: bool

    @property
    def trains(self) -> bool:
        return self.parameters_changed and self.loss_fell


def has_fallen(first: float, last: float) -> bool:
    """Whether `last` is clearly below `first`. A loss may be negative if it is the user's own."""
    return last <= first - (1 - FALLEN) * abs(first)


def falls_steadily(losses: Sequence[float]) -> bool:
    """Whether later losses are lower than earlier ones more often than by chance."""
    parts = [part.mean() for part in np.array_split(np.asarray(losses), min(_PARTS, len(losses)))]
    later_is_lower = sum(np.sign(a - b) for a, b in combinations(parts, 2))
    count = len(parts)
    deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    return bool(later_is_lower > _CLEAR_TREND * deviation)


def run_toy_task(replica: Replica, repeat_step: Callable[[], object]) -> ToyTask:
    """Call `repeat_step`, which makes a step on the same batches, until the loss has fallen."""
    before = _norms(replica.module)
    losses: list[float] = []
    began = time.monotonic()
    while len(losses) < MOST_STEPS or time.monotonic() - began < SHORT_S:
        repeat_step()
        losses.append(float(replica.step.last_loss))
        if len(losses) == 1:
            began = time.monotonic()
        if len(losses) >= 3 and all(has_fallen(losses[0], each) for each in losses[-2:]):
            break
    is_finite = math.isfinite(losses[0]) and math.isfinite(losses[-1])
    return ToyTask(
        steps=len(losses),
        first_loss=_finite(losses[0]),
        last_loss=_finite(losses[-1]),
        loss_fell=is_finite and (has_fallen(losses[0], losses[-1]) or falls_steadily(losses)),
        parameters_changed=bool((_norms(replica.module) != before).any()),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@torch.no_grad()
def _norms(module: torch.nn.Module) -> torch.Tensor:
    """The norm of each parameter that is trained."""
    trained = (each for each in module.parameters() if each.requires_grad)
    return torch.stack([each.double().norm() for each in trained])
