"""Comparisons of simulated machines, whose true ratio is known.

The tests use this with few comparisons, tests/benchmarks/comparison_accuracy.py with many.

A machine is the logarithm of a figure for each of `runs` x `times` measurements in the order of
time. It contains what the machine does by itself; every measurement adds its own error.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpubench.statistics.comparison import Estimate, Observation, answers, paired, unpaired

Floats = NDArray[np.float64]
Machine = Callable[[np.random.Generator, int, int], Floats]  # (rng, runs, times)


def steady(rng: np.random.Generator, runs: int, times: int) -> Floats:
    return np.zeros((runs, times))


def linear_drift(rng: np.random.Generator, runs: int, times: int) -> Floats:
    """0.5% slower with every measurement."""
    return np.tile(-0.005 * np.arange(times), (runs, 1))


def random_walk(rng: np.random.Generator, runs: int, times: int) -> Floats:
    """Each measurement differs from the one before by 1%."""
    return np.cumsum(0.01 * rng.standard_normal((runs, times)), axis=1)


def neighbours(rng: np.random.Generator, runs: int, times: int) -> Floats:
    """One measurement of eight is slower, by 5% or much more (a Pareto distribution)."""
    slower = np.log1p(0.05 * (1 + rng.pareto(2.0, (runs, times))))
    return -slower * (rng.random((runs, times)) < 1 / 8)


MACHINES: dict[str, Machine] = {
    "steady": steady,
    "linear drift": linear_drift,
    "random walk": random_walk,
    "neighbours": neighbours,
}


@dataclass(frozen=True)
class Rates:
    """Shares of all comparisons."""

    different: float
    equivalent: float
    covered: float  # 95% intervals that contain the true ratio


def paired_rounds(
    rng: np.random.Generator,
    runs: int,
    rounds: int,
    machine: Machine,
    spread: float,
    ratio: float = 1.0,
    repeats: int = 1,
    in_all_rounds: float = 0.0,
) -> list[Estimate]:
    """Rounds with `repeats` measurements of each side.

    With one, the order in a round is random. With two it is ABBA or BAAB. `in_all_rounds` is the
    standard deviation of an error that each side has in all rounds, such as that of one process.
    """
    in_round = 2 * repeats
    logs = machine(rng, runs, rounds * in_round)
    logs = logs + spread * rng.standard_normal(logs.shape)
    estimates = []
    for row in logs.reshape(runs, rounds, in_round):
        true = np.exp(in_all_rounds * rng.standard_normal(2)) * (1.0, ratio)
        pairs = []
        for times in row:
            order = [0, 1] if repeats == 1 else [0, 1, 1, 0]
            if rng.random() < 0.5:
                order = [1 - side for side in order]
            sides: tuple[list[float], list[float]] = ([], [])
            for side, log in zip(order, times, strict=True):
                sides[side].append(math.exp(log) * true[side])
            pairs.append(sides)
        estimate = paired(pairs)
        assert estimate is not None
        estimates.append(estimate)
    return estimates


def ever_different(
    rng: np.random.Generator, runs: int, looks: Sequence[int], spread: float
) -> float:
    """The share of equal systems that are called different at any of several numbers of rounds.

    Nobody adds rounds to a comparison that has an answer.
    """
    found = 0
    for _ in range(runs):
        logs = spread * rng.standard_normal((looks[-1], 2))
        rounds = [([a], [b]) for a, b in np.exp(logs)]
        for count in looks:
            estimate = paired(rounds[:count])
            assert estimate is not None
            kind = answers([estimate])[0].kind
            if kind != "undecided":
                found += kind != "equivalent"
                break
    return found / runs


def two_series(
    rng: np.random.Generator,
    runs: int,
    repeats: int,
    spread: float,
    between_series: float,
    ratio: float = 1.0,
) -> list[Estimate]:
    """Each side is a series with an error of its own, which all its repeats share."""
    estimates = []
    for _ in range(runs):
        sides = []
        for true in (1.0, ratio):
            logs = between_series * rng.standard_normal() + spread * rng.standard_normal(repeats)
            sides.append([Observation(true * math.exp(log)) for log in logs])
        a, b = sides
        estimate = unpaired(a, b)
        assert estimate is not None
        estimates.append(estimate)
    return estimates


def single_runs(
    rng: np.random.Generator, runs: int, inside: float, spread: float, stated: float
) -> list[Estimate]:
    """One run of each side, whose interval knows the error `inside` only."""
    estimates = []
    for _ in range(runs):
        errors = rng.standard_normal(2) * math.hypot(inside, spread)
        a, b = (
            Observation(value, (value * math.exp(-1.96 * inside), value * math.exp(1.96 * inside)))
            for value in np.exp(errors)
        )
        estimate = unpaired([a], [b], stated)
        assert estimate is not None
        estimates.append(estimate)
    return estimates


def rates(estimates: Sequence[Estimate], ratio: float = 1.0) -> Rates:
    """Each estimate is a comparison of its own."""
    kinds = Counter(answers([each])[0].kind for each in estimates)
    intervals = [each.interval() for each in estimates]
    count = len(estimates)
    return Rates(
        different=(kinds["higher"] + kinds["lower"]) / count,
        equivalent=kinds["equivalent"] / count,
        covered=sum(low <= ratio <= high for low, high in intervals) / count,
    )


def tables_with_a_difference(estimates: Sequence[Estimate], size: int) -> float:
    """The share of tables of `size` comparisons in which any is called different."""
    tables = [estimates[i : i + size] for i in range(0, len(estimates), size)]
    found = [any(a.kind in {"higher", "lower"} for a in answers(table)) for table in tables]
    return sum(found) / len(found)
