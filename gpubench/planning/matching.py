"""Which cells of two sides, A and B, are pairs.

Two cells are a pair if they were measured with the same settings. The machine may differ, because
machines are what is compared most often. If no cell of the other side has the same settings, a
setting may differ that has one value in all cells of A and another value in all cells of B (for
example eager in A and torchscript in B). tf32 also matches fp32, because GPUs without TF32 have
only fp32. The comparison reports such differences. Pure functions.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from gpubench.errors import InputError
from gpubench.results.result import Result
from gpubench.spec.settings import INPUTS_ARE
from gpubench.spec.spec import Spec
from gpubench.statistics.repeats import combined, grouped

# Settings of the machine, and of how and how long a cell was measured. They may differ in a pair.
# All other settings say what was measured, and must be equal.
_OF_THE_MACHINE = frozenset({"device", "threads", "server"})
_OF_THE_METHOD = frozenset(
    {
        *("depth", "wait", "warmup", "duration", "requests", "seed", "load_seed"),
        *("allow_emulated", "eval", "eval_metric", "max_drop"),
    }
)
_FULL_PRECISION = frozenset({"fp32", "tf32"})

Value = str | float | int | bool | None


@dataclass(frozen=True)
class CellRepeats:
    """All repeats of a cell, and one result that stands for them."""

    result: Result
    repeats: tuple[Result, ...]


@dataclass(frozen=True)
class Difference:
    """A setting that differs in a pair."""

    setting: str
    a: Value
    b: Value


@dataclass(frozen=True)
class Match:
    """The same cell in A and in B."""

    a: CellRepeats
    b: CellRepeats
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Matches:
    pairs: tuple[Match, ...]
    only_a: tuple[Result, ...]
    only_b: tuple[Result, ...]


def match(a: Sequence[Result], b: Sequence[Result], force: bool = False) -> Matches:
    """Match the cells of two sides, each with all its repeats.

    Raises InputError if cells match ambiguously or not at all. Without `force`, also if the two
    sides of a pair did not measure the same work: see `_refuse_other_work`.
    """
    if not a or not b:
        raise InputError("a side of the comparison holds no results; measure it first")
    left, right = _repeated(a), _repeated(b)
    keys = _keys(left, right)
    pairs: list[Match] = []
    for key in keys:
        pairs += _take_pairs(left, right, key)
    _refuse_ambiguous(left, right, keys[-1])
    if not pairs:
        raise InputError(
            f"no cell of A matches one of B (A has {a[0].spec.describe()}; B has "
            f"{b[0].spec.describe()}); measure both with the same settings"
        )
    if not force:
        for pair in pairs:
            _refuse_other_work(pair.a.result, pair.b.result)
    return Matches(
        tuple(pairs),
        tuple(each.result for each in left),
        tuple(each.result for each in right),
    )


def _repeated(results: Sequence[Result]) -> list[CellRepeats]:
    return [CellRepeats(combined(repeats), tuple(repeats)) for repeats in grouped(results)]


def _keys(a: Sequence[CellRepeats], b: Sequence[CellRepeats]) -> list[Callable[[Result], Hashable]]:
    """Keys from "the same in everything" to "comparable". Each key matches more than the last."""
    axes = _compared_axes(a, b)
    return [
        lambda result: (_settings(result), _machine(result)),
        lambda result: (_settings(result, without=axes), _machine(result)),
        lambda result: _settings(result, without=_OF_THE_MACHINE),
        lambda result: _settings(result, without=_OF_THE_MACHINE | axes),
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


def _compared_axes(a: Sequence[CellRepeats], b: Sequence[CellRepeats]) -> frozenset[str]:
    """Settings that have one value in all of A and another value in all of B."""
    settings_a, settings_b = (
        [each.result.spec.measured_settings() for each in side] for side in (a, b)
    )

    def is_axis(name: str) -> bool:
        values_a, values_b = ({each[name] for each in side} for side in (settings_a, settings_b))
        return len(values_a) == len(values_b) == 1 and values_a != values_b

    return frozenset(filter(is_axis, settings_a[0]))


def _take_pairs(
    left: list[CellRepeats], right: list[CellRepeats], key: Callable[[Result], Hashable]
) -> list[Match]:
    """The pairs of cells whose key occurs once on each side. They are removed from both sides."""
    by_key_a, by_key_b = _by_key(left, key), _by_key(right, key)
    pairs = []
    for value, cells in by_key_a.items():
        others = by_key_b.get(value, [])
        if len(cells) == len(others) == 1:
            (a,), (b,) = cells, others
            pairs.append(Match(a, b, _differences(a.result, b.result)))
    taken = {id(side) for pair in pairs for side in (pair.a, pair.b)}
    for cells in (left, right):
        cells[:] = [each for each in cells if id(each) not in taken]
    return pairs


def _by_key(
    cells: Sequence[CellRepeats], key: Callable[[Result], Hashable]
) -> dict[Hashable, list[CellRepeats]]:
    found: dict[Hashable, list[CellRepeats]] = {}
    for each in cells:
        found.setdefault(key(each.result), []).append(each)
    return found


def _differences(a: Result, b: Result) -> tuple[Difference, ...]:
    """Settings that differ, without those that follow from the machine."""
    others = dict(_settings(b))
    return tuple(
        Difference(name, value, others[name])
        for name, value in _settings(a, without=_OF_THE_MACHINE | {"allow_emulated"})
        if others[name] != value
    )


def _refuse_ambiguous(
    left: Sequence[CellRepeats], right: Sequence[CellRepeats], key: Callable[[Result], Hashable]
) -> None:
    by_key_b = _by_key(right, key)
    for value, cells in _by_key(left, key).items():
        others = by_key_b.get(value)
        if others:
            raise InputError(
                f"A has {len(cells)} and B has {len(others)} cells like "
                f"'{cells[0].result.spec.describe()}', so it is not clear which of them to "
                "compare; compare directories with one machine and one way of measuring each"
            )


def _refuse_other_work(a: Result, b: Result) -> None:
    """Raises InputError if the two sides did not measure the same work."""
    problem = _other_load(a.spec, b.spec) or other_stages(a, b)
    if problem is not None:
        raise InputError(
            f"{problem} ({a.spec.describe()}), "
            "which is not the same work; measure one side again, or add --force"
        )


def refuse_other_load(a: Spec, b: Spec) -> None:
    """Raises InputError if two cells would not measure the same work, as far as settings say it."""
    if problem := _other_load(a, b):
        raise InputError(
            f"{problem}, which is not the same work; give both sides the same, or add --force"
        )


def _other_load(a: Spec, b: Spec) -> str | None:
    """Which part of the work of two cells differs. None if nothing does."""
    if a.task != b.task:
        return f"A is measured in {a.task} and B in {b.task}"
    if a.inputs != b.inputs:
        return f"inputs are {INPUTS_ARE[a.inputs]} in A and {INPUTS_ARE[b.inputs]} in B"
    if a.open_loop != b.open_loop:
        loops = [("an open" if each.open_loop else "a closed") + " loop" for each in (a, b)]
        return f"A is measured in {loops[0]} and B in {loops[1]}"
    return None


def other_stages(a: Result, b: Result) -> str | None:
    """Which stage only one of two cells has. None if they have the same ones."""
    for stage in ("preprocess", "postprocess"):
        has_a, has_b = (_has_stage(each, stage) for each in (a, b))
        if None not in (has_a, has_b) and has_a != has_b:
            return f"only {'A' if has_a else 'B'} has the stage {stage}"
    return None


def _has_stage(result: Result, stage: str) -> bool | None:
    """None if it is unknown, because the result has no stages."""
    stages = result.stages_ms
    return None if stages.compute is None else getattr(stages, stage) is not None
