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


# Longer messages are cut. Some libraries raise whole graphs as text.
MOST_CHARACTERS = 500


def shorten(text: str) -> str:
    """At most MOST_CHARACTERS of a message. Its end is kept: there often stands the reason."""
    if len(text) <= MOST_CHARACTERS:
        return text
    mark = " [...] "
    kept = (MOST_CHARACTERS - len(mark)) // 2
    return text[:kept] + mark + text[-kept:]
