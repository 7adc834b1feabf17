"""The two ways in which gpubench fails."""

from __future__ import annotations


class GpubenchError(Exception):
    """Something failed while measuring: exit status 1."""


class InputError(GpubenchError, ValueError):
    """What the user asked for cannot be done: one line that names the fix, exit status 2.

    Raised before anything expensive starts.
    """


def first_line(error: BaseException) -> str:
    """The first line of what an error says, which may be nothing: then its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
