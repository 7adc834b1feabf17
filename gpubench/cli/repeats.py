"""The flags that say how often a command measures its cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from gpubench.cli.options import Decorated
from gpubench.cli.sections import Option
from gpubench.spec.repetition import (
    DEFAULT_MOST_REPEATS,
    LEAST_REPEATS,
    Repetition,
    parse_repetition,
)

_SECTION = "Repeats"
_FLAGS = ("repeats", "until", "fresh", "max_time")


def repeat_options(command: Decorated) -> Decorated:
    """Give a command the flags of `Repetition`."""
    for option in reversed(
        (
            click.option(
                "--repeats",
                cls=Option,
                section=_SECTION,
                type=int,
                metavar="N",
                help="Measure every cell N times, in N rounds of another order each; from "
                f"{LEAST_REPEATS} on, intervals come from between the repeats. [default: 1]",
            ),
            click.option(
                "--until",
                cls=Option,
                section=_SECTION,
                metavar="SHARE",
                help="Repeat until the interval of every throughput is within this share of it, "
                "for example 2%, at most --repeats times. [default of --repeats is then "
                f"{DEFAULT_MOST_REPEATS}]",
            ),
            click.option(
                "--max-time",
                cls=Option,
                section=_SECTION,
                metavar="TIME",
                help="Begin no round that would probably end after this time, for example 30m.",
            ),
            click.option(
                "--fresh",
                cls=Option,
                section=_SECTION,
                is_flag=True,
                help="Measure each repeat in a new process, since repeats in one process differ "
                "less.",
            ),
        )
    ):
        command = option(command)
    return command


def repetition(flags: Mapping[str, Any]) -> tuple[Repetition, dict[str, Any]]:
    """What these flags say, and the other flags. Raises InputError as `parse_repetition` does."""
    others = {name: value for name, value in flags.items() if name not in _FLAGS}
    return parse_repetition(**{name: flags[name] for name in _FLAGS}), others
