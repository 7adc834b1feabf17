"""Flags and checks that several commands share."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from gpubench.errors import InputError

FORMATS = ("terminal", "markdown", "html", "csv", "json")
_FORMAT_OF_SUFFIX = {".md": "markdown", ".html": "html", ".csv": "csv", ".json": "json"}

format_option = click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMATS),
    help="Default: what the name of --output says (.md, .html, .csv, .json), else terminal.",
)
output_option = click.option(
    "--output", type=click.Path(path_type=Path), help="Write to this file, not to the terminal."
)

instance_option = click.option(
    "--instance",
    multiple=True,
    metavar="NAME[,NAME...]",
    help="Price on this instance; repeatable (see gpubench prices list).",
)
usd_per_hour_option = click.option(
    "--usd-per-hour", type=float, metavar="X", help="Price at this hourly price."
)


def chosen_format(format_name: str | None, output: Path | None) -> str:
    if format_name is not None:
        return format_name
    return _FORMAT_OF_SUFFIX.get(output.suffix.lower(), "terminal") if output else "terminal"


def split_names(values: tuple[str, ...]) -> tuple[str, ...]:
    """A repeatable flag whose values may be lists too: `--instance a,b --instance c`."""
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


def check_output_file(path: Path | None, flag: str = "--output") -> None:
    """Find out before any work starts that a file could not be written. Leaves no trace.

    Raises InputError where it cannot be.
    """
    if path is None:
        return
    try:
        existed = path.exists()
        if path.is_socket():
            raise InputError(f"{flag} {path} is a socket; choose another file")
        if existed and not path.is_file() and not path.is_dir():
            return  # a device or a pipe, which may be waiting to be opened once
        with path.open("ab"):
            pass
        if not existed:
            path.unlink()
    except OSError as error:
        raise InputError(
            f"{flag} {path} cannot be written: {error.strerror}; choose another file"
        ) from None


def json_file(json_path: str | None) -> Path | None:
    """The file that --json names, which can be written; None for standard output, and without it.

    Raises InputError where it cannot be.
    """
    path = None if json_path in {None, "-"} else Path(json_path or "")
    check_output_file(path, "--json")
    return path


def make_folder(path: Path, flag: str = "--output") -> None:
    """Raises InputError where there cannot be a folder that files can be written into."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(
            f"{flag} {path} cannot be written: {error.strerror}; choose another folder"
        ) from None
