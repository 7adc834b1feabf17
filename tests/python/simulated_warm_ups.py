"""How well the end of a warm-up is found, on simulated service times whose truth is known.

The tests use this with few runs, tests/benchmarks/warm_up_accuracy.py with many.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gpubench.statistics.warm_up import LEAST_CHANGE, settled

Series = NDArray[np.float64]

_MEAN_NS = 1_000_000
_MOST = 20_000  # batches


def constant(count: int, rng: np.random.Generator) -> Series:
    return np.ones(count)


def independent(count: int, rng: np.random.Generator) -> Series:
    return 1 + 0.05 * rng.standard_normal(count)


def with_outliers(count: int, rng: np.random.Generator) -> Series:
    """One request in fifty takes two to ten times as long."""
    slow = rng.random(count) < 0.02
    return independent(count, rng) * np.where(slow, rng.uniform(2, 10, count), 1)


def exponential(count: int, rng: np.random.Generator) -> Series:
    return rng.exponential(1, count)


def autocorrelated(correlation: float) -> Callable[[int, np.random.Generator], Series]:
    """A first-order autoregressive process with a standard deviation of 5%."""

    def series(count: int, rng: np.random.Generator) -> Series:
        noise = 0.05 * rng.standard_normal(count) * np.sqrt(1 - correlation**2)
        values = np.empty(count)
        value = 0.05 * rng.standard_normal()
        for place, step in enumerate(noise.tolist()):
            value = correlation * value + step
            values[place] = value
        return 1 + values

    return series


STEADY: dict[str, Callable[[int, np.random.Generator], Series]] = {
    "constant": constant,
    "5% noise": independent,
    "5% noise, 2% outliers": with_outliers,
    "AR(1) 0.5": autocorrelated(0.5),
    "AR(1) 0.9": autocorrelated(0.9),
    "exponential": exponential,
}


@dataclass(frozen=True)
class Planted:
    """The first `length` batches are slower.

    A step: by `slower`, all of them. A decay: the first one by `slower`, and the last one by
    LEAST_CHANGE.
    """

    shape: Literal["step", "decay"]
    slower: float
    length: int

    def factor(self, count: int) -> Series:
        place = np.arange(count)
        if self.shape == "step":
            return np.where(place < self.length, 1 + self.slower, 1.0)
        constant = self.length / math.log(self.slower / LEAST_CHANGE)
        decay: Series = np.exp(-place / constant)
        return 1 + self.slower * decay


def found_length(
    noise: str, planted: Planted | None, least: int, piece: int, rng: np.random.Generator
) -> tuple[int, int]:
    """(batches until the warm-up was over as it was found, batches that were run).

    As in a real warm-up, the batches are judged after `least` of them and after each further
    `piece`, until they have settled.
    """
    service = STEADY[noise](_MOST, rng)
    if planted:
        service *= planted.factor(_MOST)
    service_ns = (service * _MEAN_NS).astype(np.int64)
    count = least
    while not (found := settled(service_ns[:count])).settled and count < _MOST:
        count += piece
    return found.batches, count


def false_alarms(noise: str, least: int, runs: int) -> float:
    """The share of steady systems in which a warm-up was found."""
    rng = np.random.default_rng(1)
    found = [found_length(noise, None, least, least // 4, rng)[0] > 0 for _ in range(runs)]
    return float(np.mean(found))


def errors(noise: str, planted: Planted, runs: int, least: int = 500) -> Series:
    """The relative errors of the length in `runs` runs."""
    rng = np.random.default_rng(1)
    lengths = [found_length(noise, planted, least, least // 4, rng)[0] for _ in range(runs)]
    return np.array(lengths, np.float64) / planted.length - 1
