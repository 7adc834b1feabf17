"""Standard output and standard error, whatever they are connected to."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import sys
from typing import TextIO

_FIRST_OF_OUR_OWN = 3  # the descriptors below are the standard streams


def separate() -> None:
    """Have results alone on standard output, and both streams take every character and line.

    From now on descriptor 1 is standard error: there goes what a model or a library prints, in
    whatever language, and what C has buffered until the process ends. Results, which are written
    to sys.stdout, go through a descriptor of their own to what was standard output.

    What does not show UTF-8 gets a question mark for a character that it does not have. What was
    closed takes nothing: a file would get its descriptor otherwise, and the output with it.
    """
    for descriptor in range(_FIRST_OF_OUR_OWN):
        _open_where_closed(descriptor)
    sys.stderr = sys.stderr or _writer(2)
    own = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, _FIRST_OF_OUR_OWN)
    os.dup2(2, 1)
    sys.stdout = _writer(own, getattr(sys.stdout, "encoding", None))
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="replace")


def wrapped(text: str, file: TextIO, indent: str = "") -> str:
    """The text with line breaks between words, for a terminal. Elsewhere it stays one line.

    Every line but the first begins with `indent`, or with the blanks with which the text begins.
    """
    if not file.isatty():
        return text
    from gpubench.report.wrap import lines

    blanks = text[: len(text) - len(text.lstrip(" "))]
    indent = indent or blanks
    room = max(1, shutil.get_terminal_size().columns - len(indent))
    first, *rest = lines(text, room)
    return "\n".join([blanks + first, *(indent + line for line in rest)])


def flush() -> None:
    """Write out what is still in memory. Raises OSError where it cannot be, as on a full disk."""
    try:
        sys.stdout.flush()
    except OSError:
        # Else Python would try again when it ends, and fail in its own words.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _open_where_closed(descriptor: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


def _writer(descriptor: int, encoding: str | None = None) -> io.TextIOWrapper:
    binary = io.BufferedWriter(io.FileIO(descriptor, "w"))
    is_terminal = binary.raw.isatty()
    return io.TextIOWrapper(
        binary, encoding=encoding or "utf-8", errors="replace", line_buffering=is_terminal
    )
