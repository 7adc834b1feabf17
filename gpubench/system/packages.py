"""Packages that only some runtimes need, and how to install them."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec


def missing(extra: str, *packages: str) -> str | None:
    """A line that says what to install if one of `packages` is missing. None if all are there.

    `extra` is the name of the group in pyproject.toml that contains them.
    """
    absent = [package for package in packages if find_spec(package) is None]
    if not absent:
        return None
    verb = "is" if len(absent) == 1 else "are"
    return (
        f"{' and '.join(absent)} {verb} not installed; install gpubench with the extra '{extra}', "
        f"as in pip install '.[{extra}]'"
    )


def version(package: str) -> str:
    """The version of an installed package, without importing it; "unknown" if it does not say."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
