"""Grids: they turn YAML and flags into the cells of a sweep.

A grid maps each setting to one value or to a list of values. Its cells are all combinations of the
values. A file holds one grid, or a list of grids, or one grid with the key `grids`. The value of
`grids` is a list of grids; each of them inherits the settings beside the key. Flags override the
settings of the file in every grid.

    model: [bert-base, resnet50]        # a list is an axis of the grid
    runtime: torchscript
    batch: [1, 4]
    instance: [g5.xlarge, g4dn.xlarge]  # a price, never an axis
    only_on: cuda                       # this grid is for machines with a GPU (or: cpu)
    unavailable: skip                   # leave out cells that this machine cannot measure
                                        # (default: refuse them with an error)
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gpubench.cells.foreign_code import brings_code, needs_code
from gpubench.cells.resolve import resolve
from gpubench.errors import InputError, nearest
from gpubench.files.remote_file import is_url, read_url
from gpubench.files.untrusted import MOST_YAML_BYTES, YamlMapping, parse_yaml, read_regular
from gpubench.files.urls import without_secrets
from gpubench.spec.cell import Cell
from gpubench.spec.parse import make_spec
from gpubench.spec.spec import PRICING_FIELDS, Spec
from gpubench.system.machine import Machine

MAX_CELLS = 10_000  # the default of --max-cells

_GRID_KEYS = ("only_on", "unavailable")

# The axes, first the one that changes least often. Neighbouring cells then share an engine.
_AXIS_ORDER = (
    "model", "weights", "seed", "device", "cpus", "inputs", "runtime", "precision", "sparsity",
    "memory_format", "seq_len", "batch", "eval", "eval_metric",
)  # fmt: skip


@dataclass(frozen=True)
class Grid:
    settings: Mapping[str, Any]
    origin: str  # for messages: "sweep.yaml, grid 2"
    only_on: str | None = None
    skip_unavailable: bool = False
    lines: Mapping[str, str] = field(default_factory=dict)  # setting -> "sweep.yaml:12"
    # Settings that another person may have written. They must not make code run.
    untrusted: frozenset[str] = frozenset()

    def location(self, setting: str) -> str:
        """The file and line of a setting, for messages."""
        return self.lines.get(setting, self.origin)


@dataclass(frozen=True)
class PlannedCells:
    """What a sweep measures on this machine."""

    cells: list[Cell]  # all different
    skipped: dict[str, int]  # why this machine cannot measure some cells -> how many


def read_grids(source: str | Path, allow_code: bool = False) -> list[Grid]:
    """The grids of a sweep file, given its path or its URL.

    The file may come from another person. Without `allow_code` its settings are therefore marked
    as untrusted: `expand` refuses a cell if an untrusted setting names a model that runs code.

    Raises InputError, with the file and the line, if the file is not a valid sweep file.
    """
    place = without_secrets(str(source))
    try:
        if is_url(str(source)):
            data = read_url(str(source), MOST_YAML_BYTES)
        else:
            data = read_regular(source, MOST_YAML_BYTES)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise InputError(f"{place} cannot be read: {reason}; give a sweep file in YAML") from None
    grids = _parse(parse_yaml(text, place), place, place)
    for grid in grids:
        if "allow_code" in grid.settings:
            raise InputError(
                f"{grid.location('allow_code')}: allow_code: a file cannot allow it; remove it, "
                "and add --allow-code to the command if you trust the file"
            )
    if allow_code:
        return override(grids, {"allow_code": True})
    return [replace(grid, untrusted=frozenset(grid.settings)) for grid in grids]


def parse_grids(document: object, origin: str) -> list[Grid]:
    """The grids of a parsed YAML document. The docstring of this module has its form.

    The settings count as trusted: they come from the calling program, not from a file.
    """
    return _parse(document, origin, None)


def grids_of(
    source: str | Path | Mapping[str, object] | Sequence[Mapping[str, object]],
    allow_code: bool = False,
) -> list[Grid]:
    """The grids of a sweep file, given its path or URL, or of what such a file holds.

    Raises what `read_grids` and `parse_grids` raise.
    """
    if isinstance(source, (str, Path)):
        return read_grids(source, allow_code)
    return parse_grids(dict(source) if isinstance(source, Mapping) else list(source), "sweep")


def _parse(document: object, origin: str, file: str | None) -> list[Grid]:
    if isinstance(document, list):
        return [
            grid
            for number, member in enumerate(document, 1)
            for grid in _parse(member, f"{origin}, grid {number}", file)
        ]
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise InputError(
            f"{origin}: expected settings such as 'model: resnet50', or a list of such grids"
        )
    shared = {key: value for key, value in document.items() if key != "grids"}
    lines = _lines(document, file)
    if "grids" not in document:
        return [_grid(shared, origin, lines)]
    members = document["grids"]
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        raise InputError(
            f"{lines.get('grids', origin)}: grids: expected a list of settings; begin each item "
            "of the list with -"
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
            location = lines.get(name, origin)
            raise InputError(f"{location}: unknown key '{name}'; {nearest(name, known)}")
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
    """The grids with `flags` in place of their settings of the same names. `flags` are trusted."""
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

    Raises InputError if a combination is not a valid cell, or if an untrusted setting makes code
    run or sends a local file to a server. The checks read the parsed settings, so a different
    spelling cannot avoid them.
    """
    axes = _axes(grid)
    names = sorted(axes, key=lambda name: _AXIS_ORDER.index(name) if name in _AXIS_ORDER else 99)
    specs = []
    for values in itertools.product(*(axes[name] for name in names)):
        settings = dict(zip(names, values, strict=True))
        if not isinstance(settings.get("model", ""), str):
            refused = settings["model"]
            raise InputError(
                f"{grid.location('model')}: model: '{refused}' is not allowed; give a name"
            )
        spec = make_spec(settings, grid.origin, grid.lines)
        found = untrusted_code(spec, grid.untrusted) or _sends_files(spec, grid.untrusted)
        if found:
            setting, reason = found
            raise InputError(
                f"{grid.location(setting)}: {setting}: {reason}; if you trust this file, add "
                "--allow-code"
            )
        specs.append(spec)
    return specs


