"""When the losses of the toy task count as falling."""

from __future__ import annotations

import numpy as np
import pytest

from gpubench.training.toy_task import falls_steadily

NOISE = np.random.default_rng(0).normal(0, 0.01, 300)


@pytest.mark.parametrize(
    ("losses", "falls"),
    [
        (1 - 1e-4 * np.arange(20), True),  # by 0.2% in all, without noise
        (1 - 1e-4 * np.arange(300) + NOISE, True),  # each fall is far below the noise
        (1 + NOISE, False),
        (1 + NOISE[:20], False),
        (np.ones(20), False),
        (1 + 1e-4 * np.arange(20), False),
        (np.array([1.0, 0.9, 0.8]), False),  # too few to tell
    ],
)
def test_a_trend_counts_and_noise_does_not(losses: np.ndarray, falls: bool) -> None:
    assert falls_steadily(losses.tolist()) is falls
