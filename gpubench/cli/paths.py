"""`gpubench paths`: where another program's build finds the C++ core."""

from __future__ import annotations

import click

from gpubench.cli.sections import Command
from gpubench.errors import InputError


@click.command("paths", cls=Command)
@click.option("--cmake", is_flag=True, help="Folder for CMAKE_PREFIX_PATH or gpubench_DIR.")
@click.option("--include", is_flag=True, help="Folder of the C++ headers.")
def command(cmake: bool, include: bool) -> None:
    """Print where the C++ library of this installation is.

    \b
    Example:
      cmake -B build -Dgpubench_DIR=$(gpubench paths --cmake)
    """
    if cmake and include:
        raise InputError("--cmake and --include are mutually exclusive; remove one of the two")
    if not cmake and not include:
        raise InputError("paths prints one folder; give either --cmake or --include")
    from gpubench import paths

    print(paths.cmake_dir() if cmake else paths.include_dir())
