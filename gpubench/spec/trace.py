"""Traces: text files with the arrival times of requests."""

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
_LONGEST_LINE = 1000  # bytes


@dataclass(frozen=True, eq=False)
class Trace:
    """The arrival times of a file: seconds from the start of the trace, sorted, 0 or more."""

    path: Path
    seconds: NDArray[np.float64]

    def due_ns(self, rate_per_second: float | None = None) -> NDArray[np.int64]:
        """The arrival times in ns, scaled to `rate_per_second` arrivals a second on average.

        Without a rate the times stay as they are. Raises InputError if they cannot be scaled.
        """
        return np.rint(self.seconds * self.scale(rate_per_second) * 1e9).astype(np.int64)

    def scale(self, rate_per_second: float | None) -> float:
        """The factor that gives the trace this rate; 1 without a rate.

        Raises InputError if the scaled trace would be too long, or if its times are too close.
        """
        last_s = float(self.seconds[-1])
        if rate_per_second is None or last_s == 0:
            return 1.0
        length_s = len(self.seconds) / rate_per_second
        if not length_s <= _LONGEST_TRACE_S:
            raise InputError(
                f"--rate {rate_per_second:g}: the trace would take longer than a year; raise --rate"
            )
        scale = length_s / last_s
        if not math.isfinite(scale):
            raise InputError(
                f"--arrivals trace:{self.path}: its times are too close to be scaled; remove --rate"
            )
        return scale


def read_trace(path: Path) -> Trace:
    """The trace in a text file. Each line holds one time in seconds; the times are sorted.

    Raises InputError, with the number of the line, for any other file.
    """
    try:
        with open_regular(path) as file:
            seconds = np.fromiter(_times(file, f"{path}"), np.float64)
    except OSError as error:
        raise InputError(
            f"--arrivals trace:{path}: {error.strerror}; each line must hold one time in seconds"
        ) from None
    if not len(seconds):
        raise InputError(
            f"--arrivals trace:{path}: it is empty; each line must hold one time in seconds"
        )
    if seconds[-1] > _LONGEST_TRACE_S:
        raise InputError(
            f"--arrivals trace:{path}: a time is longer than a year; write times in seconds"
        )
    if seconds[0] < 0 or (seconds[1:] < seconds[:-1]).any():
        raise InputError(f"--arrivals trace:{path}: times must be sorted and not negative")
    return Trace(path, seconds)


def _times(file: BinaryIO, path: str) -> Iterator[float]:
    """The time of each line. A # begins a comment; lines without a time are ignored.

    Raises InputError, with the number of the line, if a line holds anything else.
    """
    number = size = 0
    while line := file.readline(_LONGEST_LINE):
        number, size = number + 1, size + len(line)
        refuse_larger(size, _MOST_TRACE_BYTES, path)  # the file may grow while it is read
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
                f"--arrivals trace:{path}: line {number}: '{shown}' is not a time; each line must "
                "hold one time in seconds"
            )
        yield time_s
