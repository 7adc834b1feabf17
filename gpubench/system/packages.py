"""Packages that only some runtimes need, and how to get them."""

from __future__ import annotations

from importlib.util import find_spec


def missing(extra: str, *packages: str) -> str | None:
    """What to install where one of `packages` is absent; None where all are there.

    `extra` is the name in pyproject.toml that brings them.
    """
    absent = [package for package in packages if find_spec(package) is None]
    if not absent:
        return None
    verb = "is" if len(absent) == 1 else "are"
    return (
        f"{' and '.join(absent)} {verb} not installed; install gpubench with the extra '{extra}', "
        f"as in pip install '.[{extra}]'"
    )
