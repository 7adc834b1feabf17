"""The comparison of two run directories, A and B: pairs of cells, and the ratios of their figures.

Two cells are a pair if they were measured with the same settings. The machine may differ, because
machines are what is compared most often. If no cell of the other side has the same settings, a
setting may differ that has one value in all cells of A and another value in all cells of B (for
example eager in A and torchscript in B). tf32 also matches fp32, because GPUs without TF32 have
only fp32. The comparison reports such differences. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from gpubench.errors import InputError
from gpubench.results.result import Cost, Interval, Result
from gpubench.spec.settings import INPUTS_ARE

# Settings of the machine, and of how and how long a cell was measured. They may differ in a pair.
# All other settings say what was measured, and must be equal.
_OF_THE_MACHINE = frozenset({"device", "threads"})
_OF_THE_METHOD = frozenset(
    {"depth", "wait", "warmup", "duration", "requests", "seed", "load_seed", "allow_emulated"}
)
_FULL_PRECISION = frozenset({"fp32", "tf32"})

Value = str | float | int | bool | None


@dataclass(frozen=True)
class Figure:
    """One figure of both sides. None if a side has none."""

    a: float | None
    b: float | None
    a_interval: Interval | None = None
    b_interval: Interval | None = None

    @property
    def b_over_a(self) -> float | None:
        """The ratio of the figures before rounding."""
        if not self.a or self.b is None:
            return None
        quotient = self.b / self.a
        return quotient if math.isfinite(quotient) else None

    @property
    def is_significant(self) -> bool | None:
        """Whether the 95% interval of B - A excludes zero. None if a side has no interval.

        The interval of the difference of two independent figures follows from their intervals: Zou
        and Donner, Statistics in Medicine 27(10), 2008. Two figures may differ significantly
        although their intervals overlap a little.
        """
        if self.a is None or self.b is None or not self.a_interval or not self.b_interval:
            return None
        if self.a <= self.b:
            margin = math.hypot(self.a_interval[1] - self.a, self.b - self.b_interval[0])
        else:
            margin = math.hypot(self.a - self.a_interval[0], self.b_interval[1] - self.b)
        return abs(self.b - self.a) > margin


@dataclass(frozen=True)
class Difference:
    """A setting that differs in a pair."""

    setting: str
    a: Value
    b: Value


@dataclass(frozen=True)
class Pair:
    """The same cell in A and in B."""

    a: Result
    b: Result
    differences: tuple[Difference, ...]

    @property
    def throughput_per_second(self) -> Figure:
        return Figure(
            self.a.throughput_per_second,
            self.b.throughput_per_second,
            self.a.throughput_interval,
            self.b.throughput_interval,
        )

    @property
    def p95_ms(self) -> Figure:
        a, b = self.a.latency_ms, self.b.latency_ms
        return Figure(a.p95, b.p95, a.p95_interval, b.p95_interval)

    @property
    def usd_per_million(self) -> Figure:
        a, b = chosen_cost(self.a), chosen_cost(self.b)
        if a is None or b is None:
            return Figure(a.usd_per_million if a else None, b.usd_per_million if b else None)
        return Figure(
            a.usd_per_million,
            b.usd_per_million,
            a.usd_per_million_interval,
            b.usd_per_million_interval,
        )


@dataclass(frozen=True)
class Comparison:
    pairs: tuple[Pair, ...]
    only_a: tuple[Result, ...]
    only_b: tuple[Result, ...]

    @property
    def shared_differences(self) -> tuple[Difference, ...]:
        """The differences that all pairs have in common."""
        if not self.pairs:
            return ()
        first, *others = (pair.differences for pair in self.pairs)
        return tuple(d for d in first if all(d in differences for differences in others))


def chosen_cost(result: Result) -> Cost | None:
    """The price that is compared: that of the measured instance, otherwise the first one."""
    for cost in result.costs:
        if cost.measured_here:
            return cost
    return result.costs[0] if result.costs else None


def compare(a: Sequence[Result], b: Sequence[Result], force: bool = False) -> Comparison:
    """Match the cells of two sides.

    Raises InputError if cells match ambiguously or not at all. Without `force`, also if the inputs
    were on the device on one side and on the host on the other.
    """
    left, right = list(a), list(b)
    pairs: list[Pair] = []
    for key in _keys(a, b):
        pairs += _take_pairs(left, right, key)
    _refuse_ambiguous(left, right, _keys(a, b)[-1])
    if not pairs:
        raise InputError(
            f"no cell of A matches one of B (A has {a[0].spec.describe()}; B has "
            f"{b[0].spec.describe()}); measure both with the same settings"
        )
    if not force:
        _refuse_other_inputs(pairs)
    return Comparison(tuple(pairs), tuple(left), tuple(right))


def _keys(a: Sequence[Result], b: Sequence[Result]) -> list[Callable[[Result], Hashable]]:
    """Keys from "the same in everything" to "comparable". Each key matches more than the last."""
    axes = _compared_axes(a, b)
    return [
        lambda result: (_settings(result), _machine(result)),
        lambda result: _settings(result, without=_OF_THE_MACHINE),
        lambda result: _settings(result, without=_OF_THE_MACHINE | _OF_THE_METHOD),
        lambda result: _comparable(result, axes),
    ]


def _machine(result: Result) -> Hashable:
    environment = result.environment
    return environment.instance, environment.cpu, environment.cores, tuple(environment.gpus)


def _comparable(result: Result, axes: frozenset[str]) -> Hashable:
    free = _OF_THE_MACHINE | _OF_THE_METHOD | axes | {"inputs"}
    settings = dict(_settings(result, without=free))
    if settings.get("precision") in _FULL_PRECISION:
        settings["precision"] = "full"
    return tuple(settings.items())


def _settings(
    result: Result, without: frozenset[str] = frozenset()
) -> tuple[tuple[str, Value], ...]:
    settings = result.spec.measured_settings()
    return tuple((name, value) for name, value in settings.items() if name not in without)


def _compared_axes(a: Sequence[Result], b: Sequence[Result]) -> frozenset[str]:
    """Settings that have one value in all of A and another value in all of B."""

    def values(results: Sequence[Result], name: str) -> set[Value]:
        return {result.spec.measured_settings()[name] for result in results}

    return frozenset(
        name
        for name in a[0].spec.measured_settings()
        if len(values(a, name)) == len(values(b, name)) == 1 and values(a, name) != values(b, name)
    )


def _take_pairs(
    left: list[Result], right: list[Result], key: Callable[[Result], Hashable]
) -> list[Pair]:
    """The pairs of cells whose key occurs once on each side. They are removed from both sides."""
    by_key_a, by_key_b = _grouped(left, key), _grouped(right, key)
    pairs = []
    for value, cells in by_key_a.items():
        others = by_key_b.get(value, [])
        if len(cells) == len(others) == 1:
            pairs.append(Pair(cells[0], others[0], _differences(cells[0], others[0])))
            left.remove(cells[0])
            right.remove(others[0])
    return pairs


def _grouped(
    results: Sequence[Result], key: Callable[[Result], Hashable]
) -> dict[Hashable, list[Result]]:
    groups: dict[Hashable, list[Result]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return groups


def _differences(a: Result, b: Result) -> tuple[Difference, ...]:
    """Settings that differ, without those that follow from the machine."""
    others = dict(_settings(b))
    return tuple(
        Difference(name, value, others[name])
        for name, value in _settings(a, without=_OF_THE_MACHINE | {"allow_emulated"})
        if others[name] != value
    )


def _refuse_ambiguous(
    left: Sequence[Result], right: Sequence[Result], key: Callable[[Result], Hashable]
) -> None:
    by_key_b = _grouped(right, key)
    for value, cells in _grouped(left, key).items():
        others = by_key_b.get(value)
        if others:
            raise InputError(
                f"A has {len(cells)} and B has {len(others)} cells like "
                f"'{cells[0].spec.describe()}', so it is not clear which of them to compare; "
                "compare directories with one machine and one way of measuring each"
            )


def _refuse_other_inputs(pairs: Sequence[Pair]) -> None:
    for pair in pairs:
        a, b = pair.a.spec.inputs, pair.b.spec.inputs
        if a != b:
            raise InputError(
                f"inputs were {INPUTS_ARE[a]} in A and {INPUTS_ARE[b]} in B "
                f"({pair.a.spec.describe()}), "
                "which is not the same work; measure one side again, or add --force"
            )
