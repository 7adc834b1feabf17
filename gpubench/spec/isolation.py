"""Whether the engines of a sweep have processes of their own, as a person asked for it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from gpubench.errors import InputError
from gpubench.spec.durations import parse_duration

VARIABLE = "GPUBENCH_ISOLATE"
DEFAULT_MAX_CELL_S = 3600.0  # some runtimes build for many minutes

_VALUES = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}


@dataclass(frozen=True)
class Isolation:
    isolate: bool = False  # each engine in a process of its own
    # A process that reports nothing for this time, besides its warm-up and window, is ended.
    max_cell_s: float = DEFAULT_MAX_CELL_S


TOGETHER = Isolation()


def parse_isolation(
    isolate: bool | None = None, max_cell_time: str | float | None = None
) -> Isolation:
    """What --isolate and --max-cell-time say. None: the flag is not given.

    Without --isolate, the environment variable GPUBENCH_ISOLATE decides; without it, isolation is
    on. Raises InputError for values that are not allowed or do not fit together.
    """
    if isolate is None:
        isolate = _from_environment()
    if max_cell_time is None:
        return Isolation(isolate)
    if not isolate:
        raise InputError(
            "--max-cell-time ends a process of its own, and the cells are measured in this one; "
            "remove it, or add --isolate"
        )
    try:
        seconds = parse_duration(max_cell_time)
    except ValueError as error:
        raise InputError(f"--max-cell-time: {error}") from None
    if seconds == 0:
        raise InputError("--max-cell-time: 0 leaves no time to build; write it like 30m")
    return Isolation(isolate, seconds)


def _from_environment() -> bool:
    value = os.environ.get(VARIABLE, "").strip().lower()
    if not value:
        return True
    if value not in _VALUES:
        raise InputError(f"{VARIABLE}={value} is not allowed; set it to 1 or 0, or remove it")
    return _VALUES[value]
