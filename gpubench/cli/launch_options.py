"""The flags that all services of `gpubench launch` share, and what they ask for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpubench.cells.grid import MAX_CELLS, Grid, override, parse_grids, read_grids
from gpubench.cli.completion import FolderParam
from gpubench.cli.options import prices_option
from gpubench.cli.sections import Option
from gpubench.cli.settings import as_axes, given, setting_options
from gpubench.cli.spending import checked_usd
from gpubench.errors import InputError
from gpubench.spec.durations import parse_duration
from gpubench.spec.repetition import parse_repetition

if TYPE_CHECKING:
    from gpubench.launch.prepare import LaunchWishes

_SECTION = "Launch"


@dataclass(frozen=True)
class AskedLaunch:
    """What the flags of `launch_options` say."""

    grids: list[Grid]
    output: str
    wishes: LaunchWishes
    write: bool
    submit: bool


def launch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these flags. The command gets them as one argument, `asked`."""

    @functools.wraps(command)
    def with_launch(
        *arguments: Any,
        file: Path | None,
        output: str,
        name: str | None,
        machines: int,
        spot: bool,
        max_usd: float | None,
        max_time: str | None,
        repeats: int | None,
        max_cells: int,
        write: bool,
        submit: bool,
        **flags: Any,
    ) -> Any:
        from gpubench.launch.prepare import LaunchWishes

        settings, others = _settings(flags)
        if not output.strip():
            raise InputError("--output: it is empty; give a directory or a URL")
        asked = AskedLaunch(
            grids=parse_grids(settings, "the command line")
            if file is None
            else override(read_grids(file, bool(flags["allow_code"])), settings),
            output=output,
            wishes=LaunchWishes(
                name=name,
                repeats=parse_repetition(repeats).repeats,
                max_cells=max_cells,
                machines=machines,
                spot=spot,
                max_usd=None if max_usd is None else checked_usd(max_usd),
                max_time_s=seconds(max_time, "--max-time"),
                allow_code=bool(flags["allow_code"]),
            ),
            write=write,
            submit=submit,
        )
        return command(*arguments, asked=asked, **others)

    launched = click.argument("file", required=False, type=click.Path(path_type=Path))(with_launch)
    for option in reversed(_OPTIONS):
        launched = option(launched)
    return prices_option(setting_options(launched))


def _settings(flags: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of the cells, and the flags of the service."""
    from gpubench.spec.spec import Spec

    of_cells = {name: value for name, value in flags.items() if name in Spec.model_fields}
    others = {name: value for name, value in flags.items() if name not in of_cells}
    return as_axes(given(of_cells)), others


def seconds(text: str | None, flag: str) -> float | None:
    """The time that a flag gives. Raises InputError for 0 and for what is not a duration."""
    if text is None:
        return None
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise InputError(f"{flag}: {error}") from None
    if found < 1:
        raise InputError(f"{flag} {text} leaves no time to measure; write it like 2h")
    return found


_OPTIONS = (
    click.option(
        "--output",
        cls=Option,
        section=_SECTION,
        required=True,
        metavar="URL",
        type=FolderParam(),
        help="Run directory, which all machines must be able to read and write.",
    ),
    click.option(
        "--submit",
        cls=Option,
        section=_SECTION,
        is_flag=True,
        help="Write the manifest and start the machines. Otherwise nothing is started.",
    ),
    click.option(
        "--write",
        cls=Option,
        section=_SECTION,
        is_flag=True,
        help="Write the manifest, so that you can start by hand what is printed.",
    ),
    click.option(
        "--name",
        cls=Option,
        section=_SECTION,
        metavar="NAME",
        help="Name of the launch. [default: from the time]",
    ),
    click.option(
        "--machines",
        cls=Option,
        section=_SECTION,
        type=click.IntRange(1, 10_000),
        default=1,
        show_default=True,
        metavar="N",
        help="Machines of each type of instance, at most one for each engine.",
    ),
    click.option(
        "--spot",
        cls=Option,
        section=_SECTION,
        is_flag=True,
        help="Use machines that the provider may take back, at their price.",
    ),
    click.option(
        "--max-usd",
        cls=Option,
        section=_SECTION,
        type=float,
        metavar="X",
        help="Refuse a launch whose estimate is above this, and limit the time of its machines so "
        "that they cost no more.",
    ),
    click.option(
        "--max-time",
        cls=Option,
        section=_SECTION,
        metavar="TIME",
        help="Longest time of each machine, for example 2h.",
    ),
    click.option(
        "--repeats",
        cls=Option,
        section=_SECTION,
        type=int,
        metavar="N",
        help="Measure every cell N times. [default: 1]",
    ),
    click.option(
        "--max-cells",
        cls=Option,
        section=_SECTION,
        type=click.IntRange(min=1),
        default=MAX_CELLS,
        show_default=True,
        metavar="N",
        help="Refuse a sweep of more cells than this, on all instances together.",
    ),
)
