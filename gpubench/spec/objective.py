"""An objective: a limit for a percentile of the latency."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gpubench.errors import InputError
from gpubench.spec.durations import parse_duration

# The search estimates how rare late requests are. Its model is valid for high percentiles only.
PERCENTS = (90, 95, 99)

# When a search ends, unless the user says otherwise.
DEFAULT_TOLERANCE = 0.05
DEFAULT_PROBES = 20


@dataclass(frozen=True)
class Objective:
    """`percent` of all requests must take `latency_s` seconds or less; slower ones are late."""

    percent: int
    latency_s: float

    @property
    def late_share(self) -> float:
        """The share of requests that may be late: 0.01 for P99."""
        return 1 - self.percent / 100

    @property
    def latency_ns(self) -> int:
        return round(self.latency_s * 1e9)


@dataclass(frozen=True)
class SearchSettings:
    """What a search looks for, and when it ends."""

    objective: Objective
    tolerance: float = DEFAULT_TOLERANCE
    probes: int = DEFAULT_PROBES

    def check(self) -> None:
        """Raises InputError for a value that is not allowed."""
        if not 0 < self.tolerance < 1:
            raise InputError(
                f"--tolerance {self.tolerance:g} is not a share between 0 and 1; write it like 0.05"
            )
        if self.probes < 1:
            raise InputError(f"--probes {self.probes} is not allowed; give 1 or more")


def parse_objective(text: str | Objective) -> Objective:
    """An objective from 'p99:10ms'. An Objective is returned as it is.

    Raises InputError for anything else.
    """
    if isinstance(text, Objective):
        return text
    match = re.fullmatch(r"[pP]([0-9]+):(.+)", text.strip()) if isinstance(text, str) else None
    if match is None:
        raise InputError(f"--objective '{text}' is not PERCENTILE:LATENCY; write it like p99:10ms")
    percent = int(match[1])
    if percent not in PERCENTS:
        known = ", ".join(f"p{known}" for known in PERCENTS)
        raise InputError(f"--objective: p{percent} is not known; choose from {known}")
    try:
        latency_s = parse_duration(match[2])
    except ValueError as error:
        raise InputError(f"--objective: {error}") from None
    if latency_s == 0:
        raise InputError("--objective: the latency must be more than 0; write it like p99:10ms")
    return Objective(percent, latency_s)
