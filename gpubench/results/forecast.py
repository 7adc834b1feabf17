"""What a sweep would measure, and about how long that would take: the values of `--dry-run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gpubench.results.result import Result

# Where a time comes from: earlier measurements of the same cell, or its warm-up and window, to
# which the rest of the time of similar cells is added if there are any.
Basis = Literal["earlier", "settings-and-earlier", "settings"]


@dataclass(frozen=True)
class CellForecast:
    """One cell of a sweep, or one setting of a sweep with an objective."""

    cell: Result  # its settings, this machine, and the prices of an hour; it has no figures
    missing: int  # measurements that the sweep would make
    stored: int  # that the directory holds already
    seconds: float | None  # of all missing ones; None: unknown
    basis: Basis | None


@dataclass(frozen=True)
class Forecast:
    """All cells of a sweep."""

    cells: Sequence[CellForecast]
    skipped: Mapping[str, int]  # the cells that are left out, by the reason
    noun: Literal["repeat", "search"]
    at_most: bool  # whether the sweep may end with fewer measurements
