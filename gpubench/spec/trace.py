"""Traces: the arrival times of requests, from a text file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from gpubench.errors import InputError
from gpubench.files.untrusted import open_regular, refuse_larger

_LONGEST_TRACE_S = 366 * 24 * 3600
_MOST_TRACE_BYTES = 256 << 20
_LONGEST_LINE = 1000  # bytes, of a trace


@dataclass(frozen=True, eq=False)
class Trace:
    """The arrival times of a file, in seconds from its beginning: sorted, not negative."""

    path: Path
    seconds: NDArray[np.float64]

    def due_ns(self, rate_per_second: float | None = None) -> NDArray[np.int64]:
        """The times in ns. With a rate they are scaled so that this many arrive a second on
        average.

        Raises InputError where they cannot be scaled.
        """
        return np.rint(self.seconds * self.scale(rate_per_second) * 1e9).astype(np.int64)

    def scale(self, rate_per_second: float | None) -> float:
        """The factor that gives the trace this rate. Raises InputError where there is none."""
        last_s = float(self.seconds[-1])
        if rate_per_second is None or last_s == 0:
            return 1.0
        length_s = len(self.seconds) / rate_per_second
        if not length_s <= _LONGEST_TRACE_S:
            raise InputError(
                f"--rate {rate_per_second:g}: the trace would take longer than a year; raise it"
            )
        scale = length_s / last_s
        if not math.isfinite(scale):
            raise InputError(f"--arrivals trace:{self.path}: times must be further apart")
        return scale


def read_trace(path: Path) -> Trace:
    """The trace in a text file with one time in seconds a line, sorted.

    Raises InputError, naming the line, for a file that does not hold that.
    """
    try:
        with open_regular(path) as file:
            seconds = np.fromiter(_times(file, f"{path}"), np.float64)
    except OSError as error:
        raise InputError(
            f"--arrivals trace:{path}: {error.strerror}; it must hold one time in seconds a line"
        ) from None
    if not len(seconds):
        raise InputError(f"--arrivals trace:{path}: it must hold one time in seconds a line")
    if seconds[-1] > _LONGEST_TRACE_S:
        raise InputError(f"--arrivals trace:{path}: times are in seconds, and at most a year")
    if seconds[0] < 0 or (seconds[1:] < seconds[:-1]).any():
        raise InputError(f"--arrivals trace:{path}: times must be sorted and not negative")
    return Trace(path, seconds)


def _times(file: BinaryIO, path: str) -> Iterator[float]:
    """The time of each line, without what follows a #; blank lines have none.

    Raises InputError, naming the line, for what is no time.
    """
    number = size = 0
    while line := file.readline(_LONGEST_LINE):
        number, size = number + 1, size + len(line)
        refuse_larger(size, _MOST_TRACE_BYTES, path)  # it may grow
        text = line.partition(b"#")[0].strip()
        if not text:
            continue
        try:
            time_s = float(text)
        except ValueError:
            time_s = math.nan
        if not math.isfinite(time_s) or b"_" in text:
            shown = text[:40].decode(errors="replace")
            raise InputError(
                f"--arrivals trace:{path}: line {number}: '{shown}' is no time; it must hold one "
                "time in seconds a line"
            )
        yield time_s
