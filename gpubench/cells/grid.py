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
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gpubench.cells.foreign_code import brings_code, needs_code
from gpubench.cells.resolve import resolve
from gpubench.errors import InputError, nearest
from gpubench.files.untrusted import MOST_YAML_BYTES, YamlMapping, parse_yaml, read_regular
from gpubench.spec.cell import Cell
from gpubench.spec.parse import make_spec
from gpubench.spec.spec import PRICING_FIELDS, Spec
from gpubench.system.machine import Machine

MAX_CELLS = 10_000  # unless somebody asks for more

_GRID_KEYS = ("only_on", "unavailable")

# Axes from the slowest to change to the fastest, so that neighbouring cells share an engine.
_AXIS_ORDER = (
    "model", "weights", "seed", "device", "inputs", "runtime", "precision", "seq_len", "batch",
)  # fmt: skip


@dataclass(frozen=True)
class Grid:
    settings: Mapping[str, Any]
    origin: str  # for messages: "sweep.yaml, grid 2"
    only_on: str | None = None
    skip_unavailable: bool = False
    lines: Mapping[str, str] = field(default_factory=dict)  # setting -> "sweep.yaml:12"
    # Settings that somebody else may have written, and that may not make code run.
    untrusted: frozenset[str] = frozenset()

    def place(self, setting: str) -> str:
        """Where a setting is written, for messages."""
        return self.lines.get(setting, self.origin)


@dataclass(frozen=True)
class Planned:
    """What a sweep measures on this machine."""

    cells: list[Cell]  # no two alike
    skipped: dict[str, int]  # why this machine cannot do some cells -> how many


