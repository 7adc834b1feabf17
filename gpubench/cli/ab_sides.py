"""The two sides of `gpubench ab`, from its command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpubench.cells.grid import cells, override, read_grids
from gpubench.cells.resolve import resolve
from gpubench.cli.program import explain
from gpubench.cli.sections import Command
from gpubench.cli.settings import given, setting_options
from gpubench.errors import InputError
from gpubench.report.format import count
from gpubench.spec.parse import make_spec
from gpubench.spec.spec import Spec
from gpubench.system.machine import Machine

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell

_SEPARATOR = "--"


@dataclass(frozen=True)
class AskedSide:
    cell: Cell
    asked: Spec  # without the defaults that depend on the machine


def two_sides(
    words: Sequence[str], flags: Mapping[str, Any], machine: Machine
) -> tuple[AskedSide, AskedSide]:
    """A and B. `flags` are those of both sides, and `words` is what else the command line has.

    Raises UsageError if there are not two sides, and InputError, which names the side, if a side is
    not one cell that this machine can measure.
    """
    groups = _split(words)
    if words and len(groups) == 1 and not words[0].startswith("-"):
        if len(words) != 2:
            more = ": got unexpected extra arguments" if len(words) > 2 else ""
            raise _usage_error(f"ab needs two sweep files, A and B{more}")
        a, b = (_side_of_file(Path(word), flags, machine) for word in words)
        return a, b
    if len(groups) != 2:
        raise _usage_error(
            f"ab compares two sides, and this command line has {len(groups) if words else 'none'}; "
            "write -- before the flags of A, and -- before the flags of B"
        )
    a, b = (
        _side_of_flags(name, group, flags, machine)
        for name, group in zip("AB", groups, strict=True)
    )
    return a, b


def _split(words: Sequence[str]) -> list[list[str]]:
    groups: list[list[str]] = [[]]
    for word in words:
        if word == _SEPARATOR:
            groups.append([])
        else:
            groups[-1].append(word)
    return groups


def _side_of_flags(
    name: str, words: Sequence[str], common: Mapping[str, Any], machine: Machine
) -> AskedSide:
    context = click.get_current_context()
    with _named(name):
        try:
            own = _settings.make_context(context.command_path, list(words), parent=None)
        except click.UsageError as error:
            raise InputError(explain(error)) from None
        asked = make_spec({**given(common), **given(own.params)})
        return AskedSide(resolve(asked, machine), asked)


@click.command("side", cls=Command, add_help_option=False)
@setting_options
def _settings() -> None:
    """The flags of one side. It is only parsed."""


@contextmanager
def _named(side: str) -> Iterator[None]:
    """A block whose errors are those of one side."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{side}: {error}") from None


def _side_of_file(file: Path, flags: Mapping[str, Any], machine: Machine) -> AskedSide:
    grids = override(read_grids(file, bool(flags["allow_code"])), given(flags))
    planned = cells(grids, machine)
    if len(planned.cells) != 1:
        raise InputError(
            f"{file} has {count(len(planned.cells), 'cell')} for this machine, and a side of ab is "
            "one cell; give each setting one value, or use gpubench sweep and gpubench compare --by"
        )
    (cell,) = planned.cells
    return AskedSide(cell, cell.spec)


def _usage_error(message: str) -> click.UsageError:
    return click.UsageError(message, click.get_current_context())