def untrusted_code(spec: Spec, untrusted: frozenset[str]) -> tuple[str, str] | None:
    """(setting, why it makes code run) of the first untrusted setting that does; None: none does.

    Code of a folder that `weights` names is reported as that of the model.
    """
    if "model" in untrusted and (reason := needs_code(spec)):
        return "model", reason
    if "weights" in untrusted and (reason := brings_code(spec)):
        return "model", reason
    if "eval" in untrusted and spec.eval_is_function:
        return "eval", f"{spec.eval} runs code"
    return None


def _sends_files(spec: Spec, untrusted: frozenset[str]) -> tuple[str, str] | None:
    """(setting, why it is dangerous) if an untrusted server gets data from an untrusted path."""
    if "server" in untrusted and spec.server is not None:
        for name in ("inputs_file", "eval"):
            if name in untrusted and getattr(spec, name) is not None:
                return name, "its data would be sent to the server that this file names"
    return None


def _axes(grid: Grid) -> dict[str, Sequence[Any]]:
    axes: dict[str, Sequence[Any]] = {
        name: value if isinstance(value, (list, tuple)) and name not in PRICING_FIELDS else (value,)
        for name, value in grid.settings.items()
    }
    for name, values in axes.items():
        if not values:
            raise InputError(
                f"{grid.location(name)}: {name}: the list is empty; give at least one value"
            )
    return axes


def refuse_too_many(grids: Sequence[Grid], max_cells: int) -> None:
    """Raises InputError if the grids have more than `max_cells` cells.

    The cells are counted, not made: five axes of 59 values have 700 million combinations.
    """
    count = sum(math.prod(len(values) for values in _axes(grid).values()) for grid in grids)
    if count > max_cells:
        raise InputError(
            f"these grids have {count:,} cells, and the limit is {max_cells:,}; shorten a list, or "
            "raise --max-cells"
        )


def cells(
    grids: Sequence[Grid],
    machine: Machine,
    max_cells: int = MAX_CELLS,
    resolved: Callable[[Spec, Machine], Cell] = resolve,
) -> PlannedCells:
    """The cells to measure on this machine, each once, in the order of the grids.

    `resolved` makes the cell of a spec, and raises InputError as `resolve` does.

    Raises InputError if there are more than `max_cells` cells, or if a cell is not valid. Also
    raises it if this machine cannot measure a cell and the grid does not say `unavailable: skip`.
    """
    refuse_too_many(grids, max_cells)
    found: dict[Spec, Cell] = {}
    skipped: Counter[str] = Counter()
    for grid in grids:
        valid = expand(grid)  # also checks grids that are not for this machine
        if grid.only_on not in {None, machine.kind}:
            continue
        for spec in valid:
            try:
                cell = resolved(spec, machine)
            except InputError as error:
                if not grid.skip_unavailable:
                    raise InputError(f"{grid.origin}: {error}") from None
                skipped[str(error)] += 1
            else:
                found.setdefault(cell.spec, cell)
    return PlannedCells(list(found.values()), dict(skipped))


def sweep_cells(
    grids: Sequence[Grid],
    machine: Machine,
    max_cells: int = MAX_CELLS,
    resolved: Callable[[Spec, Machine], Cell] = resolve,
) -> PlannedCells:
    """As `cells`. Also raises InputError if there is none."""
    planned = cells(grids, machine, max_cells, resolved)
    if not planned.cells:
        raise InputError(
            "this sweep has no cell for this machine; see its only_on and unavailable, or give "
            "another --device or --precision"
        )
    return planned
