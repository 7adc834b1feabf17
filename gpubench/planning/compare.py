"""Two run directories side by side: which cells belong together, and how their figures relate.

Cells belong together when they were measured with the same settings; the machine may differ, since
that is what is mostly compared. Where nothing on the other side has the same settings, a setting
may differ that is one value throughout A and another throughout B (all eager against all
torchscript, say), and tf32 stands against fp32, the full precision of GPUs that have no TF32. Such
differences are told. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from gpubench.errors import InputError
from gpubench.results.result import Cost, Interval, Result

# Settings that belong to a machine, or to how long and how a cell was measured, more than to what
# was measured. They may differ between cells that belong together; every other setting may not.
_OF_THE_MACHINE = frozenset({"device", "threads"})
_OF_THE_METHOD = frozenset(
    {"depth", "wait", "warmup", "duration", "requests", "seed", "load_seed", "allow_emulated"}
)
_FULL_PRECISION = frozenset({"fp32", "tf32"})

Value = str | float | int | bool | None


@dataclass(frozen=True)
class Figure:
    """One figure of both sides; None where a side has none."""

    a: float | None
    b: float | None
    a_interval: Interval | None = None
    b_interval: Interval | None = None

    @property
    def b_over_a(self) -> float | None:
        """The true ratio: of the figures as measured, not as printed."""
        if not self.a or self.b is None:
            return None
        quotient = self.b / self.a
        return quotient if math.isfinite(quotient) else None

    @property
    def is_significant(self) -> bool | None:
        """Whether the 95% interval of B - A leaves out zero; None where a side has no interval.

        The interval of a difference of independent figures, from the interval of each: Zou and
        Donner, Statistics in Medicine 27(10), 2008. Two intervals may overlap a little and yet
        differ significantly.
        """
        if self.a is None or self.b is None or not self.a_interval or not self.b_interval:
            return None
        if self.a <= self.b:
            towards = math.hypot(self.a_interval[1] - self.a, self.b - self.b_interval[0])
        else:
            towards = math.hypot(self.a - self.a_interval[0], self.b_interval[1] - self.b)
        return abs(self.b - self.a) > towards


@dataclass(frozen=True)
class Difference:
    """A setting that is not the same on both sides of a pair."""

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
        """What differs in the same way in every pair."""
        if not self.pairs:
            return ()
        first, *others = (pair.differences for pair in self.pairs)
        return tuple(d for d in first if all(d in differences for differences in others))


def chosen_cost(result: Result) -> Cost | None:
    """The one price a side is compared at: the instance measured, else the first asked for."""
    for cost in result.costs:
        if cost.measured_here:
            return cost
    return result.costs[0] if result.costs else None


def compare(a: Sequence[Result], b: Sequence[Result], force: bool = False) -> Comparison:
    """Match the cells of two sides.

    Raises InputError where cells match ambiguously, where none match, and, unless `force`, where
    inputs were on the device on one side and on the host on the other.
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
    """From 'the same in everything' to 'comparable'; each later key matches more."""
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
    """Settings that are one value throughout A and another throughout B."""

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
    """Remove from both sides the cells whose key occurs once on each."""
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
    """Settings that differ, but for those that follow from the machine."""
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
                f"'{cells[0].spec.describe()}', so which belong together is not clear; compare "
                "directories that hold one machine and one way of measuring each"
            )


def _refuse_other_inputs(pairs: Sequence[Pair]) -> None:
    for pair in pairs:
        a, b = pair.a.spec.inputs, pair.b.spec.inputs
        if a != b:
            raise InputError(
                f"inputs were on the {a} in A and on the {b} in B ({pair.a.spec.describe()}), "
                "which is not the same work; measure one side again, or add --force"
            )