def read_grids(path: Path, allow_code: bool = False) -> list[Grid]:
    """The grids of a sweep file.

    Without `allow_code` its settings are marked as untrusted, since the file may come from somebody
    else: `expand` refuses a cell whose model runs code when such a setting names it.

    Raises InputError, naming the file and the line.
    """
    try:
        text = read_regular(path, MOST_YAML_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise InputError(f"{path} cannot be read: {reason}; give a sweep file in YAML") from None
    grids = _parse(parse_yaml(text, str(path)), str(path), str(path))
    for grid in grids:
        if "allow_code" in grid.settings:
            raise InputError(
                f"{grid.place('allow_code')}: allow_code: a file cannot allow it; remove it, and "
                "add --allow-code to the command if you trust the file"
            )
    if allow_code:
        return override(grids, {"allow_code": True})
    return [replace(grid, untrusted=frozenset(grid.settings)) for grid in grids]


def parse_grids(document: object, origin: str) -> list[Grid]:
    """Grids from what a YAML document holds; see the module's docstring for its form.

    Who calls this with values of their own is trusted.
    """
    return _parse(document, origin, None)


def _parse(document: object, origin: str, file: str | None) -> list[Grid]:
    if isinstance(document, list):
        return [
            grid
            for number, member in enumerate(document, 1)
            for grid in _parse(member, f"{origin}, grid {number}", file)
        ]
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise InputError(
            f"{origin}: expected settings such as 'model: resnet50', or a list of them"
        )
    shared = {key: value for key, value in document.items() if key != "grids"}
    lines = _lines(document, file)
    if "grids" not in document:
        return [_grid(shared, origin, lines)]
    members = document["grids"]
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        raise InputError(
            f"{lines.get('grids', origin)}: grids: expected a list of settings, each item "
            "beginning with -"
        )
    return [
        _grid({**shared, **member}, f"{origin}, grid {number}", {**lines, **_lines(member, file)})
        for number, member in enumerate(members, 1)
    ]


def _lines(document: object, file: str | None) -> dict[str, str]:
    if file is None or not isinstance(document, YamlMapping):
        return {}
    return {key: f"{file}:{line}" for key, line in document.lines.items()}


def _grid(document: dict[str, Any], origin: str, lines: Mapping[str, str]) -> Grid:
    settings = {key: value for key, value in document.items() if key not in _GRID_KEYS}
    for name in settings:
        if name not in Spec.model_fields:
            known = [*Spec.model_fields, *_GRID_KEYS, "grids"]
            where = lines.get(name, origin)
            raise InputError(f"{where}: unknown key '{name}'; {nearest(name, known)}")
    only_on = _choice(document, "only_on", ("cpu", "cuda"), lines, origin)
    unavailable = _choice(document, "unavailable", ("skip", "refuse"), lines, origin)
    return Grid(settings, origin, only_on, unavailable == "skip", lines)


def _choice(
    document: dict[str, Any],
    key: str,
    allowed: tuple[str, str],
    lines: Mapping[str, str],
    origin: str,
) -> str | None:
    value = document.get(key)
    if value is None or (isinstance(value, str) and value in allowed):
        return value
    raise InputError(
        f"{lines.get(key, origin)}: {key}: '{value}' is not known; choose {' or '.join(allowed)}"
    )


def override(grids: Sequence[Grid], flags: Mapping[str, Any]) -> list[Grid]:
    """The grids with these settings, which are trusted, in place of their own."""
    return [
        replace(
            grid,
            settings={**grid.settings, **flags},
            lines={name: line for name, line in grid.lines.items() if name not in flags},
            untrusted=grid.untrusted - frozenset(flags),
        )
        for grid in grids
    ]


def expand(grid: Grid) -> list[Spec]:
    """Every combination of the grid's axes.

    Raises InputError where one is not a valid cell, and where an untrusted setting would make code
    run. The latter is judged by the parsed settings, never by how they are written.
    """
    axes = _axes(grid)
    names = sorted(axes, key=lambda name: _AXIS_ORDER.index(name) if name in _AXIS_ORDER else 99)
    specs = []
    for values in itertools.product(*(axes[name] for name in names)):
        settings = dict(zip(names, values, strict=True))
        if not isinstance(settings.get("model", ""), str):
            refused = settings["model"]
            raise InputError(
                f"{grid.place('model')}: model: '{refused}' is not allowed; give a name"
            )
        spec = make_spec(settings, grid.origin, grid.lines)
        if reason := _untrusted_code(spec, grid.untrusted):
            raise InputError(
                f"{grid.place('model')}: model: {reason}; if you trust this file, add --allow-code"
            )
        specs.append(spec)
    return specs


def _untrusted_code(spec: Spec, untrusted: frozenset[str]) -> str | None:
    """Why one of the untrusted settings makes code run; None where none does."""
    if "model" in untrusted:
        return needs_code(spec)
    return brings_code(spec) if "weights" in untrusted else None


def _axes(grid: Grid) -> dict[str, Sequence[Any]]:
    axes: dict[str, Sequence[Any]] = {
        name: value if isinstance(value, (list, tuple)) and name not in PRICING_FIELDS else (value,)
        for name, value in grid.settings.items()
    }
    for name, values in axes.items():
        if not values:
            raise InputError(
                f"{grid.place(name)}: {name}: the list is empty; give at least one value"
            )
    return axes


def _refuse_too_many(grids: Sequence[Grid], max_cells: int) -> None:
    """Counts the cells without making them: five axes of 59 values are 700 million."""
    count = sum(math.prod(len(values) for values in _axes(grid).values()) for grid in grids)
    if count > max_cells:
        raise InputError(
            f"these grids have {count:,} cells, and {max_cells:,} is the limit; shorten a list, or "
            "raise --max-cells"
        )


def cells(grids: Sequence[Grid], machine: Machine, max_cells: int = MAX_CELLS) -> Planned:
    """The cells to measure on this machine, each once, in the order of the grids.

    Raises InputError for a cell that is not valid, or that this machine cannot measure and whose
    grid does not say `unavailable: skip`; and, before any is made, for more than `max_cells`.
    """
    _refuse_too_many(grids, max_cells)
    kind = "cuda" if machine.gpus else "cpu"
    found: dict[Spec, Cell] = {}
    skipped: Counter[str] = Counter()
    for grid in grids:
        valid = expand(grid)  # checked also where the grid is not for this machine
        if grid.only_on not in {None, kind}:
            continue
        for spec in valid:
            try:
                cell = resolve(spec, machine)
            except InputError as error:
                if not grid.skip_unavailable:
                    raise InputError(f"{grid.origin}: {error}") from None
                skipped[str(error)] += 1
            else:
                found.setdefault(cell.spec, cell)
    return Planned(list(found.values()), dict(skipped))
