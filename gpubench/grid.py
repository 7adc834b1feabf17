"""Grids: from YAML and flags to the cells of a sweep.

A grid maps settings to one value or to a list of values; the cells are all combinations. A file is
one grid, or a list of grids, or a grid with `grids:`, a list whose members inherit the settings
beside it. Flags override the file's settings in every grid.

    model: [bert-base, resnet50]        # a list is an axis
    runtime: torchscript
    batch: [1, 4]
    instance: [g5.xlarge, g4dn.xlarge]  # a price, never an axis
    only_on: cuda                       # this grid is for machines with a GPU (or: cpu)
    unavailable: skip                   # leave out what this machine cannot do (default: refuse)
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gpubench import _plan
from gpubench.errors import InputError
from gpubench.machine import Machine
from gpubench.models import needs_code
from gpubench.spec import PRICING_FIELDS, Spec, make_spec, nearest

_GRID_KEYS = ("only_on", "unavailable")

# Axes from the slowest to change to the fastest, so that neighbouring cells share an engine.
_AXIS_ORDER = (
    "model", "weights", "seed", "device", "inputs", "runtime", "precision", "seq_len", "batch",
)  # fmt: skip


class _SweepFile(yaml.SafeLoader):
    """YAML, with a key that stands twice in one place as the error that it is."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"'{key.value}' stands twice; remove one"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class Grid:
    settings: Mapping[str, Any]
    origin: str  # for messages: "sweep.yaml, grid 2"
    only_on: str | None = None
    skip_unavailable: bool = False


@dataclass(frozen=True)
class Cells:
    specs: list[Spec]  # resolved for this machine, no two alike
    skipped: dict[str, int]  # why this machine cannot do some cells -> how many


def read_grids(path: Path, allow_code: bool = False) -> list[Grid]:
    """The grids of a sweep file.

    Raises InputError, naming the file and the line where YAML knows it; and without `allow_code`
    for a model whose loading runs code, since the file may come from somebody else.
    """
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _SweepFile)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read: {reason}; give a sweep file in YAML") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {_yaml_problem(error)}") from None
    grids = parse_grids(document, str(path))
    for grid in grids:
        if "allow_code" in grid.settings:
            raise InputError(
                f"{grid.origin}: allow_code: a file cannot allow it; remove it, and add "
                "--allow-code to the command if you trust the file"
            )
        for spec in [] if allow_code else expand(grid):
            if reason := needs_code(spec):
                raise InputError(
                    f"{grid.origin}: model: {reason}; if you trust this file, add --allow-code"
                )
    if not allow_code:
        return grids
    return override(grids, {"allow_code": True})


def parse_grids(document: object, origin: str) -> list[Grid]:
    """Grids from a YAML document; see the module's docstring for its form."""
    if isinstance(document, list):
        return [
            grid
            for number, member in enumerate(document, 1)
            for grid in parse_grids(member, f"{origin}, grid {number}")
        ]
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise InputError(
            f"{origin}: expected settings such as 'model: resnet50', or a list of them"
        )
    shared = {key: value for key, value in document.items() if key != "grids"}
    if "grids" not in document:
        return [_grid(shared, origin)]
    members = document["grids"]
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        raise InputError(
            f"{origin}: grids: expected a list of settings, each item beginning with -"
        )
    return [
        _grid({**shared, **member}, f"{origin}, grid {number}")
        for number, member in enumerate(members, 1)
    ]


def _grid(document: dict[str, Any], origin: str) -> Grid:
    settings = {key: value for key, value in document.items() if key not in _GRID_KEYS}
    for name in settings:
        if name not in Spec.model_fields:
            known = [*Spec.model_fields, *_GRID_KEYS, "grids"]
            raise InputError(f"{origin}: unknown key '{name}'; {nearest(name, known)}")
    only_on = document.get("only_on")
    if only_on not in {None, "cpu", "cuda"}:
        raise InputError(f"{origin}: only_on: '{only_on}' is not known; choose cpu or cuda")
    unavailable = document.get("unavailable", "refuse")
    if unavailable not in {"skip", "refuse"}:
        raise InputError(
            f"{origin}: unavailable: '{unavailable}' is not known; choose skip or refuse"
        )
    return Grid(settings, origin, only_on, unavailable == "skip")


def override(grids: Sequence[Grid], flags: Mapping[str, Any]) -> list[Grid]:
    """The grids with these settings in place of their own."""
    return [
        Grid({**grid.settings, **flags}, grid.origin, grid.only_on, grid.skip_unavailable)
        for grid in grids
    ]


def expand(grid: Grid) -> list[Spec]:
    """Every combination of the grid's axes. Raises InputError where one is not a valid cell."""
    axes = {
        name: value if isinstance(value, (list, tuple)) and name not in PRICING_FIELDS else (value,)
        for name, value in grid.settings.items()
    }
    for name, values in axes.items():
        if not values:
            raise InputError(f"{grid.origin}: {name}: the list is empty; give at least one value")
    names = sorted(axes, key=lambda name: _AXIS_ORDER.index(name) if name in _AXIS_ORDER else 99)
    return [
        make_spec(dict(zip(names, values, strict=True)), grid.origin)
        for values in itertools.product(*(axes[name] for name in names))
    ]


def cells(grids: Sequence[Grid], machine: Machine) -> Cells:
    """The cells to measure on this machine, each once, in the order of the grids.

    Raises InputError for a cell that is not valid, or that this machine cannot measure and whose
    grid does not say `unavailable: skip`.
    """
    kind = "cuda" if machine.gpus else "cpu"
    specs: dict[Spec, None] = {}
    skipped: Counter[str] = Counter()
    for grid in grids:
        valid = expand(grid)  # checked also where the grid is not for this machine
        if grid.only_on not in {None, kind}:
            continue
        for spec in valid:
            try:
                specs[_plan.resolve(spec, machine)] = None
            except InputError as error:
                if not grid.skip_unavailable:
                    raise InputError(f"{grid.origin}: {error}") from None
                skipped[str(error)] += 1
    return Cells(list(specs), dict(skipped))


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else str(problem)
