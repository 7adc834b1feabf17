"""`gpubench launch collect`: copy what is measured into a local directory."""

from __future__ import annotations

from pathlib import Path

import click

from gpubench.cli.completion import FolderParam
from gpubench.cli.output import warn
from gpubench.cli.program import FAILED
from gpubench.cli.sections import Command
from gpubench.cli.settings import tell
from gpubench.report.format import count


@click.command("collect", cls=Command)
@click.argument("url", type=FolderParam())
@click.option(
    "--output",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Local run directory. Complete results that it has are kept.",
)
def command(url: str, output: Path) -> int:
    """Copy every document and its samples from URL into a local run directory.

    Samples that are not those of their document are not copied, and each is named. gpubench report
    reads the directory at URL too, so a copy is only needed to keep it.

    \b
    Example:
      gpubench launch collect s3://bucket/run --output run
    """
    from gpubench.launch.collect import collect

    collected = collect(url, output)
    warn(collected.problems)
    before = f", {count(collected.kept, 'document')} were there before" if collected.kept else ""
    tell(f"{count(collected.copied, 'document')} copied to {output}{before}")
    return FAILED if collected.problems else 0
