"""Standard output and standard error, whatever they are connected to."""

from __future__ import annotations

import io
import os
import sys


def make_usable() -> None:
    """Have both take every character and every line, before anything is written.

    What does not show UTF-8 gets a question mark for a character that it does not have. What was
    closed takes nothing: without a stream of its own, Python writes errors among the results.
    """
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def flush() -> None:
    """Write out what is still in memory. Raises OSError where it cannot be, as on a full disk."""
    try:
        sys.stdout.flush()
    except OSError:
        # Else Python would try again when it ends, and fail in its own words.
        os.dup2(_nowhere().fileno(), sys.stdout.fileno())
        raise


def _nowhere() -> io.TextIOWrapper:
    return os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
