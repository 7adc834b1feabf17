"""The flags that give each engine of a sweep a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from gpubench.cli.options import Decorated
from gpubench.cli.sections import Option
from gpubench.errors import InputError
from gpubench.spec.isolation import TOGETHER, VARIABLE, Isolation, parse_isolation

_SECTION = "Processes"
_FLAGS = ("isolate", "max_cell_time")


def isolation_options(command: Decorated) -> Decorated:
    """Give a command the flags of `Isolation`."""
    command = click.option(
        "--max-cell-time",
        cls=Option,
        section=_SECTION,
        metavar="TIME",
        help="End the process of an engine that reports nothing for this time, besides its warm-up "
        "and its window. [default: 1h]",
    )(command)
    return click.option(
        "--isolate/--no-isolate",
        cls=Option,
        section=_SECTION,
        default=None,
        help="Measure the cells of each engine in a process of their own, so that a crash costs "
        f"only these cells. [default: {VARIABLE}, else --isolate]",
    )(command)


def isolation(flags: Mapping[str, Any], searches: bool) -> tuple[Isolation, dict[str, Any]]:
    """What these flags say, and the other flags. Raises InputError as `parse_isolation` does.

    `searches`: the command searches, which it does in one process.
    """
    others = {name: value for name, value in flags.items() if name not in _FLAGS}
    isolate, max_cell_time = (flags[name] for name in _FLAGS)
    if not searches:
        return parse_isolation(isolate, max_cell_time), others
    if isolate or max_cell_time is not None:
        raise InputError(
            "--isolate and --max-cell-time: with --objective all settings are searched in one "
            "process; leave them out"
        )
    return TOGETHER, others
