"""The flags that say how often a command measures its cells, and where it keeps the results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from gpubench.cli.completion import FolderParam
from gpubench.cli.options import Decorated
from gpubench.cli.sections import Option
from gpubench.cli.settings import tell
from gpubench.errors import InputError
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


directory_option = click.option(
    "--output",
    cls=Option,
    section="Output",
    metavar="DIR",
    type=FolderParam(),
    help="Keep the result in this run directory: a path or a URL. A result that it already has is "
    "shown and not measured again.",
)


@contextmanager
def run_directory(output: str | None) -> Iterator[str]:
    """The run directory of a command: --output, or a temporary one.

    Raises InputError if --output is empty.
    """
    if output is None:
        from gpubench.results.run_directory import temporary_folder

        with temporary_folder() as temporary:
            yield temporary
        return
    if not output.strip():
        raise InputError("--output: it is empty; give a directory or a URL")
    yield output


def tell_nothing_measured(output: str | None) -> None:
    """Said even where progress is not wanted: nobody expects old figures."""
    tell(
        f"nothing was measured: {output} has this result already; choose another --output to "
        "measure it anew, or a larger --repeats to measure it more often"
    )
