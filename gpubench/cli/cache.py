"""`gpubench cache`: what was built and kept."""

from __future__ import annotations

from datetime import datetime

import click

from gpubench import cache
from gpubench.cli.command_group import CommandGroup
from gpubench.cli.completion import Known, cache_kinds


@click.group("cache", cls=CommandGroup)
def command() -> None:
    """List or clear what was built and kept: packages, ONNX files, engines."""


@command.command("list")
def list_entries() -> None:
    """List every entry with its size and the time it was made.

    \b
    Example:
      gpubench cache list
    """
    found = cache.entries()
    kinds = max((len(entry.kind) for entry in found), default=0)
    sizes = max((len(_megabytes(entry.bytes)) for entry in found), default=0)
    for entry in found:
        made = datetime.fromtimestamp(entry.modified).strftime("%Y-%m-%d %H:%M")
        size = _megabytes(entry.bytes)
        print(f"{entry.kind:<{kinds}}  {size:>{sizes}}  {made}  {entry.path.name}")
    print(_total(found))


@command.command("clear")
@click.option(
    "--kind",
    metavar="KIND",
    type=Known(cache_kinds),
    help="Only entries of this kind, as gpubench cache list shows it.",
)
def clear(kind: str | None) -> None:
    """Remove every entry. What is needed again is built again.

    \b
    Example:
      gpubench cache clear --kind aotinductor
    """
    from gpubench.errors import InputError, nearest

    kinds = {entry.kind for entry in cache.entries()}
    if kind is not None and kind not in kinds:
        hint = nearest(kind, kinds) if kinds else "the cache is empty"
        raise InputError(f"--kind {kind}: no entry is of this kind; {hint}")
    print(f"removed {_total(cache.clear(kind))}")


def _total(found: list[cache.Entry]) -> str:
    size = _megabytes(sum(entry.bytes for entry in found))
    entries = "1 entry" if len(found) == 1 else f"{len(found)} entries"
    return f"{entries}, {size}, in {cache.chosen_dir()}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
